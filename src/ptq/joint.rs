//! Clips and formats of a layer's weights and of the tensor it reads, found together by what the layer gives.
//!
//! Liu et al. 2023 (LLM-FP4, arXiv 2310.16836, section 3.2): layer by layer on the float network's tensors, in rounds: the
//! weights' clips, an output channel each; the tensor's clip; and the split between exponent and mantissa of either. Their
//! candidates are factors of the exponent bias, which is 0 for a tensor that reaches as far as twice the format's largest value; these
//! are added to it. A tensor with several readers has one quantizer: the sum of its readers' errors decides.

use std::collections::BTreeMap;

use tch::{Device, Tensor};

use super::group::{Group, Reader};
use super::rows::Rows;
use super::{Calibrated, Metric, carrier};
use crate::error::Result;
use crate::formats::Format;
use crate::network::Network;

/// What may change, and by which measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joint {
    /// The measure.
    pub metric: Metric,
    /// Whether formats may give way to others of their kind and width.
    pub flavours: bool,
}

/// What was chosen for a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// Its name.
    pub layer: String,
    /// Format of its weights, as asked and as chosen.
    pub weight: [Format; 2],
    /// Format of the tensor it reads, likewise.
    pub activation: [Format; 2],
    /// Error of its output as a share of the output, by the clip rules and as chosen.
    pub error: [f64; 2],
}

/// Finds clips, and formats where `options` say so, of all layers of `network` that are quantized, writes the clips into
/// `calibrated` and gives the network in the formats that were chosen. `step` is told after each tensor and may end it.
///
/// Points that no layer with weights reads keep the clip rule and follow the format of the layer that decides them. Weight
/// scales finer than a channel's keep the rule too.
///
/// # Shapes
/// `images`: batches of normalised ones, `[n, c, h, w]`.
///
/// # Errors
/// What `step` returns.
pub fn joint(
    calibrated: &Calibrated,
    network: &Network,
    images: &[&Tensor],
    options: Joint,
    step: &mut dyn FnMut() -> Result<()>,
) -> Result<(Network, Vec<Chosen>)> {
    let device = images.first().map_or(Device::Cpu, |x| x.device());
    let mut rows = Rows::of(&calibrated.exact(device), images, options.metric == Metric::Fisher);
    let (mut chosen, mut groups) = (Vec::new(), Vec::new());
    for (tensor, readers) in readers(network) {
        let Some(point) = network.point(network.layers[readers[0]].inputs[0]) else { continue };
        let readers = readers.into_iter().filter_map(|index| {
            let spec = network.layers[index].weight?;
            Some(Reader::new(calibrated, index, spec, rows[index].take()?))
        });
        let mut group = Group::new(calibrated, tensor, point, readers.collect());
        let before: Vec<_> =
            group.readers.iter().map(|reader| (reader.quantized.spec.format, reader.error())).collect();
        group.descend(options.flavours);
        for (reader, (asked, error)) in group.readers.iter().zip(before) {
            let found = Chosen {
                layer: network.layers[reader.index].name.clone(),
                weight: [asked, reader.quantized.spec.format],
                activation: [point.spec.format, group.point.spec.format],
                error: [error, reader.error()],
            };
            chosen.push((reader.index, found));
        }
        groups.push(group);
        step()?;
    }
    chosen.sort_by_key(|(index, _)| *index);
    let network = settled(calibrated, network, groups);
    Ok((network, chosen.into_iter().map(|(_, chosen)| chosen).collect()))
}

/// Writes what groups have found into `calibrated`; gives the network in their formats.
fn settled(calibrated: &Calibrated, network: &Network, groups: Vec<Group>) -> Network {
    let (mut weights, mut activations) = network.assigned();
    let weighted = network.weighted();
    let rank = |index: usize| weighted.iter().position(|&own| own == index);
    for group in groups {
        let spec = group.point.spec;
        // Only small floats have flavours, and what is asked of them is what a tensor gets.
        if let (Format::Mini(_), Some(rank)) = (spec.format, rank(group.point.decided_by)) {
            activations[rank].format = spec.format;
        }
        if let Some(scale) = group.scale {
            calibrated.settle_scale(group.tensor, spec.format, spec.scale, scale);
        }
        for reader in group.readers {
            if let Some(rank) = rank(reader.index) {
                weights[rank] = reader.quantized.spec;
            }
            calibrated.settle_weight(reader.index, reader.quantized);
        }
    }
    let mut network = network.clone();
    network.assign(&weights, &activations);
    network
}

/// How many tensors [`joint`] goes through.
pub fn joint_steps(network: &Network) -> usize {
    readers(network).len()
}

