//! Keeps a search inside its hard limits: proposals above a limit are narrowed until they fit, before any evaluation. Genes
//! without effect are set, so that no network is evaluated under two genomes.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::cost::Constraint;
use crate::cost::Convention;
use crate::cost::Costs;
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
    /// Hard limits.
    pub(super) constraints: &'a [Constraint],
}

/// Whether a genome's network meets every hard limit.
pub(super) fn fits(space: &Space, constraints: &[Constraint], genome: &Genome) -> bool {
    constraints.is_empty() || {
        let costs = Costs::of(&space.network(&genome.0), Convention::Full);
        violation(constraints, &costs) <= 0.0
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
            let met = |genome: &Genome| fits(self.space, self.constraints, genome);
            if let Some(genome) = self.space.narrowed(&proposal.genome, &order, met) {
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
