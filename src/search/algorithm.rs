//! What a search algorithm is to the loop: something that proposes and absorbs.

use rand_chacha::ChaCha8Rng;

use crate::error::Result;
use crate::genome::Genome;
use crate::pareto::Scored;

/// A genome that an algorithm wants evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The genome.
    pub genome: Genome,
    /// Id of the candidate it was derived from (the first parent of a crossover), if any.
    pub parent: Option<usize>,
}

/// A genome with its outcome, as an algorithm sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// The candidate's id: its place in the order of first evaluation.
    pub id: usize,
    /// The genome.
    pub genome: Genome,
    /// Objectives, all minimised: 100 - top-1, then the costs.
    pub objectives: Vec<f64>,
    /// By how much the hard limits are broken, summed; 0 when feasible.
    pub violation: f64,
}

impl Evaluated {
    /// The view that dominance compares.
    pub(super) fn scored(&self) -> Scored<'_> {
        Scored { objectives: &self.objectives, violation: self.violation }
    }
}

/// A search algorithm. Its proposals may depend only on its settings, on the generator it is given and on what it
/// has been told; then a run can be replayed. The loop asks once a generation, with a fresh stream each time.
pub trait Algorithm {
    /// Name, as `--algorithm` takes it.
    fn name(&self) -> &'static str;

    /// Proposals of the next generation. A genome that was evaluated before may be proposed again: it costs no budget
    /// and comes back with its known outcome. No proposals at all mean that nothing new is left to propose.
    fn ask(&mut self, rng: &mut ChaCha8Rng) -> Vec<Proposal>;

    /// Absorbs the outcomes of what `ask` proposed, in that order; fewer where the budget cut the generation short.
    ///
    /// # Errors
    /// If the outcomes cannot be compared with one another.
    fn tell(&mut self, evaluated: &[Evaluated]) -> Result<()>;
}
