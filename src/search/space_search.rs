//! The search for the space of the best Q-T score.

use super::qt_score::{QtScore, QtScorer};
use super::record::{Evaluator, Outcome};
use super::run::{Run, run};
use super::{SpaceEvolution, StopReason, WallClock};
use crate::error::Result;
use crate::genome::{Choices, Genome};
use crate::seed::Seed;

/// How spaces evolve; the defaults are the paper's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceSearch {
    /// Spaces that are scored.
    pub evaluations: usize,
    /// Members of the population.
    pub population: usize,
    /// Members of which the best is a parent.
    pub sample: usize,
}

impl Default for SpaceSearch {
    fn default() -> Self {
        Self { evaluations: 5000, population: 500, sample: 125 }
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct FoundSpaces {
    /// Every scored space with its score, best first; of equals the one scored first.
    pub spaces: Vec<(Genome, f64)>,
    /// Why it stopped.
    pub stop: StopReason,
}

/// Searches the spaces of `choices` from those `first`. `interrupted` is asked before every space, `scored` told behind it.
///
/// # Errors
/// Sizes of the population out of range.
pub fn evolve_spaces(
    scorer: &QtScorer,
    (choices, first): (Choices, Vec<Genome>),
    search: SpaceSearch,
    seed: Seed,
    (interrupted, scored): (&(dyn Fn() -> bool + Sync), &dyn Fn()),
) -> Result<FoundSpaces> {
    let mut evolution = SpaceEvolution::new(choices, first, search.population, search.sample)?;
    let clock = WallClock::start();
    let settings =
        Run { seed, evaluations: search.evaluations, deadline: None, clock: &clock, interrupted, recorded: Vec::new() };
    let finished = run(&mut evolution, &mut Scoring { scorer, scored }, &mut (), settings)?;
    let score = |costs: &[f64]| costs.first().map_or(0.0, |cost| -cost);
    let mut spaces: Vec<(Genome, f64)> =
        finished.records.into_iter().map(|record| (record.genome, score(&record.outcome.costs))).collect();
    // Stable: equals stay in the order of evaluation.
    spaces.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(FoundSpaces { spaces, stop: finished.stop })
}

/// The score as the loop takes it: a cost, negative. No network is trained, so there is no accuracy.
struct Scoring<'a> {
    scorer: &'a QtScorer,
    scored: &'a dyn Fn(),
}

impl Evaluator for Scoring<'_> {
    fn evaluate(
        &mut self,
        genomes: &[Genome],
        go_on: &(dyn Fn() -> bool + Sync),
        keep: &mut dyn FnMut(Outcome) -> Result<()>,
    ) -> Result<()> {
        for genome in genomes.iter().take_while(|_| go_on()) {
            let QtScore { score, .. } = self.scorer.score(genome);
            keep(Outcome { top1: 0.0, loss: None, costs: vec![-score], violation: 0.0 })?;
            (self.scored)();
        }
        Ok(())
    }
}
