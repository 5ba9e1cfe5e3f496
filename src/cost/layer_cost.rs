//! The cost of one layer with weights.

use serde::Serialize;

use crate::formats::Format;
use crate::network::LayerSpec;
use crate::network::Network;
use crate::network::Op;
use crate::network::Shape;
use crate::network::Source;

use super::Convention;
use super::size::weight_bits;

/// One row of `bitfront cost --layers`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerCost {
    /// Layer name.
    pub name: String,
    /// Multiply-accumulates for one image.
    pub macs: u64,
    /// Number of weights (no bias).
    pub weights: u64,
    /// Weight format.
    pub weight: Format,
    /// Format of the input tensor, unsigned where that has no negative values.
    pub activation: Format,
    /// MACs x weight bits x activation bits, in 1e9.
    pub gbops: f64,
    /// Codes, scales and folded bias, in 1e6 bytes.
    pub size_mb: f64,
}

impl LayerCost {
    /// The rows of what a network multiplies, in execution order: layers with weights, and under [`Convention::Full`]
    /// attention, where a second activation stands in the place of the weights.
    pub fn rows(network: &Network, convention: Convention) -> Vec<Self> {
        let format = |source| network.point(source).map_or(Format::Float32, |point| point.spec.format);
        let row = |layer: &LayerSpec| {
            let second = match layer.op {
                Op::AttentionScores { .. } if convention == Convention::Full => Some(format(layer.inputs[0])),
                Op::AttentionValues { .. } if convention == Convention::Full => Some(format(layer.inputs[1])),
                _ => None,
            };
            let weight = layer.weight.map(|spec| spec.format).or(second)?;
            let (activation, macs) = (format(layer.inputs[0]), macs(layer, network.shape(layer.inputs[0])));
            Some(Self {
                name: layer.name.clone(),
                macs,
                weights: layer.op.weight_shape().unwrap_or_default().iter().map(|&length| length as u64).product(),
                weight,
                activation,
                gbops: macs as f64 * f64::from(weight.bits() * activation.bits()) / 1e9,
                size_mb: weight_bits(layer) as f64 / 8e6,
            })
        };
        network.layers.iter().filter_map(row).collect()
    }
}

/// Multiply-accumulates for one image of layers that belong together and first read an input of this shape.
pub fn layers_macs(layers: &[LayerSpec], input: Shape) -> u64 {
    let read = |source| match source {
        Source::Input => input,
        Source::Layer(index) => layers[index].output,
    };
    layers.iter().map(|layer| macs(layer, read(layer.inputs[0]))).sum()
}

/// Multiply-accumulates of one layer for one image; `input` is the shape of the first tensor it reads.
fn macs(layer: &LayerSpec, input: Shape) -> u64 {
    let count = match layer.op {
        Op::Conv(conv) => layer.output.elements() * (conv.c_in / conv.groups) * conv.kernel * conv.kernel,
        Op::Linear { c_in, .. } => layer.output.elements() * c_in,
        // Every head multiplies its share of the features for every pair of tokens.
        Op::AttentionScores { .. } => layer.output.h * layer.output.w * input.c / 3,
        Op::AttentionValues { .. } => layer.output.h * layer.output.elements(),
        _ => 0,
    };
    count as u64
}
