//! What a space can reach, found before anything is trained.
//!
//! Every cost here grows with the bits or size of each decision, whatever the other decisions are, so its smallest and largest
//! value are found one decision at a time. (Size is not quite monotone in bits, because float32 needs no scales; but it is
//! a sum over decisions, for which one at a time is exact too. Where operators are open, mean bits
//! depend on sizes as shares of the whole, and peak memory on kinds of block and on sums that appear with equal widths; their
//! range is then the best that one at a time finds.)

use crate::error::Error;
use crate::error::Result;
use crate::genome::Genome;
use crate::space::Space;

use super::{Constraint, Costs, Metric, Pricing};

/// Which end of a range.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Least,
    Most,
}

impl End {
    fn is_better(self, a: f64, b: f64) -> bool {
        if self == Self::Least { a < b } else { a > b }
    }
}

/// The genome with the least of a cost; for latency without a target that of the fewest bits.
pub fn cheapest(space: &Space, pricing: &Pricing, metric: Metric) -> Vec<u8> {
    extreme(space, pricing, metric, End::Least)
}

/// Smallest and largest value of a cost in a space; `None` for latency without a target.
pub fn feasible_range(space: &Space, pricing: &Pricing, metric: Metric) -> Option<(f64, f64)> {
    let at = |end| value(space, pricing, metric, &extreme(space, pricing, metric, end));
    Some((at(End::Least)?, at(End::Most)?))
}

/// Checks that some network of the space can meet each limit.
///
/// # Errors
/// [`Error::Infeasible`] with the limits out of reach and the range of every cost.
pub fn check_feasible(space: &Space, pricing: &Pricing, constraints: &[Constraint]) -> Result<()> {
    let out_of_reach = |constraint: &&Constraint| {
        let best = extreme(space, pricing, constraint.metric, End::Least);
        is_known(constraint.metric, pricing) && constraint.violation(&costs(space, pricing, &best)) > 0.0
    };
    let failing: Vec<String> = constraints.iter().filter(out_of_reach).map(Constraint::to_string).collect();
    if failing.is_empty() {
        return Ok(());
    }
    let ranges: Vec<String> = Metric::all()
        .filter_map(|metric| feasible_range(space, pricing, metric).map(|(low, high)| (metric, low, high)))
        .map(|(metric, low, high)| format!("  {metric:<10} {low:.6} to {high:.6}"))
        .collect();
    Err(Error::Infeasible(format!("{}; the space reaches\n{}", failing.join(", "), ranges.join("\n"))))
}

/// The genome nearest to meeting the limits: the smallest sum of relative excesses among the networks that have the least
/// of some cost.
pub fn nearest(space: &Space, pricing: &Pricing, constraints: &[Constraint]) -> Vec<u8> {
    let excess = |genome: &[u8]| {
        let costs = costs(space, pricing, genome);
        let known = constraints.iter().filter(|constraint| is_known(constraint.metric, pricing));
        known.map(|constraint| constraint.violation(&costs)).sum::<f64>()
    };
    let fewest = cheapest(space, pricing, Metric::Gbops);
    let others = constraints.iter().map(|constraint| cheapest(space, pricing, constraint.metric));
    others.fold(fewest, |best, other| if excess(&other) < excess(&best) { other } else { best })
}

fn is_known(metric: Metric, pricing: &Pricing) -> bool {
    metric != Metric::LatencyMs || pricing.target.is_some()
}

fn costs(space: &Space, pricing: &Pricing, genome: &[u8]) -> Costs {
    pricing.costs(&space.network(genome))
}

fn value(space: &Space, pricing: &Pricing, metric: Metric, genome: &[u8]) -> Option<f64> {
    metric.of(&costs(space, pricing, genome))
}

