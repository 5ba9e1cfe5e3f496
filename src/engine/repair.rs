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

/// An algorithm whose proposals are repaired. Costs are known without evaluating, so no evaluation is spent on a
/// network that could never be chosen.
pub(super) struct Repaired<'a> {
    /// The algorithm that proposes.
    pub(super) inner: &'a mut dyn Algorithm,
    /// The space.
    pub(super) space: &'a Space,
    /// Prices of its networks.
    pub(super) pricing: &'a Pricing,
    /// Hard limits.
    pub(super) constraints: &'a [Constraint],
    /// The fastest network, where latency is limited.
    pub(super) fastest: Option<Genome>,
}

/// The fastest network of a space, where latency is limited.
pub(super) fn fastest(space: &Space, pricing: &Pricing, constraints: &[Constraint]) -> Option<Genome> {
    let limited = constraints.iter().any(|constraint| constraint.metric == Metric::LatencyMs);
    limited.then(|| Genome(space.canonical(&cheapest(space, pricing, Metric::LatencyMs))))
}

/// Whether a genome's network meets every hard limit.
pub(super) fn fits(space: &Space, pricing: &Pricing, constraints: &[Constraint], genome: &Genome) -> bool {
    constraints.is_empty() || violation(constraints, &pricing.costs(&space.network(&genome.0))) <= 0.0
}

impl Repaired<'_> {
    /// The genome moved inside the limits: those that fall with bits and sizes by narrowing, then latency by taking the fastest
    /// network's choices, one at a time in the order of `order`.
    fn repaired(&self, genome: &Genome, order: &[usize]) -> Option<Genome> {
        let others: Vec<Constraint> =
            self.constraints.iter().filter(|limit| limit.metric != Metric::LatencyMs).copied().collect();
        let met = |limits: &[Constraint], genome: &Genome| fits(self.space, self.pricing, limits, genome);
        let mut genome = self.space.narrowed(genome, order, |genome| met(&others, genome))?;
        let Some(fastest) = &self.fastest else { return Some(genome) };
        for &at in order {
            if met(self.constraints, &genome) {
                break;
            }
            genome.0[at] = fastest.0[at];
        }
        Some(genome)
    }
}

impl Algorithm for Repaired<'_> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn ask(&mut self, rng: &mut ChaCha8Rng) -> Vec<Proposal> {
        let mut proposals = self.inner.ask(rng);
        let mut order: Vec<usize> = (0..self.space.decisions().len()).collect();
        for proposal in &mut proposals {
            order.shuffle(rng);
            if let Some(genome) = self.repaired(&proposal.genome, &order) {
                proposal.genome = genome;
            }
            proposal.genome = Genome(self.space.canonical(&proposal.genome.0));
        }
        proposals
    }

    fn tell(&mut self, evaluated: &[Evaluated]) -> Result<()> {
        self.inner.tell(evaluated)
    }
}
