//! What theory expects of each layer's output from histograms of its tensors alone, without a forward pass.

use super::{Calibrated, OutputNoise};
use crate::formats::{Factor, Format, Granularity, Histogram};
use crate::network::{Network, Op, Source};

/// For each layer with weights the signal to noise of its output that [`Factor`] expects for the formats of `network`, whose
/// layers are those of the calibrated one; infinite where nothing is quantized. A token's own scale counts as the tensor's, a
/// channel's as that of all channels at their size.
pub fn analytic_noise(calibrated: &Calibrated, network: &Network) -> Vec<OutputNoise> {
    let of_layer = |&index: &usize| {
        let nothing = OutputNoise { weights: f64::INFINITY, activations: f64::INFINITY, both: f64::INFINITY };
        let layer = &network.layers[index];
        let (Some(own), Some(spec)) = (&calibrated.float().layers[index], layer.weight) else { return nothing };
        let source = layer.inputs[0];
        let read = network.point(source).map_or(Format::Float32, |point| point.spec.format);
        let run = match spec.granularity {
            Granularity::Tensor => own.weight.grid.len(),
            _ => spec.granularity.runs(&own.weight.shape).run,
        };
        let weights = Histogram::of_runs(&own.weight.values(), run);
        let activations = Histogram::of(calibrated.sample(carrier(network, source)));
        let (Some(weights), Some(activations)) = (weights, activations) else { return nothing };
        let weight = Factor::in_format(&weights, spec.format);
        let activation = Factor::in_format(&activations, read);
        OutputNoise {
            weights: weight.sqnr_db(),
            activations: activation.sqnr_db(),
            both: weight.product_sqnr_db(activation),
        }
    };
    network.weighted().iter().map(of_layer).collect()
}

/// The tensor whose scale a source carries, as [`Calibrated::sample`] numbers them.
pub fn carrier(network: &Network, source: Source) -> usize {
    match source {
        Source::Input => 0,
        Source::Layer(index) => {
            let layer = &network.layers[index];
            let repeats = matches!(layer.op, Op::MaxPool { .. } | Op::PadShortcut { .. }) && layer.point.is_none();
            if repeats { carrier(network, layer.inputs[0]) } else { index + 1 }
        }
    }
}
