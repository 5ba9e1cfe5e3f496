//! A genome: one small number a decision; and the choices that say how many options each decision has.
//!
//! What a decision means (a format, an operator, a width) is the search space's business; here it is only
//! an option's index, so that search algorithms and tables need no space.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use rand::Rng;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::error::Result;

/// The option chosen for each decision. Written as numbers joined by `-` (`2-0-11`), in text and in serde.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Genome(pub Vec<u8>);

impl fmt::Display for Genome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: Vec<String> = self.0.iter().map(u8::to_string).collect();
        f.pad(&digits.join("-"))
    }
}

impl FromStr for Genome {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits: std::result::Result<Vec<u8>, _> = text.split('-').map(str::parse).collect();
        digits.map(Self).map_err(|_| Error::bad_value("genome", text, "expected numbers 0 to 255 joined by `-`"))
    }
}

impl TryFrom<String> for Genome {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Genome> for String {
    fn from(genome: Genome) -> Self {
        genome.to_string()
    }
}

/// How many options each decision has; every count is at least 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Choices(Vec<u8>);

impl Choices {
    /// Choices with `options[i]` options for decision `i`.
    ///
    /// # Errors
    /// If there is no decision at all, or a decision without options.
    pub fn new(options: Vec<u8>) -> Result<Self> {
        if options.is_empty() {
            return Err(Error::bad_value("choices", "[]", "expected at least one decision"));
        }
        if let Some(decision) = options.iter().position(|&n| n == 0) {
            return Err(Error::bad_value(format!("options of decision {decision}"), 0, "expected 1 to 255"));
        }
        Ok(Self(options))
    }

    /// Number of options of each decision.
    pub fn options(&self) -> &[u8] {
        &self.0
    }

    /// Number of genomes, `u128::MAX` if there are more than that.
    pub fn count(&self) -> u128 {
        self.0.iter().fold(1, |count, &n| count.saturating_mul(u128::from(n)))
    }

    /// Whether `genome` has one valid option for every decision.
    pub fn contains(&self, genome: &Genome) -> bool {
        genome.0.len() == self.0.len() && genome.0.iter().zip(&self.0).all(|(option, n)| option < n)
    }

    /// The `index`-th genome in counting order, the first decision counting fastest; wraps around after the last.
    pub fn nth(&self, index: u128) -> Genome {
        let mut rest = index;
        let digit = |&n: &u8| {
            let option = (rest % u128::from(n)) as u8;
            rest /= u128::from(n);
            option
        };
        Genome(self.0.iter().map(digit).collect())
    }

    /// A genome drawn uniformly.
    pub fn random(&self, rng: &mut impl Rng) -> Genome {
        Genome(self.0.iter().map(|&n| rng.random_range(0..n)).collect())
    }

    /// A copy of `genome` in which each decision moves, with probability `rate`, to another of its options.
    /// At least one decision really changes, unless no decision has a second option.
    pub fn mutate(&self, genome: &Genome, rate: f64, rng: &mut impl Rng) -> Genome {
        let mut child = genome.clone();
        let free: Vec<usize> = (0..self.0.len()).filter(|&decision| self.0[decision] > 1).collect();
        let mut moved: Vec<usize> = free.iter().copied().filter(|_| rng.random_bool(rate.clamp(0.0, 1.0))).collect();
        if moved.is_empty() && !free.is_empty() {
            moved.push(free[rng.random_range(0..free.len())]);
        }
        moved.into_iter().for_each(|decision| self.relocate(&mut child, decision, rng));
        child
    }

    /// A copy of `genome` in which exactly one of these decisions moves to another of its options; `None` if none of them
    /// has a second option.
    pub fn with_one_moved(&self, genome: &Genome, among: Range<usize>, rng: &mut impl Rng) -> Option<Genome> {
        let free: Vec<usize> = among.filter(|&decision| self.0[decision] > 1).collect();
        let &decision = free.get(rng.random_range(0..free.len().max(1)))?;
        let mut child = genome.clone();
        self.relocate(&mut child, decision, rng);
        Some(child)
    }

    /// Moves a decision with several options to another one.
    fn relocate(&self, genome: &mut Genome, decision: usize, rng: &mut impl Rng) {
        let old = genome.0[decision];
        let new = rng.random_range(0..self.0[decision] - 1);
        genome.0[decision] = if new >= old { new + 1 } else { new };
    }

