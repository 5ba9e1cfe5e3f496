//! A network as a file holds it: weight codes, scales, biases, the scales of its quantization points. Plain arrays.
//!
//! Evaluation computes with exactly these numbers and every exporter writes them, so they cannot disagree.

mod bits;
mod filled;
mod packed;
mod weight;

pub use packed::{read_packed, write_packed};
pub use weight::{LARGEST_BIAS, StoredWeight};

use crate::formats::Format;
use crate::formats::QuantSpec;
use crate::formats::Scales;
use crate::network::Network;
use crate::network::Op;
use crate::network::Source;

/// Arrays of one layer with weights, batch norm folded in.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLayer {
    /// Codes and scales of the weights.
    pub weight: StoredWeight,
    /// One bias an output channel.
    pub bias: Vec<f32>,
}

impl StoredLayer {
    /// The same layer with its bias rounded to whole multiples of the input's scale times each channel's weight scale, as
    /// integer kernels add it. A channel whose bias would not fit 32 bits gets a wider weight scale.
    #[must_use]
    pub fn with_integer_bias(&self, input_scale: f32) -> Self {
        let weight = self.weight.with_room_for(&self.bias, input_scale);
        let steps = weight.bias_steps(self.bias.len(), input_scale);
        let bias = self.bias.iter().zip(steps).map(|(bias, step)| (bias / step).round_ties_even() * step).collect();
        Self { weight, bias }
    }
}

/// Whether a layer's bias is an integer at the product of its scales: weights and input are integers, and the weights
/// are stored in bytes, so that runtimes can make it one integer kernel.
pub fn takes_integer_bias(weight: Format, input: Format) -> bool {
    weight.is_integer() && weight.bits() > 4 && input.is_integer()
}

/// A network with all the arrays that running it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredNetwork {
    /// Layers, shapes, formats.
    pub network: Network,
    /// For each layer its arrays; `None` for operators without weights.
    pub layers: Vec<Option<StoredLayer>>,
    /// Scale of the quantizer on the input image; `None` for float32.
    pub input_scale: Option<f32>,
    /// For each layer the scale of the quantizer on its result, if it has one that is not float32.
    pub scales: Vec<Option<f32>>,
}

impl StoredNetwork {
    /// The same network in float32: the weights as their codes and scales give them, no quantization point.
    #[must_use]
    pub fn in_float32(&self) -> Self {
        let mut network = self.network.clone();
        let specs = vec![QuantSpec::per_tensor(Format::Float32); network.weighted().len()];
        network.assign(&specs, &specs);
        let float = |layer: &StoredLayer| {
            let (grid, spec) = (layer.weight.values(), specs[0]);
            let scales = Scales { runs: vec![1.0], tensor: 1.0 };
            StoredLayer {
                weight: StoredWeight { spec, grid, scales, ..layer.weight.clone() },
                bias: layer.bias.clone(),
            }
        };
        Self {
            layers: self.layers.iter().map(|layer| layer.as_ref().map(float)).collect(),
            input_scale: None,
            scales: vec![None; network.layers.len()],
            network,
        }
    }

    /// Rounds biases as integer kernels hold them: their step follows from the scales. Returns the layers it is about.
    pub fn round_biases(&mut self) -> Vec<usize> {
        let mut rounded = Vec::new();
        for index in 0..self.layers.len() {
            let source = self.network.layers[index].inputs[0];
            let (Some(layer), Some(point)) = (&self.layers[index], self.network.point(source)) else { continue };
            if let Some(scale) = self.scale(source)
                && takes_integer_bias(layer.weight.spec.format, point.spec.format)
            {
                self.layers[index] = Some(layer.with_integer_bias(scale));
                rounded.push(index);
            }
        }
        rounded
    }

    /// The scale of the tensor a source names; operators that repeat their input's scale pass it on.
    pub fn scale(&self, source: Source) -> Option<f32> {
        match source {
            Source::Input => self.input_scale,
            Source::Layer(index) => {
                let layer = &self.network.layers[index];
                match layer.op {
                    Op::MaxPool { .. } | Op::PadShortcut { .. } if layer.point.is_none() => self.scale(layer.inputs[0]),
                    _ => self.scales[index],
                }
            }
        }
    }
}
