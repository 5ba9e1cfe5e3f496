//! A trained network in float with what its tensors hold, ready to be quantized into any formats at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tch::{Device, Tensor};

use super::{ClipRule, ScaleMode};
use crate::formats::{Format, QuantSpec, ScaleKind};
use crate::models::{Folded, Step, Weights, walk};
use crate::network::{LayerSpec, Network, Source};
use crate::stored::{StoredLayer, StoredNetwork, StoredWeight};

/// Values kept of each tensor to find its clip from.
const SAMPLE: usize = 1 << 16;

/// How ranges are found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clips {
    /// Of weights, each run of a scale by itself.
    pub weights: ClipRule,
    /// Of activations.
    pub activations: ClipRule,
    /// What the scales of weights may be.
    pub scale_mode: ScaleMode,
}

/// A float network, batch norm folded in, with samples of its activations. Quantized weights and scales are found once
/// for every format and kept.
#[derive(Debug)]
pub struct Calibrated {
    float: StoredNetwork,
    /// For the input and then each layer, values of the tensor where it is a quantization point; of its positive part where
    /// a ReLU follows.
    samples: Vec<Vec<f32>>,
    clips: Clips,
    weights: Mutex<HashMap<(usize, QuantSpec), StoredWeight>>,
    scales: Mutex<HashMap<(usize, Format, ScaleKind), f32>>,
}

impl Calibrated {
    /// Runs the network in float over `images` (batches of normalised ones) and samples what passes its quantization
    /// points. `network` is the architecture; its formats do not matter.
    pub fn new(network: &Network, weights: &Weights, images: &[&Tensor], clips: Clips) -> Self {
        let float = Folded::new(&network.in_float(), weights, &crate::quant::Ranges::default());
        Self::of(&float, images, clips)
    }

    /// The same for a network that is folded already.
    pub fn of(float: &Folded, images: &[&Tensor], clips: Clips) -> Self {
        let tensors = float.stored().network.layers.len() + 1;
        let mut seen = Seen::new(float, Sampled::new(tensors, images.len()));
        images.iter().for_each(|x| seen.run(x));
        let samples = seen.keeper.samples;
        let (weights, scales) = Default::default();
        Self { float: float.stored().clone(), samples, clips, weights, scales }
    }

    /// The float network.
    pub fn float(&self) -> &StoredNetwork {
        &self.float
    }

    /// The float network, ready to run.
    pub fn exact(&self, device: Device) -> Folded {
        Folded::from_stored(self.float.clone(), device)
    }

    /// The network in the formats that `network` says, nothing refined.
    pub fn quantized(&self, network: &Network) -> StoredNetwork {
        let layers = (0..network.layers.len()).map(|index| self.layer(network, index)).collect();
        let point_scale = |tensor: usize, source| {
            let point = match source {
                Source::Input => Some(&network.input_point),
                Source::Layer(index) => network.layers[index].point.as_ref(),
            };
            let point = point.filter(|point| point.has_scale())?;
            Some(self.scale(tensor, point.spec.format, point.spec.scale))
        };
        let mut stored = StoredNetwork {
            layers,
            input_scale: point_scale(0, Source::Input),
            scales: (0..network.layers.len()).map(|index| point_scale(index + 1, Source::Layer(index))).collect(),
            network: network.clone(),
        };
        stored.round_biases();
        stored
    }

    /// The same, ready to run.
    pub fn ready(&self, network: &Network, device: Device) -> Folded {
        Folded::from_stored(self.quantized(network), device)
    }

    fn layer(&self, network: &Network, index: usize) -> Option<StoredLayer> {
        let own = self.float.layers[index].as_ref()?;
        let (shape, spec) = network.layers[index].stored_weight()?;
        let quantized = network.layers[index].weight.and_then(|spec| self.weight(index, spec));
        let weight = quantized.unwrap_or_else(|| StoredWeight::quantize(own.weight.values(), &shape, None, spec));
        Some(StoredLayer { weight, bias: own.bias.clone() })
    }

