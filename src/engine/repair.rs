//! Keeps a search inside its hard limits: proposals above a limit are narrowed until they fit, before any evaluation. Genes
//! without effect are set, so that no network is evaluated under two genomes.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::cost::Constraint;
use crate::cost::Metric;
use crate::cost::Pricing;
use crate::cost::cheapest;
use crate::error::Result;
use crate::genome::Genome;
use crate::search::Algorithm;
use crate::search::Evaluated;
use crate::search::Proposal;
use crate::space::Space;

use super::violation;

/// A space's hard limits and the ways inside.
pub(super) struct Limits<'a> {
    space: &'a Space,
    pricing: &'a Pricing,
    constraints: &'a [Constraint],
    /// The fastest network, where latency is limited.
    fastest: Option<Genome>,
    /// What proposals must cost at least, where they have a band to lie in.
    least: Option<(Metric, f64)>,
}

/// Most proposals drawn for one that lies in a band.
const DRAWS: usize = 256;

impl<'a> Limits<'a> {
    pub(super) fn new(space: &'a Space, pricing: &'a Pricing, constraints: &'a [Constraint]) -> Self {
        let limited = constraints.iter().any(|constraint| constraint.metric == Metric::LatencyMs);
        let fastest = limited.then(|| Genome(space.canonical(&cheapest(space, pricing, Metric::LatencyMs))));
        Self { space, pricing, constraints, fastest, least: None }
    }

    /// The same with a lower end: what costs less of `metric` than this share of its limit is drawn again, [`DRAWS`] times at most.
    pub(super) fn with_band(self, metric: Metric, share: f64) -> Self {
        let of_metric = self.constraints.iter().filter(|limit| limit.metric == metric);
        let limit = of_metric.map(|limit| limit.limit).min_by(f64::total_cmp);
        Self { least: limit.map(|limit| (metric, share * limit)), ..self }
    }

    /// Whether a genome's network costs as much as the band asks.
    fn in_band(&self, genome: &Genome) -> bool {
        self.least.is_none_or(|(metric, least)| {
            metric.of(&self.pricing.costs(&self.space.network(&genome.0))).is_some_and(|cost| cost >= least)
        })
    }

    /// The fastest network, where latency is limited.
    pub(super) fn fastest(&self) -> Option<Genome> {
        self.fastest.clone()
    }

    /// Whether a genome's network meets every limit.
    pub(super) fn fits(&self, genome: &Genome) -> bool {
        self.meets(self.constraints, genome)
    }

    fn meets(&self, constraints: &[Constraint], genome: &Genome) -> bool {
        constraints.is_empty() || violation(constraints, &self.pricing.costs(&self.space.network(&genome.0))) <= 0.0
    }

    /// The genome moved inside the limits, one decision at a time in the order of `order`: those that fall with bits and sizes by
    /// narrowing, then latency by taking the fastest network's choices. `None` where that is not enough.
    pub(super) fn inside(&self, genome: &Genome, order: &[usize]) -> Option<Genome> {
        let of_latency = |limit: &&Constraint| limit.metric == Metric::LatencyMs;
        let others: Vec<Constraint> = self.constraints.iter().filter(|limit| !of_latency(limit)).copied().collect();
        let mut genome = self.space.narrowed(genome, order, |genome| self.meets(&others, genome))?;
        for (&at, fastest) in order.iter().zip(std::iter::repeat(self.fastest.as_ref())) {
            if self.fits(&genome) {
                break;
            }
            genome.0[at] = fastest?.0[at];
        }
        self.fits(&genome).then_some(genome)
    }
}

/// An algorithm whose proposals are repaired. Costs are known without evaluating, so no evaluation is spent on a
/// network that could never be chosen.
pub(super) struct Repaired<'a> {
    /// The algorithm that proposes.
    pub(super) inner: &'a mut dyn Algorithm,
    /// Where its proposals must lie.
    pub(super) limits: &'a Limits<'a>,
}

impl Algorithm for Repaired<'_> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn ask(&mut self, rng: &mut ChaCha8Rng) -> Vec<Proposal> {
        let space = self.limits.space;
        let mut order: Vec<usize> = (0..space.decisions().len()).collect();
        let mut repaired = |rng: &mut ChaCha8Rng| {
            let mut proposals = self.inner.ask(rng);
            for proposal in &mut proposals {
                order.shuffle(rng);
                if let Some(genome) = self.limits.inside(&proposal.genome, &order) {
                    proposal.genome = genome;
                }
                proposal.genome = Genome(space.canonical(&proposal.genome.0));
            }
            proposals
        };
        let mut proposals = repaired(rng);
        for _ in 1..DRAWS {
            if proposals.iter().all(|proposal| self.limits.in_band(&proposal.genome)) {
                break;
            }
            proposals = repaired(rng);
        }
        proposals
    }

    fn tell(&mut self, evaluated: &[Evaluated]) -> Result<()> {
        self.inner.tell(evaluated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::feasible_range;
    use crate::search::RandomSearch;
    use crate::seed::Seed;
    use crate::space::SpaceFile;

    #[test]
    fn proposals_stay_below_the_limit_and_within_the_band() {
        let space = Space::new(SpaceFile::demo().unwrap()).unwrap();
        let pricing = Pricing::default();
        let (low, high) = feasible_range(&space, &pricing, Metric::Gbops).unwrap();
        let middle = (low * high).sqrt();
        let constraints = [Constraint { metric: Metric::Gbops, limit: middle, strict: false }];
        let least_of = |limits: &Limits| {
            let mut inner = RandomSearch::new(space.genome_choices().unwrap());
            let mut inside = Repaired { inner: &mut inner, limits };
            let mut rng = Seed::new(5).rng();
            let costs = (0..60).map(|_| {
                let proposals = inside.ask(&mut rng);
                pricing.costs(&space.network(&proposals[0].genome.0)).gbops
            });
            let costs: Vec<f64> = costs.collect();
            assert!(costs.iter().all(|&cost| cost <= middle), "{costs:?}");
            costs.into_iter().fold(f64::INFINITY, f64::min)
        };
        let free = least_of(&Limits::new(&space, &pricing, &constraints));
        let banded = least_of(&Limits::new(&space, &pricing, &constraints).with_band(Metric::Gbops, 0.9));
        assert!(free < 0.9 * middle && banded >= 0.9 * middle, "{free} {banded} {middle}");
    }
}