/// For each tensor that layers with weights read (the input at 0, a layer's result at its index plus one) those layers.
fn readers(network: &Network) -> BTreeMap<usize, Vec<usize>> {
    let mut readers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in network.weighted() {
        readers.entry(carrier(network, network.layers[index].inputs[0])).or_default().push(index);
    }
    readers
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::formats::QuantSpec;
    use crate::models::{Folded, Weights};
    use crate::network::{ModelSpec, build};
    use crate::ptq::{ClipRule, Clips};
    use crate::seed::Seed;

    fn made(model: &str, format: &str, rule: ClipRule) -> (Network, Calibrated, Tensor) {
        let spec = ModelSpec { resolution: Some(16), classes: Some(10), ..ModelSpec::new(model.parse().unwrap()) };
        let mut network = build(&spec).unwrap();
        let weights = Weights::initialised(&network, Seed::new(1), Device::Cpu);
        tch::manual_seed(7);
        let x = Tensor::randn([48, 3, 16, 16], (Kind::Float, Device::Cpu));
        let (count, format) = (network.weighted().len(), format.parse().unwrap());
        network.assign(&vec![QuantSpec::per_channel(format); count], &vec![QuantSpec::per_tensor(format); count]);
        let clips = Clips { weights: rule, activations: rule, ..Clips::default() };
        let calibrated = Calibrated::new(&network, &weights, &[&x], clips);
        (network, calibrated, x)
    }

    fn search(model: &str, format: &str, rule: ClipRule, options: Joint) -> (Network, Network, Vec<Chosen>) {
        let (network, calibrated, x) = made(model, format, rule);
        let (found, chosen) = joint(&calibrated, &network, &[&x], options, &mut || Ok(())).unwrap();
        (network, found, chosen)
    }

    #[test]
    fn no_layer_ends_worse_than_its_clip_rule_by_either_metric() {
        for metric in [Metric::Output, Metric::Fisher] {
            for (model, format) in [("resnet8", "fp4"), ("resnet8", "int4"), ("mobilenet_v2", "int4")] {
                for rule in [ClipRule::MinMax, ClipRule::Mse] {
                    let (asked, found, chosen) = search(model, format, rule, Joint { metric, flavours: false });
                    assert_eq!(asked, found, "formats stay");
                    assert_eq!(chosen.len(), asked.weighted().len());
                    for layer in &chosen {
                        assert!(layer.error[1] <= layer.error[0], "{model} {format} {rule}: {layer:?}");
                    }
                    let sum = |at: usize| chosen.iter().map(|layer| layer.error[at]).sum::<f64>();
                    assert!(sum(1) < 0.99 * sum(0), "{model} {format} {rule}");
                }
            }
        }
    }

    #[test]
    fn what_was_found_is_what_is_quantized() {
        let (network, calibrated, x) = made("resnet8", "fp4", ClipRule::MinMax);
        let before = calibrated.quantized(&network);
        let options = Joint { metric: Metric::Output, flavours: true };
        let (found, chosen) = joint(&calibrated, &network, &[&x], options, &mut || Ok(())).unwrap();
        let after = calibrated.quantized(&found);
        assert!(before.scales != after.scales && before.input_scale != after.input_scale);
        for (layer, chosen) in network.weighted().into_iter().zip(&chosen) {
            assert_eq!(after.layers[layer].as_ref().unwrap().weight.spec.format, chosen.weight[1]);
            assert_eq!(found.point(found.layers[layer].inputs[0]).unwrap().spec.format, chosen.activation[1]);
        }
        // The whole is better for it.
        let far = |stored| {
            let off = Folded::from_stored(stored, Device::Cpu).logits(&x) - calibrated.exact(Device::Cpu).logits(&x);
            off.square().mean(Kind::Float).double_value(&[])
        };
        let (before, after) = (far(before), far(after));
        assert!(after < before, "{before} {after}");
    }

    #[test]
    fn another_flavour_is_kept_only_where_the_error_drops() {
        for metric in [Metric::Output, Metric::Fisher] {
            let (.., plain) = search("resnet8", "e3m0", ClipRule::Mse, Joint { metric, flavours: false });
            let (_, found, free) = search("resnet8", "e3m0", ClipRule::Mse, Joint { metric, flavours: true });
            assert!(
                found.layers.iter().filter_map(|layer| layer.weight).any(|spec| spec.format != "e3m0".parse().unwrap())
            );
            for (plain, free) in plain.iter().zip(&free) {
                let changed = free.weight[0] != free.weight[1] || free.activation[0] != free.activation[1];
                assert!(!changed || free.error[1] < plain.error[1], "{plain:?} {free:?}");
            }
        }
    }
}