    /// The weights of a layer in a format, if that takes scales.
    pub(super) fn weight(&self, index: usize, spec: QuantSpec) -> Option<StoredWeight> {
        let own = self.float.layers[index].as_ref().filter(|_| spec.format.takes_scale())?;
        let mut known = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        let weight = known.entry((index, spec)).or_insert_with(|| {
            let values = own.weight.values();
            let scales = self.clips.weights.scales(&values, &own.weight.shape, &spec);
            let scales = self.clips.scale_mode.constrained(&values, &own.weight.shape, &spec, scales);
            StoredWeight::under(values, &own.weight.shape, spec, scales)
        });
        Some(weight.clone())
    }

    /// The scale of a tensor: the input at 0, a layer's result at its index plus one.
    pub(super) fn scale(&self, tensor: usize, format: Format, kind: ScaleKind) -> f32 {
        let mut known = self.scales.lock().unwrap_or_else(PoisonError::into_inner);
        let found = || self.clips.activations.scale(format, kind, &self.samples[tensor]);
        *known.entry((tensor, format, kind)).or_insert_with(found)
    }

    /// Takes these for a layer's weights in their format.
    pub(super) fn settle_weight(&self, index: usize, weight: StoredWeight) {
        self.weights.lock().unwrap_or_else(PoisonError::into_inner).insert((index, weight.spec), weight);
    }

    /// Takes this for a tensor's scale in a format.
    pub(super) fn settle_scale(&self, tensor: usize, format: Format, kind: ScaleKind, scale: f32) {
        self.scales.lock().unwrap_or_else(PoisonError::into_inner).insert((tensor, format, kind), scale);
    }

    /// How ranges are found.
    pub(super) fn clips(&self) -> Clips {
        self.clips
    }

    /// Values of a tensor, the input at 0, a layer's result at its index plus one; empty where it is no quantization point.
    pub fn sample(&self, tensor: usize) -> &[f32] {
        &self.samples[tensor]
    }
}

/// What is kept of the tensors that a float network shows.
pub(super) trait Keeper {
    /// Sees a tensor: the input at 0, a layer's result at its index plus one; of its positive part where a ReLU follows.
    fn keep(&mut self, tensor: usize, x: &Tensor);
}

/// Passes of a float network that show every quantization point's tensor to a keeper.
pub(super) struct Seen<'a, K> {
    float: &'a Folded,
    /// What was kept.
    pub(super) keeper: K,
}

impl<'a, K: Keeper> Seen<'a, K> {
    pub(super) fn new(float: &'a Folded, keeper: K) -> Self {
        Self { float, keeper }
    }

    /// One pass.
    pub(super) fn run(&mut self, x: &Tensor) {
        let network = &self.float.stored().network;
        let input = self.float.input(x);
        self.keeper.keep(0, &input);
        let _logits = tch::no_grad(|| walk(network, 0..network.layers.len(), input, self));
    }
}

impl<K: Keeper> Step for Seen<'_, K> {
    fn operate(&mut self, index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor {
        self.float.operate(index, layer, x, second)
    }

    fn quantize(&mut self, index: usize, x: Tensor) -> Tensor {
        let point = self.float.stored().network.layers[index].point.as_ref();
        let x = if point.is_some_and(|point| point.nonnegative) { x.relu() } else { x };
        self.keeper.keep(index + 1, &x);
        x
    }
}

/// Some values of each tensor.
pub(super) struct Sampled {
    /// What was kept.
    pub(super) samples: Vec<Vec<f32>>,
    each: usize,
}

impl Sampled {
    /// Of so many tensors, over so many batches.
    pub(super) fn new(tensors: usize, batches: usize) -> Self {
        Self { samples: vec![Vec::new(); tensors], each: SAMPLE.div_ceil(batches.max(1)) }
    }
}

impl Keeper for Sampled {
    fn keep(&mut self, tensor: usize, x: &Tensor) {
        let flat = x.contiguous().view([-1]);
        let count = flat.size()[0];
        // An odd step, so that it meets all channels and columns.
        let step = (count / self.each as i64).max(1) | 1;
        let part = flat.slice(0, 0, count, step).contiguous().to_device(Device::Cpu);
        self.samples[tensor].extend(Vec::<f32>::try_from(part).unwrap_or_default());
    }
}
