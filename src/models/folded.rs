//! A network made ready for evaluation: batch norm folded, weights quantized once, ranges fixed.
//!
//! This is the network that is exported: what `search` and `eval` measure is what the file computes.

use tch::{Device, Tensor, no_grad};

use super::Weights;
use super::forward::clipped_at_six;
use super::weights::tensor;
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
use crate::stored::takes_integer_bias;

/// An evaluation-ready network: per layer the quantized weight and the bias, both after folding.
#[derive(Debug)]
pub struct Folded {
    network: Network,
    layers: Vec<Option<FoldedLayer>>,
    last_use: Vec<usize>,
    /// The ranges that the quantization points use.
    pub ranges: Ranges,
}

/// Arrays of a layer, and the same values as tensors.
#[derive(Debug)]
struct FoldedLayer {
    stored: StoredLayer,
    weight: Tensor,
    bias: Tensor,
}

impl FoldedLayer {
    fn new(stored: StoredLayer, device: Device) -> Self {
        let weight = tensor(&stored.weight.values(), &stored.weight.shape, device);
        let bias = tensor(&stored.bias, &[stored.bias.len()], device);
        Self { stored, weight, bias }
    }
}

impl Folded {
    /// Folds the running statistics of `weights` and quantizes what results. The batch-norm factor of an output channel
    /// goes where [`StoredWeight::quantize`] says.
    pub fn new(network: &Network, weights: &Weights, ranges: Ranges) -> Self {
        let layers = no_grad(|| network.layers.iter().map(|layer| fold(layer, weights)).collect());
        let mut last_use = vec![0; network.layers.len()];
        for (index, layer) in network.layers.iter().enumerate() {
            for source in &layer.inputs {
                if let Source::Layer(from) = source {
                    last_use[*from] = index;
                }
            }
        }
        Self { network: network.clone(), layers, last_use, ranges }
    }

    /// The logits of a batch.
    ///
    /// # Shapes
    /// `x`: `[n, c, h, w]`, normalised images; the result is `[n, classes]`.
    pub fn logits(&self, x: &Tensor) -> Tensor {
        no_grad(|| self.run(x, &mut |point, tensor, x| quant::activation_in_place(x, point, self.ranges.get(tensor))))
    }

    /// Everything that runs this network, as plain arrays.
    pub fn stored(&self) -> StoredNetwork {
        let scale = |point: &Point, tensor: &str| quant::point_scale(point, self.ranges.get(tensor));
        let of_layer = |layer: &LayerSpec| layer.point.as_ref().and_then(|point| scale(point, &layer.name));
        StoredNetwork {
            network: self.network.clone(),
            layers: self.layers.iter().map(|layer| layer.as_ref().map(|folded| folded.stored.clone())).collect(),
            input_scale: scale(&self.network.input_point, "input"),
            scales: self.network.layers.iter().map(of_layer).collect(),
        }
    }

    /// Records ranges from `batches` of images, replacing what was there, but for points with a range in `learned`: those
    /// take it. A point sees inputs that are quantized already up to it.
    pub fn record(&mut self, batches: &[&Tensor], learned: &Ranges) {
        let mut ranges = learned.clone();
        for (seen, x) in batches.iter().enumerate() {
            no_grad(|| {
                let _logits = self.run(x, &mut |point, tensor, x| {
                    if learned.get(tensor).max <= 0.0 {
                        ranges.widen(tensor, quant::observe(&x, point.nonnegative), seen);
                    }
                    quant::activation_in_place(x, point, ranges.get(tensor))
                });
            });
        }
        self.ranges = ranges;
        self.round_biases();
    }

    /// Rounds biases as integer kernels hold them; their step follows from the ranges.
    fn round_biases(&mut self) {
        let stored = self.stored();
        for (layer, folded) in self.network.layers.iter().zip(&mut self.layers) {
            let (Some(folded), Some(spec), Some(point)) = (folded, layer.weight, self.network.point(layer.inputs[0]))
            else {
                continue;
            };
            if let Some(scale) = stored.scale(layer.inputs[0])
                && takes_integer_bias(spec.format, point.spec.format)
            {
                *folded = FoldedLayer::new(folded.stored.with_integer_bias(scale), folded.weight.device());
            }
        }
    }

    fn run(&self, x: &Tensor, quantize: &mut dyn FnMut(&Point, &str, Tensor) -> Tensor) -> Tensor {
        // A copy, because the images of the caller must stay as they are.
        let input = quantize(&self.network.input_point, "input", layers::channels_last(x).copy());
        let mut outputs: Vec<Tensor> = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.network.layers.iter().enumerate() {
            let y = {
                let read = |source: Source| match source {
                    Source::Input => &input,
                    Source::Layer(from) => &outputs[from],
                };
                self.operate(index, layer, read(layer.inputs[0]), layer.inputs.get(1).map(|&source| read(source)))
            };
            outputs.push(match &layer.point {
                Some(point) => quantize(point, &layer.name, clipped_at_six(layer, y)),
                None => layers::activate(&y, layer.act),
            });
            for (from, &last) in self.last_use.iter().enumerate().take(index) {
                if last == index {
                    outputs[from] = Tensor::new();
                }
            }
        }
        outputs.pop().unwrap_or_default()
    }

    fn operate(&self, index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor {
        match (layer.op, &self.layers[index], second) {
            (Op::Conv(conv), Some(folded), _) => layers::convolution(x, &folded.weight, Some(&folded.bias), conv),
            (Op::Linear { .. }, Some(folded), _) => layers::linear(x, &folded.weight, Some(&folded.bias)),
            (Op::Add, _, Some(shortcut)) => x + shortcut,
            (op, _, _) => layers::without_weights(x, op, layer.output),
        }
    }
}

/// Folds one layer; `None` for operators without weights.
fn fold(layer: &LayerSpec, weights: &Weights) -> Option<FoldedLayer> {
    let spec = layer.weight?;
    let latent = weights.get(&format!("{}.weight", layer.name));
    let own_bias = layer.bias.then(|| weights.get(&format!("{}.bias", layer.name)));
    let (factor, bias) = match &layer.norm {
        None => (None, own_bias.map_or_else(|| latent.zeros_like().select(1, 0).flatten(0, -1), Tensor::shallow_clone)),
        Some(norm) => {
            let part = |leaf: &str| weights.get(&format!("{norm}.{leaf}"));
            let factor = part("weight") / (part("running_var") + layers::BATCH_NORM_EPSILON).sqrt();
            let centre = own_bias.map_or_else(|| -part("running_mean"), |bias| bias - part("running_mean"));
            let bias = part("bias") + centre * &factor;
            (Some(floats(&factor)), bias)
        }
    };
    let shape: Vec<usize> = latent.size().iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect();
    let weight = StoredWeight::quantize(floats(latent), &shape, factor.as_deref(), spec);
    Some(FoldedLayer::new(StoredLayer { weight, bias: floats(&bias) }, weights.device()))
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.detach().to_device(Device::Cpu).contiguous().view([-1])).unwrap_or_default()
}
