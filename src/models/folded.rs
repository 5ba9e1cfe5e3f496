//! A network made ready for evaluation: batch norm folded, weights quantized once, ranges fixed.
//!
//! This is the network that is exported: what `search` and `eval` measure is what the file computes.

use std::ops::Range;

use tch::{Device, Tensor, no_grad};

use super::Step;
use super::Weights;
use super::operate;
use super::walk;
use super::weights::tensor;
use crate::formats::Format;
use crate::formats::QuantSpec;
use crate::layers;
use crate::network::LayerSpec;
use crate::network::Network;
use crate::network::Op;
use crate::network::Point;
use crate::network::Source;
use crate::quant;
use crate::quant::Ranges;
use crate::stored::StoredLayer;
use crate::stored::StoredNetwork;
use crate::stored::StoredWeight;

/// An evaluation-ready network: what a file would store, and the same weights and biases as tensors.
#[derive(Debug)]
pub struct Folded {
    stored: StoredNetwork,
    tensors: Vec<Option<LayerTensors>>,
    device: Device,
}

#[derive(Debug)]
struct LayerTensors {
    weight: Tensor,
    bias: Tensor,
}

impl Folded {
    /// Folds the running statistics of `weights` and quantizes what results, with quantization points as `ranges` say. The
    /// batch-norm factor of an output channel goes where [`StoredWeight::quantize`] says.
    pub fn new(network: &Network, weights: &Weights, ranges: &Ranges) -> Self {
        let layers = no_grad(|| network.layers.iter().map(|layer| fold(layer, weights)).collect());
        let scales = vec![None; network.layers.len()];
        let stored = StoredNetwork { network: network.clone(), layers, input_scale: None, scales };
        let mut folded = Self::from_stored(stored, weights.device());
        folded.take_scales(ranges);
        folded
    }

    /// The network that a file holds, ready to run.
    pub fn from_stored(stored: StoredNetwork, device: Device) -> Self {
        let tensors = stored.layers.iter().map(|layer| layer.as_ref().map(|layer| tensors(layer, device))).collect();
        Self { stored, tensors, device }
    }

    /// The logits of a batch.
    ///
    /// # Shapes
    /// `x`: `[n, c, h, w]`, normalised images; the result is `[n, classes]`.
    pub fn logits(&self, x: &Tensor) -> Tensor {
        let scale = |source| match source {
            Source::Input => self.stored.input_scale,
            Source::Layer(index) => self.stored.scales[index],
        };
        no_grad(|| self.run(x, &mut |point, source, x| quant::activation_in_place(x, point, scale(source))))
    }

    /// Where its tensors live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Everything that runs this network, as plain arrays.
    pub fn stored(&self) -> &StoredNetwork {
        &self.stored
    }

    /// Records ranges from `batches` of images, replacing what was there, but for points with a range in `learned`: those
    /// take it. A point sees inputs that are quantized already up to it.
    pub fn record(&mut self, batches: &[&Tensor], learned: &Ranges) {
        let mut ranges = learned.clone();
        for (seen, x) in batches.iter().enumerate() {
            no_grad(|| {
                let _logits = self.run(x, &mut |point, source, x| {
                    let tensor = self.tensor_name(source);
                    if point.has_scale() && learned.get(tensor).max <= 0.0 {
                        ranges.widen(tensor, quant::observe(&x, point.nonnegative), seen);
                    }
                    quant::activation_in_place(x, point, quant::point_scale(point, ranges.get(tensor)))
                });
            });
        }
        self.take_scales(&ranges);
        for index in self.stored.round_biases() {
            self.tensors[index] = self.stored.layers[index].as_ref().map(|layer| tensors(layer, self.device));
        }
    }

    fn tensor_name(&self, source: Source) -> &str {
        match source {
            Source::Input => "input",
            Source::Layer(index) => &self.stored.network.layers[index].name,
        }
    }

    fn take_scales(&mut self, ranges: &Ranges) {
        let network = &self.stored.network;
        let scale = |point: &Point, tensor: &str| quant::point_scale(point, ranges.get(tensor));
        let of_layer = |layer: &LayerSpec| layer.point.as_ref().and_then(|point| scale(point, &layer.name));
        self.stored.input_scale = scale(&network.input_point, self.tensor_name(Source::Input));
        self.stored.scales = network.layers.iter().map(of_layer).collect();
    }

