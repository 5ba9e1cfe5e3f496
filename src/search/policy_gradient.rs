//! Policy gradient as an ask/tell algorithm: the FLIQS controller on candidates that are evaluated one by one.
//!
//! Source: FLIQS (Dotzel et al., AutoML 2024; see [`super::Policy`]). One-shot training updates the policy directly,
//! a step at a time; this is its search on finished networks and tables, where every evaluation counts once.
//!
//! A policy near its end repeats itself, and repeats cost nothing. After `patience` repeats in a row a neighbour of
//! the most probable genome is proposed that was not seen before, so the budget is spent and the best find is polished.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::genome::Choices;

use super::Algorithm;
use super::Baseline;
use super::EntropySchedule;
use super::EntropyShape;
use super::Evaluated;
use super::Goal;
use super::Policy;
use super::Proposal;
use super::fresh::Fresh;

/// Settings of [`PolicyGradient`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySettings {
    /// Adam's learning rate on the logits.
    pub learning_rate: f64,
    /// Share of the old value that the reward baseline keeps at each step.
    pub baseline: f64,
    /// Entropy weight by distinct candidates; its `delay` is the number of uniformly drawn candidates at the start,
    /// which set the baseline but do not train the policy.
    pub entropy: EntropySchedule,
    /// Repeats in a row before an unseen neighbour of the most probable genome is proposed.
    pub patience: usize,
}

impl PolicySettings {
    /// Settings for a search of `evaluations` distinct candidates. FLIQS takes thousands of steps at a rate of 5e-3
    /// with a baseline of 0.99; a search on finished networks is shorter, so both adapt faster. Entropy is not
    /// penalised: no shared weights have to settle on one network, and an open policy repeats itself less.
    pub fn for_budget(evaluations: usize) -> Self {
        let steps = evaluations.max(1) as f64;
        let delay = evaluations / 10;
        Self {
            learning_rate: (15.0 / steps).max(5e-3),
            baseline: (1.0 - 10.0 / steps).clamp(0.9, 0.99),
            entropy: EntropySchedule { shape: EntropyShape::None, end: 0.0, delay, total: evaluations },
            patience: 20,
        }
    }
}

/// REINFORCE on a logit table, one genome a generation.
#[derive(Clone, Debug)]
pub struct PolicyGradient {
    fresh: Fresh,
    policy: Policy,
    baseline: Baseline,
    goal: Goal,
    settings: PolicySettings,
    distinct: usize,
    repeats: usize,
}

impl PolicyGradient {
    /// Policy gradient over `choices` towards `goal`.
    pub fn new(choices: Choices, goal: Goal, settings: PolicySettings) -> Self {
        Self {
            policy: Policy::new(&choices, settings.learning_rate),
            baseline: Baseline::new(settings.baseline),
            fresh: Fresh::new(choices),
            goal,
            settings,
            distinct: 0,
            repeats: 0,
        }
    }

    /// The policy as trained so far.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}

impl Algorithm for PolicyGradient {
    fn name(&self) -> &'static str {
        "policy-gradient"
    }

    fn ask(&mut self, rng: &mut ChaCha8Rng) -> Vec<Proposal> {
        if self.distinct >= self.settings.entropy.delay && self.repeats < self.settings.patience {
            let genome = self.policy.sample(rng);
            self.repeats = if self.fresh.insert(&genome) { 0 } else { self.repeats + 1 };
            self.distinct += usize::from(self.repeats == 0);
            return vec![Proposal { genome, parent: None }];
        }
        let found = if self.distinct < self.settings.entropy.delay {
            self.fresh.random(rng)
        } else {
            let best = self.policy.argmax();
            let rate = 1.0 / best.0.len() as f64;
            self.fresh.derived(rng, |choices, rng| (choices.mutate(&best, rate, rng), None)).map(|(genome, _)| genome)
        };
        self.repeats = 0;
        self.distinct += 1;
        found.map(|genome| Proposal { genome, parent: None }).into_iter().collect()
    }

    /// A broken limit counts against the reward in full: a violation of 1 (100 %) weighs as much as all of top-1.
    fn tell(&mut self, evaluated: &[Evaluated]) -> Result<()> {
        for candidate in evaluated {
            let advantage = self.baseline.advantage(self.goal.value(candidate) - candidate.violation);
            if self.distinct > self.settings.entropy.delay {
                let weight = self.settings.entropy.weight(self.distinct);
                self.policy.update(&candidate.genome, advantage, weight);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::genome::Genome;
    use crate::seed::Seed;

    /// Minimised: percent of the decisions that miss the planted genome `i % 3`.
    fn misses(genome: &Genome) -> f64 {
        let missed = genome.0.iter().enumerate().filter(|&(i, &x)| usize::from(x) != i % 3).count();
        100.0 * missed as f64 / genome.0.len() as f64
    }

    /// Distinct genomes after each generation.
    fn search(decisions: usize, budget: usize) -> (PolicyGradient, HashSet<Genome>) {
        let choices = Choices::new(vec![3; decisions]).unwrap();
        let mut search = PolicyGradient::new(choices, Goal::default(), PolicySettings::for_budget(budget));
        let mut seen = HashSet::new();
        for generation in 0.. {
            let Some(proposal) = search.ask(&mut Seed::new(0).at(generation).rng()).pop() else {
                break;
            };
            let objectives = vec![misses(&proposal.genome)];
            seen.insert(proposal.genome.clone());
            search.tell(&[Evaluated { id: 0, genome: proposal.genome, objectives, violation: 0.0 }]).unwrap();
            if seen.len() == budget {
                break;
            }
        }
        (search, seen)
    }

    #[test]
    fn the_planted_genome_becomes_the_most_probable_one() {
        let (search, seen) = search(8, 400);
        let planted = Genome(vec![0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(seen.len(), 400);
        assert_eq!(search.policy().argmax(), planted);
        assert!(seen.contains(&planted));
    }

    #[test]
    fn a_collapsed_policy_still_spends_a_budget_of_the_whole_space() {
        let (_, seen) = search(4, 81);
        assert_eq!(seen.len(), 81);
        let (_, seen) = search(2, 10);
        assert_eq!(seen.len(), 9);
    }
}
