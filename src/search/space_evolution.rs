//! Aging evolution over search spaces, as SpaceEvo's authors released it (research/spaceevo.md 5.1).
//!
//! It begins with the spaces it is given and random ones; then the best of a sample drawn without replacement has two
//! children, one with another block type in a stage and one with another window of widths. A child that is new enters, and
//! the oldest member leaves.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;

use super::Algorithm;
use super::Evaluated;
use super::Proposal;
use super::fresh::Fresh;
use crate::error::{Error, Result};
use crate::genome::{Choices, Genome};
use crate::space::children;

/// Parents that are tried for a new child before a random space takes its place.
const TRIES: usize = 64;

/// Evolution over spaces whose genome is the block types of all stages, then their windows. The last objective counts.
#[derive(Clone, Debug)]
pub struct SpaceEvolution {
    fresh: Fresh,
    first: Vec<Genome>,
    population: usize,
    sample: usize,
    alive: VecDeque<(usize, Genome, f64)>,
}

impl SpaceEvolution {
    /// Evolution of a `population` that begins with `first`; the paper's has 500 members and samples 125.
    ///
    /// # Errors
    /// If the population or the sample is empty, or the sample exceeds the population.
    pub fn new(choices: Choices, first: Vec<Genome>, population: usize, sample: usize) -> Result<Self> {
        if population == 0 {
            return Err(Error::bad_value("--population", population, "expected at least 1"));
        }
        if sample == 0 || sample > population {
            return Err(Error::bad_value("--sample", sample, format!("expected 1 to the population of {population}")));
        }
        Ok(Self { fresh: Fresh::new(choices), first, population, sample, alive: VecDeque::new() })
    }

    /// The best of a sample without replacement; of equals the one drawn first.
    fn parent(&self, rng: &mut ChaCha8Rng) -> Option<&(usize, Genome, f64)> {
        let drawn = rand::seq::index::sample(rng, self.alive.len(), self.sample.min(self.alive.len()));
        drawn
            .into_iter()
            .map(|place| &self.alive[place])
            .reduce(|best, rival| if rival.2 < best.2 { rival } else { best })
    }

    fn born(&mut self, rng: &mut ChaCha8Rng) -> Vec<Proposal> {
        for _ in 0..TRIES {
            let Some((id, genome, _)) = self.parent(rng) else { break };
            let (parent, children) = (Some(*id), children(self.fresh.choices(), genome, rng));
            let new: Vec<Proposal> = children
                .into_iter()
                .filter(|genome| self.fresh.insert(genome))
                .map(|genome| Proposal { genome, parent })
                .collect();
            if !new.is_empty() {
                return new;
            }
        }
        self.fresh.random(rng).map(|genome| Proposal { genome, parent: None }).into_iter().collect()
    }
}