    fn run(&self, x: &Tensor, quantize: &mut dyn FnMut(&Point, Source, Tensor) -> Tensor) -> Tensor {
        let network = &self.stored.network;
        // A copy, because the images of the caller must stay as they are.
        let input = quantize(&network.input_point, Source::Input, layers::channels_last(x).copy());
        walk(network, 0..network.layers.len(), input, &mut Run { folded: self, quantize })
    }

    /// Runs `layers`, whose weights and scales are fixed; `input` is the quantized result of what is in front of them.
    ///
    /// # Shapes
    /// `input`: `[n, c, h, w]`.
    pub fn part(&self, layers: Range<usize>, input: &Tensor) -> Tensor {
        let scales = &self.stored.scales;
        let mut quantize = |point: &Point, source, x| {
            let Source::Layer(index) = source else { return x };
            quant::activation_in_place(x, point, scales[index])
        };
        no_grad(|| {
            walk(
                &self.stored.network,
                layers,
                input.shallow_clone(),
                &mut Run { folded: self, quantize: &mut quantize },
            )
        })
    }

    /// A layer's operator with its folded weights.
    pub fn operate(&self, index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor {
        operate(layer, x, second, self.tensors[index].as_ref().map(|own| (&own.weight, &own.bias)))
    }

    /// The images as the first layer reads them.
    ///
    /// # Shapes
    /// `x`: `[n, c, h, w]`, and so the result.
    pub fn input(&self, x: &Tensor) -> Tensor {
        let point = &self.stored.network.input_point;
        no_grad(|| quant::activation_in_place(layers::channels_last(x).copy(), point, self.stored.input_scale))
    }
}

/// A walk with the folded weights.
struct Run<'a, 'q> {
    folded: &'a Folded,
    quantize: &'q mut dyn FnMut(&Point, Source, Tensor) -> Tensor,
}

impl Step for Run<'_, '_> {
    fn operate(&mut self, index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor {
        self.folded.operate(index, layer, x, second)
    }

    fn quantize(&mut self, index: usize, x: Tensor) -> Tensor {
        match &self.folded.stored.network.layers[index].point {
            Some(point) => (self.quantize)(point, Source::Layer(index), x),
            None => x,
        }
    }
}

fn tensors(layer: &StoredLayer, device: Device) -> LayerTensors {
    LayerTensors {
        weight: tensor(&layer.weight.values(), &layer.weight.shape, device),
        bias: tensor(&layer.bias, &[layer.bias.len()], device),
    }
}

/// Folds one layer; `None` for operators without parameters.
fn fold(layer: &LayerSpec, weights: &Weights) -> Option<StoredLayer> {
    let (shape, spec) = layer.stored_weight()?;
    if layer.weight.is_none() {
        return Some(float_parameters(layer, weights, &shape));
    }
    let latent = weights.weight(layer);
    let own_bias = layer.bias.then(|| weights.bias(layer));
    let (factor, bias) = match &layer.norm {
        None => {
            (None, own_bias.unwrap_or_else(|| latent.new_zeros([latent.size()[0]], (latent.kind(), latent.device()))))
        }
        Some(norm) => {
            let [gain, offset, mean, var] = weights.norm(norm, layer.output.c);
            let factor = gain / (var + layer.norm_epsilon).sqrt();
            let centre = own_bias.map_or_else(|| -&mean, |bias| bias - &mean);
            let bias = offset + centre * &factor;
            (Some(floats(&factor)), bias)
        }
    };
    let weight = StoredWeight::quantize(floats(&latent), &shape, factor.as_deref(), spec);
    Some(StoredLayer { weight, bias: floats(&bias) })
}

/// Parameters that no format is chosen for. The class token is what stands in front of the pixels, so its position's row
/// takes it in.
fn float_parameters(layer: &LayerSpec, weights: &Weights, shape: &[usize]) -> StoredLayer {
    let (own, bias) = if layer.op == Op::Embed {
        let mut rows = floats(weights.get(&layer.name));
        rows.iter_mut().zip(floats(weights.get("cls_token"))).for_each(|(row, class)| *row += class);
        (rows, vec![0.0; shape[0]])
    } else {
        let part = |leaf: &str| floats(weights.get(&format!("{}.{leaf}", layer.name)));
        (part("weight"), part("bias"))
    };
    let spec = QuantSpec::per_tensor(Format::Float32);
    StoredLayer { weight: StoredWeight::quantize(own, shape, None, spec), bias }
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.detach().to_device(Device::Cpu).contiguous().view([-1])).unwrap_or_default()
}
