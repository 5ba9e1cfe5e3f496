//! From a search space to linear costs: parts of it that choose alone, and what each of their options adds to every cost.

use crate::error::{Error, Result};
use crate::space::{DecisionKind, Sets, Space};

use super::memory::live_bytes;
use super::{Metric, Pricing};

/// Decisions whose options price one another: those of a layer's weights and of the tensor that it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The decisions, by their places in the genome.
    pub decisions: Vec<usize>,
    /// Every combination of their options.
    pub options: Vec<Vec<u8>>,
}

/// Most combinations that a part may have.
const MOST_OPTIONS: usize = 1000;

/// The parts of a space without operators to choose. Together they cover all decisions.
///
/// # Errors
/// The space chooses operators, or joins too many decisions.
pub fn parts(space: &Space) -> Result<Vec<Part>> {
    let decisions = space.decisions();
    let network = space.network(&space.widest().0);
    let ranks = network.weighted();
    let rank_of = |index: usize| ranks.iter().position(|&own| own == index);
    // The decision over each layer's weights and over the tensors that it decides.
    let mut over = vec![[None; 2]; ranks.len()];
    for (at, decision) in decisions.iter().enumerate() {
        let Sets::Formats { kind, layers } = &decision.sets else {
            let expected = "leaves only formats open: operators cannot be chosen for trained weights";
            return Err(Error::bad_value("--space", &decision.name, expected));
        };
        for &layer in layers {
            if *kind != DecisionKind::Activation {
                over[layer][0] = Some(at);
            }
            if *kind != DecisionKind::Weight {
                over[layer][1] = Some(at);
            }
        }
    }
    let mut part_of: Vec<usize> = (0..decisions.len()).collect();
    for (rank, &index) in ranks.iter().enumerate() {
        let decider = network.point(network.layers[index].inputs[0]).and_then(|point| rank_of(point.decided_by));
        if let (Some(weights), Some(Some(read))) = (over[rank][0], decider.map(|decider| over[decider][1])) {
            let (a, b) = (part_of[weights], part_of[read]);
            part_of.iter_mut().filter(|part| **part == b).for_each(|part| *part = a);
        }
    }
    let mut found: Vec<Part> = Vec::new();
    for part in 0..decisions.len() {
        let own: Vec<usize> = (0..decisions.len()).filter(|&at| part_of[at] == part).collect();
        if own.is_empty() {
            continue;
        }
        let count: usize = own.iter().map(|&at| decisions[at].choices.len()).product();
        if count > MOST_OPTIONS {
            let names: Vec<&str> = own.iter().map(|&at| decisions[at].name.as_str()).collect();
            let expected = format!("{count} combinations depend on one another; at most {MOST_OPTIONS}");
            return Err(Error::bad_value("--space", names.join(", "), expected));
        }
        let options = own.iter().fold(vec![vec![]], |known: Vec<Vec<u8>>, &at| {
            let genes = 0..decisions[at].choices.len() as u8;
            known.iter().flat_map(|part| genes.clone().map(move |gene| [part.as_slice(), &[gene]].concat())).collect()
        });
        found.push(Part { decisions: own, options });
    }
    Ok(found)
}

/// A cost as a sum over parts: what each option adds, and what every network has beside it.
#[derive(Clone, Debug)]
pub struct LinearCost {
    /// `[part][option]`.
    pub adds: Vec<Vec<f64>>,
    /// The rest.
    pub rest: f64,
}

/// A metric as sums over the parts, of which the largest is the metric: one for most, for the memory of activations one a
/// layer. Exact where parts do not price one another (all but latency, which is a sum beside the base's neighbours).
pub fn linear(space: &Space, pricing: &Pricing, parts: &[Part], metric: Metric) -> Vec<LinearCost> {
    let base = space.widest().0;
    let values = |genome: &[u8]| -> Vec<f64> {
        let network = space.network(genome);
        match metric {
            Metric::ActMemKb => live_bytes(&network).into_iter().map(|bytes| bytes as f64 / 1e3).collect(),
            _ => vec![metric.of(&pricing.costs(&network)).unwrap_or_default()],
        }
    };
    let beside = values(&base);
    let mut sums: Vec<LinearCost> = beside.iter().map(|&rest| LinearCost { adds: Vec::new(), rest }).collect();
    for part in parts {
        let mut adds = vec![Vec::new(); beside.len()];
        for option in &part.options {
            let found = values(&with(&base, part, option));
            adds.iter_mut().zip(found.iter().zip(&beside)).for_each(|(own, (found, beside))| own.push(found - beside));
        }
        sums.iter_mut().zip(adds).for_each(|(sum, adds)| sum.adds.push(adds));
    }
    sums
}

/// A genome with one part's option.
pub fn with(genome: &[u8], part: &Part, option: &[u8]) -> Vec<u8> {
    let mut changed = genome.to_vec();
    part.decisions.iter().zip(option).for_each(|(&at, &gene)| changed[at] = gene);
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ron_text;

    fn space(rest: &str) -> Space {
        let text = format!("(model: \"resnet8\", width: 0.25, resolution: 8, channels: 1, classes: 3, {rest})");
        Space::new(ron_text::parse(&text, "x.ron").unwrap()).unwrap()
    }

    #[test]
    fn sums_over_parts_are_the_costs_of_random_networks() {
        use rand::RngExt;
        for rest in [
            "formats: [\"int4\", \"int8\", \"fp4\"]",
            "formats: [\"int4\", \"int8\"], activations: Among([\"int8\", \"fp4\", \"int3\"])",
            "formats: [\"int2\", \"int8\"], shortcut: B, ties: false, activations: Untied",
            "formats: [\"int2\", \"int8\"], decisions: Stage, first: Fixed(\"int8\"), last: Fixed(\"int8\")",
        ] {
            let space = space(rest);
            let pricing = Pricing::default();
            let parts = parts(&space).unwrap();
            let covered: usize = parts.iter().map(|part| part.decisions.len()).sum();
            assert_eq!(covered, space.decisions().len());
            let mut rng = crate::seed::Seed::new(4).rng();
            for metric in [Metric::Gbops, Metric::SizeMb, Metric::AvgWBits, Metric::AvgABits, Metric::ActMemKb] {
                let sums = linear(&space, &pricing, &parts, metric);
                for _ in 0..20 {
                    let chosen: Vec<usize> = parts.iter().map(|part| rng.random_range(0..part.options.len())).collect();
                    let genome = parts
                        .iter()
                        .zip(&chosen)
                        .fold(space.widest().0, |genome, (part, &at)| with(&genome, part, &part.options[at]));
                    let sum = |cost: &LinearCost| {
                        cost.rest + cost.adds.iter().zip(&chosen).map(|(own, &at)| own[at]).sum::<f64>()
                    };
                    let predicted = sums.iter().map(sum).fold(0.0, f64::max);
                    let exact = metric.of(&pricing.costs(&space.network(&genome))).unwrap();
                    assert!((predicted / exact - 1.0).abs() < 1e-9, "{rest} {metric}: {predicted} {exact}");
                }
            }
        }
    }
}
