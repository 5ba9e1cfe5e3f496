//! A network made ready for evaluation: batch norm folded, weights quantized once, ranges fixed.
//!
//! This is the network that is exported: what `search` and `eval` measure is what the file computes.

use tch::{Device, Tensor, no_grad};

use super::Weights;
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
use crate::stored::takes_integer_bias;

/// An evaluation-ready network: what a file would store, and the same weights and biases as tensors.
#[derive(Debug)]
pub struct Folded {
    stored: StoredNetwork,
    tensors: Vec<Option<LayerTensors>>,
    last_use: Vec<usize>,
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
        let layers = &stored.network.layers;
        let mut last_use = vec![0; layers.len()];
        for (index, layer) in layers.iter().enumerate() {
            for source in &layer.inputs {
                if let Source::Layer(from) = source {
                    last_use[*from] = index;
                }
            }
        }
        let tensors = stored.layers.iter().map(|layer| layer.as_ref().map(|layer| tensors(layer, device))).collect();
        Self { stored, tensors, last_use, device }
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
        self.round_biases();
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

    /// Rounds biases as integer kernels hold them; their step follows from the scales.
    fn round_biases(&mut self) {
        for index in 0..self.tensors.len() {
            let layer = &self.stored.network.layers[index];
            let (Some(stored), Some(spec)) = (&self.stored.layers[index], layer.weight) else { continue };
            if let Some(point) = self.stored.network.point(layer.inputs[0])
                && let Some(scale) = self.stored.scale(layer.inputs[0])
                && takes_integer_bias(spec.format, point.spec.format)
            {
                let rounded = stored.with_integer_bias(scale);
                self.tensors[index] = Some(tensors(&rounded, self.device));
                self.stored.layers[index] = Some(rounded);
            }
        }
    }

    fn run(&self, x: &Tensor, quantize: &mut dyn FnMut(&Point, Source, Tensor) -> Tensor) -> Tensor {
        let network = &self.stored.network;
        // A copy, because the images of the caller must stay as they are.
        let input = quantize(&network.input_point, Source::Input, layers::channels_last(x).copy());
        let mut outputs: Vec<Tensor> = Vec::with_capacity(network.layers.len());
        for (index, layer) in network.layers.iter().enumerate() {
            let y = {
                let read = |source: Source| match source {
                    Source::Input => &input,
                    Source::Layer(from) => &outputs[from],
                };
                self.operate(index, layer, read(layer.inputs[0]), layer.inputs.get(1).map(|&source| read(source)))
            };
            outputs.push(match &layer.point {
                Some(point) => quantize(point, Source::Layer(index), layers::activate_before_quantizer(y, layer.act)),
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
        match (layer.op, &self.tensors[index], second) {
            (Op::Conv(conv), Some(folded), _) => layers::convolution(x, &folded.weight, Some(&folded.bias), conv),
            (Op::Linear { .. }, Some(folded), _) => layers::linear(x, &folded.weight, Some(&folded.bias)),
            (Op::Add, _, Some(shortcut)) => x + shortcut,
            (Op::Gate, _, Some(gate)) => x * gate,
            (Op::AttentionValues { heads }, _, Some(qkv)) => layers::attention_values(x, qkv, heads),
            (Op::Embed, Some(own), _) => layers::embed(x, &own.bias.narrow(0, 0, 1), &own.weight),
            (Op::LayerNorm, Some(own), _) => layers::layer_norm(x, &own.weight.flatten(0, -1), Some(&own.bias)),
            (op, _, _) => layers::without_weights(x, op, layer.output),
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
        None => (None, own_bias.unwrap_or_else(|| latent.zeros_like().select(1, 0).flatten(0, -1))),
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
