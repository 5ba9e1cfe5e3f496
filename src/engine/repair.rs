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
}

impl<'a> Limits<'a> {
    pub(super) fn new(space: &'a Space, pricing: &'a Pricing, constraints: &'a [Constraint]) -> Self {
        let limited = constraints.iter().any(|constraint| constraint.metric == Metric::LatencyMs);
        let fastest = limited.then(|| Genome(space.canonical(&cheapest(space, pricing, Metric::LatencyMs))));
        Self { space, pricing, constraints, fastest }
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
        let mut proposals = self.inner.ask(rng);
        let space = self.limits.space;
        let mut order: Vec<usize> = (0..space.decisions().len()).collect();
        for proposal in &mut proposals {
            order.shuffle(rng);
            if let Some(genome) = self.limits.inside(&proposal.genome, &order) {
                proposal.genome = genome;
            }
            proposal.genome = Genome(space.canonical(&proposal.genome.0));
        }
        proposals
    }

    fn tell(&mut self, evaluated: &[Evaluated]) -> Result<()> {
        self.inner.tell(evaluated)
    }
}