impl Algorithm for SpaceEvolution {
    fn name(&self) -> &'static str {
        "space-evolution"
    }

    fn ask(&mut self, rng: &mut ChaCha8Rng) -> Vec<Proposal> {
        let given: Vec<Genome> = std::mem::take(&mut self.first);
        let given: Vec<Genome> = given.into_iter().filter(|genome| self.fresh.insert(genome)).collect();
        let missing = self.population.saturating_sub(self.alive.len() + given.len());
        if given.is_empty() && missing == 0 {
            return self.born(rng);
        }
        let random: Vec<Genome> = (0..missing).map_while(|_| self.fresh.random(rng)).collect();
        if given.is_empty() && random.is_empty() {
            return self.born(rng);
        }
        given.into_iter().chain(random).map(|genome| Proposal { genome, parent: None }).collect()
    }

    fn tell(&mut self, evaluated: &[Evaluated]) -> Result<()> {
        for member in evaluated {
            let objective = member.objectives.last().copied().unwrap_or(f64::INFINITY);
            self.alive.push_back((member.id, member.genome.clone(), objective));
            if self.alive.len() > self.population {
                self.alive.pop_front();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;
    use crate::space::Hyperspace;

    /// Squared distance of every decision from `i % 3`, minimised.
    fn distance(genome: &Genome) -> f64 {
        genome.0.iter().enumerate().map(|(i, &x)| (f64::from(x) - (i % 3) as f64).powi(2)).sum()
    }

    fn told(evolution: &mut SpaceEvolution, first_id: usize, asked: &[Proposal]) {
        let evaluated: Vec<Evaluated> = asked
            .iter()
            .enumerate()
            .map(|(at, proposal)| Evaluated {
                id: first_id + at,
                genome: proposal.genome.clone(),
                // Of equals the first is the better.
                objectives: vec![100.0, distance(&proposal.genome) + 1e-6 * (first_id + at) as f64],
                violation: 0.0,
            })
            .collect();
        evolution.tell(&evaluated).unwrap();
    }

    #[test]
    fn it_begins_with_the_given_spaces_then_two_children_of_one_parent() {
        let space = Hyperspace::shipped("mobilew").unwrap();
        let first: Vec<Genome> = space.uniform().iter().map(Genome::from).collect();
        let mut evolution = SpaceEvolution::new(space.choices().unwrap(), first.clone(), 60, 60).unwrap();
        let begun = evolution.ask(&mut Seed::new(0).rng());
        assert_eq!(begun.len(), 60);
        assert!(begun.iter().zip(&first).all(|(proposal, genome)| proposal.genome == *genome));
        told(&mut evolution, 0, &begun);
        // The sample is the whole population: the parent is its best.
        let best = (0..60).min_by(|&a, &b| distance(&begun[a].genome).total_cmp(&distance(&begun[b].genome))).unwrap();
        let children = evolution.ask(&mut Seed::new(1).rng());
        assert_eq!(children.iter().map(|child| child.parent).collect::<Vec<_>>(), [Some(best); 2]);
        for (half, child) in children.iter().enumerate() {
            let moved = |i: &usize| child.genome.0[*i] != begun[best].genome.0[*i];
            assert_eq!((0..12).filter(moved).map(|i| i / 6).collect::<Vec<_>>(), [half]);
        }
        told(&mut evolution, 60, &children);
        assert_eq!(evolution.alive.front().unwrap().0, 2);
    }

    #[test]
    fn every_space_of_a_small_hyperspace_comes_once_and_then_none() {
        let choices = Choices::new(vec![2, 3, 2, 2]).unwrap();
        let mut evolution = SpaceEvolution::new(choices, vec![Genome(vec![0; 4])], 5, 2).unwrap();
        let mut seen = std::collections::HashSet::new();
        for generation in 0..100 {
            let asked = evolution.ask(&mut Seed::new(generation).rng());
            for proposal in &asked {
                assert!(seen.insert(proposal.genome.clone()), "{}", proposal.genome);
            }
            told(&mut evolution, seen.len() - asked.len(), &asked);
        }
        assert_eq!(seen.len(), 24);
    }

    #[test]
    fn it_finds_the_best_space_of_a_separable_score() {
        // 1,185,901,920 spaces, 3,000 evaluations.
        let space = Hyperspace::shipped("mobilew").unwrap();
        let mut evolution = SpaceEvolution::new(space.choices().unwrap(), vec![], 100, 25).unwrap();
        let (mut done, mut best) = (0, f64::INFINITY);
        while done < 3000 {
            let asked = evolution.ask(&mut Seed::new(done as u64).rng());
            best = asked.iter().map(|proposal| distance(&proposal.genome)).fold(best, f64::min);
            told(&mut evolution, done, &asked);
            done += asked.len();
        }
        // A stage with two windows cannot have the third.
        let reachable: f64 = space
            .choices()
            .unwrap()
            .options()
            .iter()
            .enumerate()
            .map(|(i, &n)| (0..n).map(|x| (f64::from(x) - (i % 3) as f64).powi(2)).fold(f64::INFINITY, f64::min))
            .sum();
        assert!((best - reachable).abs() < 0.5, "{best}, reachable {reachable}");
    }

    #[test]
    fn sizes_outside_their_range_are_refused_by_their_option() {
        let make = |population, sample| {
            let evolution = SpaceEvolution::new(Choices::new(vec![2, 2]).unwrap(), vec![], population, sample);
            evolution.err().map_or_else(String::new, |error| error.to_string())
        };
        assert!(make(0, 1).starts_with("--population `0`") && make(5, 6).starts_with("--sample `6`: expected 1 to"));
        assert!(make(5, 0).starts_with("--sample `0`") && make(5, 5).is_empty());
    }
}
