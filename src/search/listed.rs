//! Candidates from a list: planned elsewhere, proposed once, in order.

use rand_chacha::ChaCha8Rng;

use super::{Algorithm, Evaluated, Proposal};
use crate::error::Result;
use crate::genome::Genome;

/// Proposes a list and then nothing.
#[derive(Clone, Debug)]
pub struct Listed(Vec<Genome>);

impl Listed {
    /// The genomes to propose.
    pub fn new(genomes: Vec<Genome>) -> Self {
        Self(genomes)
    }
}

impl Algorithm for Listed {
    fn name(&self) -> &'static str {
        "listed"
    }

    fn ask(&mut self, _rng: &mut ChaCha8Rng) -> Vec<Proposal> {
        std::mem::take(&mut self.0).into_iter().map(|genome| Proposal { genome, parent: None }).collect()
    }

    fn tell(&mut self, _evaluated: &[Evaluated]) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn the_list_comes_once_in_order() {
        let genomes = vec![Genome(vec![2, 0]), Genome(vec![1, 1])];
        let mut listed = Listed::new(genomes.clone());
        let mut rng = Seed::new(0).rng();
        let asked: Vec<Genome> = listed.ask(&mut rng).into_iter().map(|proposal| proposal.genome).collect();
        assert_eq!(asked, genomes);
        assert!(listed.ask(&mut rng).is_empty());
    }
}
