//! A network made ready for evaluation: batch norm folded, weights quantized once, ranges fixed.
//!
//! This is the network that is exported: what `search` and `eval` measure is what the file computes.

use tch::{Tensor, no_grad};

use super::Weights;
use super::forward::clipped_at_six;
use crate::formats::Granularity;
use crate::formats::QuantSpec;
use crate::layers;
use crate::network::LayerSpec;
use crate::network::Network;
use crate::network::Op;
use crate::network::Point;
use crate::network::Source;
use crate::quant;
use crate::quant::Ranges;

/// An evaluation-ready network: per layer the quantized weight and the bias, both after folding.
#[derive(Debug)]
pub struct Folded {
    network: Network,
    layers: Vec<Option<FoldedLayer>>,
    last_use: Vec<usize>,
    /// The ranges that the quantization points use.
    pub ranges: Ranges,
}

#[derive(Debug)]
struct FoldedLayer {
    weight: Tensor,
    bias: Tensor,
}

impl Folded {
    /// Folds the running statistics of `weights` and quantizes what results. The batch-norm factor of an output channel
    /// goes into the channel's scale where that is exact (one scale a channel, positive factor), else into the weights
    /// before they are quantized.
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
        no_grad(|| self.run(x, &mut |point, tensor, x| quant::activation(x, point, self.ranges.get(tensor))))
    }

    /// Records ranges from `batches` of images, replacing what was there, but for points with a range in `learned`: those
    /// take it. A point sees inputs that are quantized already up to it.
    pub fn record(&mut self, batches: &[&Tensor], learned: &Ranges) {
        let mut ranges = learned.clone();
        for (seen, x) in batches.iter().enumerate() {
            no_grad(|| {
                let _logits = self.run(x, &mut |point, tensor, x| {
                    if learned.get(tensor).max <= 0.0 {
                        ranges.widen(tensor, quant::observe(x, point.nonnegative), seen);
                    }
                    quant::activation(x, point, ranges.get(tensor))
                });
            });
        }
        self.ranges = ranges;
    }

    fn run(&self, x: &Tensor, quantize: &mut dyn FnMut(&Point, &str, &Tensor) -> Tensor) -> Tensor {
        let input = quantize(&self.network.input_point, "input", &layers::channels_last(x));
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
                Some(point) => quantize(point, &layer.name, &clipped_at_six(layer, y)),
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
    let Some(norm) = &layer.norm else {
        let bias = own_bias.map_or_else(|| latent.zeros_like().select(1, 0).flatten(0, -1), Tensor::shallow_clone);
        return Some(FoldedLayer { weight: quant::weight(latent, spec).detach(), bias: bias.detach() });
    };
    let part = |leaf: &str| weights.get(&format!("{norm}.{leaf}"));
    let factor = part("weight") / (part("running_var") + layers::BATCH_NORM_EPSILON).sqrt();
    let centre = own_bias.map_or_else(|| -part("running_mean"), |bias| bias - part("running_mean"));
    let bias = part("bias") + centre * &factor;
    let weight = scaled_and_quantized(latent, &factor, spec);
    Some(FoldedLayer { weight: weight.detach(), bias: bias.detach() })
}

/// Multiplies each output channel by its factor, on the scale where that is exact, else before quantizing.
fn scaled_and_quantized(latent: &Tensor, factor: &Tensor, spec: QuantSpec) -> Tensor {
    let mut shape = vec![1_i64; latent.dim()];
    shape[0] = -1;
    let factor = factor.view(shape.as_slice());
    let on_scale = quant::weight(latent, spec) * &factor;
    let scales_take_any_factor = spec.scale == crate::formats::ScaleKind::Float32;
    if matches!(spec.granularity, Granularity::Channel) && scales_take_any_factor {
        let before = quant::weight(&(latent * &factor), spec);
        on_scale.where_self(&factor.gt(0.0), &before)
    } else {
        quant::weight(&(latent * &factor), spec)
    }
}