/// The genome at one end of a cost's range: every decision at its least (most), then whatever is better still. Latency does not
/// grow with each decision (narrow is not always fast, and the way between formats costs), so there the descent begins at every
/// uniform format as well and goes on until nothing is better.
fn extreme(space: &Space, pricing: &Pricing, metric: Metric, end: End) -> Vec<u8> {
    let Genome(first) = if end == End::Least { space.narrowest() } else { space.widest() };
    if metric != Metric::LatencyMs {
        return descend(space, pricing, metric, end, first, 1).0;
    }
    let uniform = |format| if end == End::Least { space.uniform_smallest(format) } else { space.uniform(format) };
    let starts = std::iter::once(first).chain(space.formats().into_iter().filter_map(uniform));
    let found = starts.map(|start| descend(space, pricing, metric, end, start, SWEEPS));
    let best = |a: (Vec<u8>, f64), b: (Vec<u8>, f64)| if end.is_better(b.1, a.1) { b } else { a };
    found.reduce(best).map(|(genome, _)| genome).unwrap_or_default()
}

/// Most passes over all decisions.
const SWEEPS: usize = 5;

/// From a genome to a better one, a decision at a time; with the cost it ends at.
fn descend(
    space: &Space,
    pricing: &Pricing,
    metric: Metric,
    end: End,
    mut genome: Vec<u8>,
    sweeps: usize,
) -> (Vec<u8>, f64) {
    let Some(mut best) = value(space, pricing, metric, &genome) else { return (genome, f64::INFINITY) };
    for _ in 0..sweeps {
        let before = best;
        for place in 0..genome.len() {
            for option in 0..space.decisions()[place].choices.len() as u8 {
                let kept = std::mem::replace(&mut genome[place], option);
                match value(space, pricing, metric, &genome) {
                    Some(found) if end.is_better(found, best) => best = found,
                    _ => genome[place] = kept,
                }
            }
        }
        if !end.is_better(best, before) {
            break;
        }
    }
    (genome, best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ron_text;

    fn space(formats: &str, more: &str) -> Space {
        let text = format!(
            "(model: \"resnet8\", width: 0.25, resolution: 8, channels: 1, classes: 3, formats: {formats}, {more})"
        );
        Space::new(ron_text::parse(&text, "x.ron").unwrap()).unwrap()
    }

    /// Every genome of a space.
    fn all(space: &Space) -> Vec<Vec<u8>> {
        space.choices().into_iter().fold(vec![vec![]], |found, options| {
            let extend = |genome: &Vec<u8>| (0..options).map(|gene| [genome.as_slice(), &[gene]].concat()).collect();
            found.iter().flat_map(|genome| -> Vec<Vec<u8>> { extend(genome) }).collect()
        })
    }

    #[test]
    fn ranges_are_those_of_full_enumeration() {
        let spaces = [
            space("[\"int8\", \"int3\", \"fp4\"]", "shortcut: B, ties: true, activations: Tied"),
            space("[\"int4\", \"int7\"]", "shortcut: B, ties: false, activations: Tied"),
            space("[\"int2\", \"float32\"]", "decisions: Block, activations: Untied"),
            space("[\"float32\", \"int8\"]", "weight_granularity: Group(2)"),
        ];
        for space in spaces {
            let every: Vec<Costs> =
                all(&space).iter().map(|genome| costs(&space, &Pricing::default(), genome)).collect();
            for metric in Metric::all().filter(|metric| *metric != Metric::LatencyMs) {
                let values: Vec<f64> = every.iter().filter_map(|costs| metric.of(costs)).collect();
                let (low, high) = feasible_range(&space, &Pricing::default(), metric).unwrap();
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                let most = values.iter().copied().fold(0.0, f64::max);
                assert!((low - least).abs() <= 1e-9 * least, "{metric}: {low} is not {least}");
                assert!((high - most).abs() <= 1e-9 * most, "{metric}: {high} is not {most}");
            }
        }
    }

    #[test]
    fn limits_out_of_reach_are_named_with_every_range() {
        let space = space("[\"int4\", \"int8\"]", "ties: true");
        let (low, _) = feasible_range(&space, &Pricing::default(), Metric::Gbops).unwrap();
        let limit = |limit| [Constraint { metric: Metric::Gbops, limit, strict: false }];
        assert!(check_feasible(&space, &Pricing::default(), &limit(low * 1.001)).is_ok());
        let error = check_feasible(&space, &Pricing::default(), &limit(low * 0.999)).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        let message = error.to_string();
        assert!(message.contains("gbops<=") && message.contains("size_mb") && message.contains(" to "), "{message}");
        let near = nearest(&space, &Pricing::default(), &limit(low * 0.5));
        assert_eq!(near, vec![0; space.choices().len()]);
    }
}
