//! Random search without repeats: the control that every other algorithm must beat.

use rand_chacha::ChaCha8Rng;

use crate::error::Result;
use crate::genome::Choices;

use super::Algorithm;
use super::Evaluated;
use super::Proposal;
use super::fresh::Fresh;

/// Uniform random search without replacement, one genome a generation.
#[derive(Clone, Debug)]
pub struct RandomSearch {
    fresh: Fresh,
}

impl RandomSearch {
    /// Random search over `choices`.
    pub fn new(choices: Choices) -> Self {
        Self { fresh: Fresh::new(choices) }
    }
}

impl Algorithm for RandomSearch {
    fn name(&self) -> &'static str {
        "random"
    }

    fn ask(&mut self, rng: &mut ChaCha8Rng) -> Vec<Proposal> {
        self.fresh.random(rng).map(|genome| Proposal { genome, parent: None }).into_iter().collect()
    }

    fn tell(&mut self, _evaluated: &[Evaluated]) -> Result<()> {
        Ok(())
    }
}
