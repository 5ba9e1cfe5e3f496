//! Genomes that were never proposed before.

use std::collections::HashSet;

use rand::Rng;
use rand::RngExt;

use crate::genome::Choices;
use crate::genome::Genome;

/// Tries before drawing gives way to counting.
const TRIES: usize = 64;

/// Largest space that is searched by counting when drawing keeps hitting known genomes (a larger one is practically
/// never so full).
const COUNTABLE: u128 = 1 << 20;

/// The genomes of a space that were proposed already, and a source of others.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    choices: Choices,
    known: HashSet<Genome>,
}

impl Fresh {
    pub(super) fn new(choices: Choices) -> Self {
        Self { choices, known: HashSet::new() }
    }

    pub(super) fn choices(&self) -> &Choices {
        &self.choices
    }

    /// Marks `genome` as known; true if it was not.
    pub(super) fn insert(&mut self, genome: &Genome) -> bool {
        self.known.insert(genome.clone())
    }

    /// The first unknown genome that `derive` makes within the try limit, now marked; else [`Fresh::random`].
    pub(super) fn derived<R: Rng>(
        &mut self,
        rng: &mut R,
        mut derive: impl FnMut(&Choices, &mut R) -> (Genome, Option<usize>),
    ) -> Option<(Genome, Option<usize>)> {
        for _ in 0..TRIES {
            let child = derive(&self.choices, rng);
            if self.insert(&child.0) {
                return Some(child);
            }
        }
        self.random(rng).map(|genome| (genome, None))
    }

    /// An unknown genome, drawn uniformly, now marked; `None` when there is none left.
    pub(super) fn random(&mut self, rng: &mut impl Rng) -> Option<Genome> {
        for _ in 0..TRIES {
            let genome = self.choices.random(rng);
            if self.insert(&genome) {
                return Some(genome);
            }
        }
        if self.choices.count() > COUNTABLE {
            return None;
        }
        let left: Vec<Genome> = (0..self.choices.count())
            .map(|i| self.choices.nth(i))
            .filter(|genome| !self.known.contains(genome))
            .collect();
        let genome = left.get(rng.random_range(0..left.len().max(1)))?.clone();
        self.insert(&genome);
        Some(genome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn every_genome_comes_once_and_then_none() {
        let mut fresh = Fresh::new(Choices::new(vec![3, 4, 1, 5]).unwrap());
        let mut rng = Seed::new(0).rng();
        let all: HashSet<Genome> = std::iter::from_fn(|| fresh.random(&mut rng)).take(100).collect();
        assert_eq!(all.len(), 60);
        assert_eq!(fresh.random(&mut rng), None);
    }

    #[test]
    fn a_derivation_that_only_repeats_gives_way_to_a_random_genome_without_parent() {
        let mut fresh = Fresh::new(Choices::new(vec![2, 2]).unwrap());
        let mut rng = Seed::new(0).rng();
        let known = Genome(vec![0, 1]);
        let first = fresh.derived(&mut rng, |_, _| (known.clone(), Some(7)));
        assert_eq!(first, Some((known.clone(), Some(7))));
        let (second, parent) = fresh.derived(&mut rng, |_, _| (known.clone(), Some(7))).unwrap();
        assert!(second != known && parent.is_none());
    }
}