    /// A child whose every decision comes from `a` or `b`: half of the time drawn decision by decision (uniform
    /// crossover, which mixes independent decisions best), else one run of decisions from `b` and the rest from
    /// `a` (two-point crossover, which keeps neighbouring layers together).
    pub fn crossover(&self, a: &Genome, b: &Genome, rng: &mut impl Rng) -> Genome {
        if rng.random_bool(0.5) {
            return Genome(a.0.iter().zip(&b.0).map(|(&x, &y)| if rng.random_bool(0.5) { x } else { y }).collect());
        }
        let cuts = [rng.random_range(0..=a.0.len()), rng.random_range(0..=a.0.len())];
        let inside = cuts[0].min(cuts[1])..cuts[0].max(cuts[1]);
        let pick = |(decision, (&x, &y))| if inside.contains(&decision) { y } else { x };
        Genome(a.0.iter().zip(&b.0).enumerate().map(pick).collect())
    }
}

impl TryFrom<Vec<u8>> for Choices {
    type Error = Error;

    fn try_from(options: Vec<u8>) -> Result<Self> {
        Self::new(options)
    }
}

impl From<Choices> for Vec<u8> {
    fn from(choices: Choices) -> Self {
        choices.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn ragged() -> Choices {
        Choices::new(vec![3, 1, 2, 12]).unwrap()
    }

    #[test]
    fn text_and_serde_round_trip() {
        let genome = Genome(vec![2, 0, 11]);
        assert_eq!(genome.to_string(), "2-0-11");
        assert_eq!("2-0-11".parse::<Genome>().unwrap(), genome);
        let json = serde_json::to_string(&genome).unwrap();
        assert_eq!(json, "\"2-0-11\"");
        assert_eq!(serde_json::from_str::<Genome>(&json).unwrap(), genome);
        for wrong in ["", "1--2", "1-256", "a"] {
            assert!(wrong.parse::<Genome>().unwrap_err().to_string().contains("0 to 255"), "{wrong}");
        }
    }

    #[test]
    fn counting_walks_every_genome_once() {
        let choices = ragged();
        assert_eq!(choices.count(), 72);
        let all: HashSet<Genome> = (0..72).map(|i| choices.nth(i)).collect();
        assert_eq!(all.len(), 72);
        assert!(all.iter().all(|genome| choices.contains(genome)));
        assert_eq!(choices.nth(1), Genome(vec![1, 0, 0, 0]));
        assert_eq!(Choices::new(vec![255; 40]).unwrap().count(), u128::MAX);
    }

    #[test]
    fn membership_checks_length_and_range() {
        let choices = ragged();
        assert!(choices.contains(&Genome(vec![2, 0, 1, 11])));
        assert!(!choices.contains(&Genome(vec![3, 0, 1, 11])));
        assert!(!choices.contains(&Genome(vec![2, 0, 1])));
    }

    #[test]
    fn empty_choices_and_empty_decisions_are_refused() {
        assert!(Choices::new(vec![]).is_err());
        assert!(Choices::new(vec![2, 0]).unwrap_err().to_string().contains("decision 1"));
        assert!(serde_json::from_str::<Choices>("[2,0]").is_err());
    }

    #[test]
    fn mutation_always_changes_something_and_stays_inside() {
        let choices = ragged();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..500 {
            let parent = choices.random(&mut rng);
            for rate in [0.0, 0.3, 1.0] {
                let child = choices.mutate(&parent, rate, &mut rng);
                assert!(choices.contains(&child));
                let changed = child.0.iter().zip(&parent.0).filter(|(a, b)| a != b).count();
                assert!(changed >= 1);
                assert!(rate > 0.0 || changed == 1);
                assert!(rate < 1.0 || changed == 3);
            }
        }
        let fixed = Choices::new(vec![1, 1]).unwrap();
        assert_eq!(fixed.mutate(&Genome(vec![0, 0]), 1.0, &mut rng), Genome(vec![0, 0]));
    }

    #[test]
    fn crossover_takes_every_decision_from_a_parent_and_mixes_both_ways() {
        let choices = Choices::new(vec![2; 6]).unwrap();
        let (zeros, ones) = (Genome(vec![0; 6]), Genome(vec![1; 6]));
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let children: HashSet<Genome> = (0..4000).map(|_| choices.crossover(&zeros, &ones, &mut rng)).collect();
        // Uniform crossover reaches all 64 mixes (each missed with probability (127/128)^4000 < 1e-13).
        assert_eq!(children.len(), 64);
        assert_eq!(choices.crossover(&ones, &ones, &mut rng), ones);
    }
}
