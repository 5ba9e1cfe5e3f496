//! The parts of a stored network as tensors, for training, and back.

use tch::{Device, Tensor};

use crate::formats::ScaleKind;
use crate::models::tensor;
use crate::network::Point;
use crate::stored::{StoredLayer, StoredNetwork};

/// The smallest clip that is written.
const LEAST_CLIP: f64 = 1e-4;

/// Weight and bias as a layer computes with them.
pub(super) fn parameters(own: &StoredLayer, device: Device) -> (Tensor, Tensor) {
    let weight = tensor(&own.weight.values(), &own.weight.shape, device);
    (weight, tensor(&own.bias, &[own.bias.len()], device))
}

/// The clip of a layer's quantization point, if it has one with a scale; trained where `train` says and its scale may be
/// any number.
pub(super) fn clip(stored: &StoredNetwork, index: usize, train: bool, device: Device) -> Option<Tensor> {
    let point = stored.network.layers[index].point.as_ref()?;
    let clip = Tensor::from_slice(&[stored.scales[index]? * point.spec.format.max() as f32]).to_device(device);
    Some(clip.set_requires_grad(train && point.spec.scale == ScaleKind::Float32))
}

/// The scale that a clip stands for.
pub(super) fn scale(clip: &Tensor, point: &Point) -> f32 {
    clip.double_value(&[0]).max(LEAST_CLIP) as f32 / point.spec.format.max() as f32
}

/// The numbers of a tensor, row-major.
pub(super) fn floats(x: &Tensor) -> Vec<f32> {
    Vec::try_from(x.detach().to_device(Device::Cpu).contiguous().view([-1])).unwrap_or_default()
}
