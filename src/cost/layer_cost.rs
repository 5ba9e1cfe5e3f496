//! The cost of one layer with weights.

use serde::Serialize;

use crate::formats::Format;
use crate::formats::QuantSpec;
use crate::network::LayerSpec;
use crate::network::Network;
use crate::network::Op;

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
    /// The rows of a network's layers with weights, in execution order.
    pub fn rows(network: &Network) -> Vec<Self> {
        let weighted = network.layers.iter().filter_map(|layer| Some((layer, layer.weight?)));
        let row = |(layer, weight): (&LayerSpec, QuantSpec)| {
            let activation = network.point(layer.inputs[0]).map_or(Format::Float32, |point| point.spec.format);
            let macs = macs(layer);
            Self {
                name: layer.name.clone(),
                macs,
                weights: layer.op.weight_shape().unwrap_or_default().iter().map(|&length| length as u64).product(),
                weight: weight.format,
                activation,
                gbops: macs as f64 * f64::from(weight.format.bits() * activation.bits()) / 1e9,
                size_mb: weight_bits(layer) as f64 / 8e6,
            }
        };
        weighted.map(row).collect()
    }
}

/// Multiply-accumulates of one layer for one image.
fn macs(layer: &LayerSpec) -> u64 {
    let count = match layer.op {
        Op::Conv(conv) => layer.output.elements() * (conv.c_in / conv.groups) * conv.kernel * conv.kernel,
        Op::Linear { c_in, c_out } => c_in * c_out,
        Op::Add | Op::MaxPool { .. } | Op::GlobalAvgPool | Op::PadShortcut { .. } => 0,
    };
    count as u64
}
