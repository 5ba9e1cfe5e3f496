//! One training pass of a network over shared weights, straight-through gradients included.

use tch::Tensor;

use super::Weights;
use crate::layers;
use crate::network::LayerSpec;
use crate::network::Network;
use crate::network::Op;
use crate::network::Point;
use crate::network::Source;
use crate::quant;
use crate::quant::Ranges;

/// What a pass does with batch-norm statistics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistics {
    /// Normalise by the batch; move the running statistics by this rate (0 leaves them).
    Batch(f64),
    /// Normalise by the running statistics.
    Running,
}

/// How a pass runs.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// Batch-norm statistics.
    pub statistics: Statistics,
    /// Rate at which ranges follow what the pass sees; `None` leaves those that are recorded. A tensor without a
    /// recorded range always takes what it sees.
    pub follow: Option<f32>,
    /// Where wide depthwise layers leave what their gradients need; the caller then ends the pass with
    /// [`layers::Taps::backward`].
    pub taps: Option<&'a layers::Taps>,
}

/// Runs a network; `ranges` are read at every quantization point and follow the data as `pass` says.
///
/// # Shapes
/// `x`: `[n, c, h, w]`, the normalised images; the result is `[n, classes]`, the logits.
pub fn forward(network: &Network, weights: &Weights, ranges: &mut Ranges, x: &Tensor, pass: Pass<'_>) -> Tensor {
    layer_outputs(network, weights, ranges, x, pass).pop().unwrap_or_default()
}

/// The same, with what every layer gives to its readers, quantized where it has a quantization point.
pub fn layer_outputs(
    network: &Network,
    weights: &Weights,
    ranges: &mut Ranges,
    x: &Tensor,
    pass: Pass<'_>,
) -> Vec<Tensor> {
    // A copy, because the images of the caller must stay as they are.
    let input = quantized(&network.input_point, "input", weights, ranges, layers::channels_last(x).copy(), pass);
    let mut outputs: Vec<Tensor> = Vec::with_capacity(network.layers.len());
    for layer in &network.layers {
        let read = |source: Source| match source {
            Source::Input => &input,
            Source::Layer(from) => &outputs[from],
        };
        let y = operate(layer, weights, read(layer.inputs[0]), layer.inputs.get(1).map(|&source| read(source)), pass);
        let y = match &layer.point {
            Some(point) => {
                quantized(point, &layer.name, weights, ranges, layers::activate_before_quantizer(y, layer.act), pass)
            }
            None => layers::activate(&y, layer.act),
        };
        outputs.push(y);
    }
    outputs
}

fn quantized(point: &Point, tensor: &str, weights: &Weights, ranges: &mut Ranges, x: Tensor, pass: Pass<'_>) -> Tensor {
    if let Some(clip) = weights.clip(tensor) {
        return quant::learned_activation(x, point, clip);
    }
    let unseen = ranges.get(tensor).max <= 0.0;
    if let Some(rate) = pass.follow.or(unseen.then_some(1.0)).filter(|_| !point.is_by_token()) {
        ranges.absorb(tensor, quant::observe(&x, point.nonnegative), rate);
    }
    quant::activation(x, point, ranges.get(tensor))
}

fn operate(layer: &LayerSpec, weights: &Weights, x: &Tensor, second: Option<&Tensor>, pass: Pass<'_>) -> Tensor {
    let bias = layer.bias.then(|| weights.bias(layer));
    let y = match (layer.op, layer.weight, second) {
        (Op::Conv(conv), Some(spec), _) => {
            let weight = quant::weight(&weights.weight(layer), spec);
            match pass.taps {
                Some(taps) => taps.convolution(x, &weight, bias.as_ref(), conv),
                None => layers::convolution(x, &weight, bias.as_ref(), conv),
            }
        }
        (Op::Linear { .. }, Some(spec), _) => {
            layers::linear(x, &quant::weight(&weights.weight(layer), spec), bias.as_ref())
        }
        (Op::Add, _, Some(shortcut)) => x + shortcut,
        (Op::Gate, _, Some(gate)) => x * gate,
        (Op::AttentionValues { heads }, _, Some(qkv)) => layers::attention_values(x, qkv, heads),
        (Op::Embed, _, _) => layers::embed(x, weights.get("cls_token"), weights.get(&layer.name)),
        (Op::LayerNorm, _, _) => layers::layer_norm(x, weights.get(&format!("{}.weight", layer.name)), bias.as_ref()),
        (op, _, _) => layers::without_weights(x, op, layer.output),
    };
    match &layer.norm {
        Some(norm) => {
            let [gain, offset, mean, var] = weights.norm(norm, layer.output.c);
            let rate = match pass.statistics {
                Statistics::Batch(rate) => Some(rate),
                Statistics::Running => None,
            };
            layers::batch_norm(&y, [&gain, &offset, &mean, &var], rate, layer.norm_epsilon)
        }
        None => y,
    }
}
