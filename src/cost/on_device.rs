//! What training costs a microcontroller: a step in binary16 on one image, three matrix products a layer.
//!
//! Nadalini et al. 2023, "Reduced precision floating-point optimization for deep neural network on-device learning on
//! microcontrollers" (arXiv 2305.19167), abstract and pulp-trainlib.

use serde::Serialize;

use super::{Convention, LayerCost};
use crate::network::{Network, Op, Source};

/// MACs a cycle of a training step on eight cores, of convolutional and of depthwise-separable networks.
const MACS_A_CYCLE: [f64; 2] = [3.11, 0.81];

/// A training step of a network's last layers on one image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TrainingStep {
    /// Layers with weights that are trained.
    pub layers: usize,
    /// Multiply-accumulates: the forward pass of all layers, the weight gradient of the trained ones, and the input gradient of
    /// the trained ones but the first.
    pub macs: u64,
    /// Cycles in 1e6.
    pub mcycles: f64,
    /// Bytes of the activations that the step keeps for its gradients, in binary16.
    pub saved_bytes: u64,
    /// These, all weights, and the gradients of the trained weights, in binary16.
    pub bytes: u64,
}

impl TrainingStep {
    /// The step that trains the last `layers` layers with weights; all where there are fewer.
    pub fn of_last(network: &Network, layers: usize) -> Self {
        let weighted = network.weighted();
        let layers = layers.min(weighted.len());
        let first = weighted.get(weighted.len() - layers).copied().unwrap_or(network.layers.len());
        let rows = LayerCost::rows(network, Convention::Full);
        let start = network.layers.get(first).and_then(|layer| rows.iter().position(|row| row.name == layer.name));
        let start = start.unwrap_or(rows.len());
        // Products a row: forward, weight gradient, input gradient.
        let macs = rows
            .iter()
            .enumerate()
            .map(|(at, row)| row.macs * [1, 2, 3][usize::from(at >= start) + usize::from(at > start)]);
        let macs: u64 = macs.sum();
        let parameters = |rows: &[LayerCost]| rows.iter().map(|row| row.weights).sum::<u64>();
        let saved_bytes = 2 * kept(network, first) as u64;
        Self {
            layers,
            macs,
            mcycles: macs as f64 / MACS_A_CYCLE[usize::from(is_separable(network))] / 1e6,
            saved_bytes,
            bytes: saved_bytes + 2 * parameters(&rows) + 2 * parameters(&rows[start..]),
        }
    }

    /// The step that trains all layers.
    pub fn of(network: &Network) -> Self {
        Self::of_last(network, usize::MAX)
    }

    /// The step that trains the most last layers within a memory in bytes; `None` where not even the last layer fits.
    pub fn within(network: &Network, bytes: u64) -> Option<Self> {
        let steps = (1..=network.weighted().len()).rev().map(|layers| Self::of_last(network, layers));
        steps.into_iter().find(|step| step.bytes <= bytes)
    }
}

/// Whether the network has depthwise convolutions.
fn is_separable(network: &Network) -> bool {
    let depthwise = |op: Op| matches!(op, Op::Conv(conv) if conv.groups > 1 && conv.groups == conv.c_in);
    network.layers.iter().any(|layer| depthwise(layer.op))
}

/// Elements of the tensors that a step keeps which trains the layers from `first` on: what they give, and what they read from
/// in front of them.
fn kept(network: &Network, first: usize) -> usize {
    let inner: usize = network.layers[first..].iter().map(|layer| layer.output.elements()).sum();
    let outside = |source: &Source| match source {
        Source::Input => true,
        Source::Layer(index) => *index < first,
    };
    let mut read: Vec<Source> = Vec::new();
    for source in network.layers[first..].iter().flat_map(|layer| &layer.inputs).filter(|source| outside(source)) {
        if !read.contains(source) {
            read.push(*source);
        }
    }
    inner + read.into_iter().map(|source| network.shape(source).elements()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{ModelSpec, build};

    fn network(model: &str) -> Network {
        build(&ModelSpec::new(model.parse().unwrap())).unwrap()
    }

    #[test]
    fn a_training_step_is_three_forward_passes_less_one_of_the_first_layer() {
        for model in ["resnet8", "resnet20", "mobilenet_v2"] {
            let network = network(model);
            let rows = LayerCost::rows(&network, Convention::Full);
            let total: u64 = rows.iter().map(|row| row.macs).sum();
            let step = TrainingStep::of(&network);
            assert_eq!((step.macs, step.layers), (3 * total - rows[0].macs, network.weighted().len()), "{model}");
            let kept: usize = network.layers.iter().map(|layer| layer.output.elements()).sum();
            assert_eq!(step.saved_bytes as usize, 2 * (kept + network.input.elements()), "{model}");
            // Weights, gradients.
            let weights: u64 = rows.iter().map(|row| row.weights).sum();
            assert_eq!(step.bytes, step.saved_bytes + 4 * weights, "{model}");
        }
    }

    #[test]
    fn depthwise_networks_pay_more_than_three_times_the_cycles() {
        let cycles_a_mac = |model: &str| {
            let step = TrainingStep::of(&network(model));
            step.mcycles * 1e6 / step.macs as f64
        };
        let penalty = cycles_a_mac("mobilenet_v2") / cycles_a_mac("resnet8");
        assert!(penalty > 3.0 && (penalty - 3.11 / 0.81).abs() < 1e-9, "{penalty}");
    }

    #[test]
    fn the_last_layer_alone_costs_a_forward_pass_and_its_own_gradient() {
        let network = network("resnet8");
        let rows = LayerCost::rows(&network, Convention::Full);
        let total: u64 = rows.iter().map(|row| row.macs).sum();
        let last = TrainingStep::of_last(&network, 1);
        assert_eq!(last.macs, total + rows[rows.len() - 1].macs);
        // It keeps the 64 pooled features and the 10 logits.
        assert_eq!(last.saved_bytes, 2 * (64 + 10));
        let steps: Vec<u64> =
            (1..=network.weighted().len()).map(|at| TrainingStep::of_last(&network, at).bytes).collect();
        assert!(steps.is_sorted(), "{steps:?}");
    }

    #[test]
    fn as_many_layers_are_trained_as_memory_holds() {
        let network = network("resnet8");
        let all = TrainingStep::of(&network);
        assert_eq!(TrainingStep::within(&network, all.bytes), Some(all));
        let fewer = TrainingStep::within(&network, all.bytes - 1).unwrap();
        assert!(fewer.layers < all.layers && fewer.bytes < all.bytes);
        assert_eq!(TrainingStep::within(&network, 1000), None);
    }
}
