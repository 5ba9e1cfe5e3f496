//! The search for the space of the best Q-T score.

use super::qt_score::{QtScore, QtScorer};
use super::record::{Evaluator, Outcome, Record};
use super::run::{Run, run};
use super::{SpaceEvolution, StopReason, WallClock};
use crate::error::{Error, Result};
use crate::genome::{Choices, Genome};
use crate::seed::Seed;

/// How spaces evolve; the first three defaults are the paper's, who picks the winner by one scoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceSearch {
    /// Spaces that are scored.
    pub evaluations: usize,
    /// Members of the population.
    pub population: usize,
    /// Members of which the best is a parent.
    pub sample: usize,
    /// The best spaces of the evolution, which are scored again.
    pub finalists: usize,
    /// Scorings of each finalist, whose mean decides: one scoring of some 5,000 rewards luck (where a budget is hardly ever met, a
    /// single good sample is worth a third of the score).
    pub scorings: u64,
}

impl Default for SpaceSearch {
    fn default() -> Self {
        Self { evaluations: 5000, population: 500, sample: 125, finalists: 50, scorings: 10 }
    }
}

impl SpaceSearch {
    /// Refuses values that cannot run.
    ///
    /// # Errors
    /// Names the option and its range.
    pub fn check(&self) -> Result<()> {
        let scorings = usize::try_from(self.scorings).unwrap_or(usize::MAX);
        for (option, value, most) in [
            ("--evaluations", self.evaluations, 10_000_000),
            ("--population", self.population, MOST_MEMBERS),
            ("--sample", self.sample, self.population),
            ("--scorings", scorings, 1000),
        ] {
            if !(1..=most).contains(&value) {
                return Err(Error::bad_value(option, value, format!("expected 1 to {most}")));
            }
        }
        Ok(())
    }
}

/// Largest population: its first members are all drawn at once, in memory.
const MOST_MEMBERS: usize = 100_000;

/// What a search found.
#[derive(Clone, Debug)]
pub struct FoundSpaces {
    /// The finalists, best first.
    pub best: Vec<(Genome, QtScore)>,
    /// Number of spaces scored.
    pub evaluations: usize,
    /// Why it stopped.
    pub stop: StopReason,
}

/// Searches the spaces of `choices` from those `first`. `interrupted` is asked before every space, `scored` told behind it.
///
/// # Errors
/// Nothing to evaluate, or sizes of the population out of range.
pub fn evolve_spaces(
    scorer: &QtScorer,
    (choices, first): (Choices, Vec<Genome>),
    search: SpaceSearch,
    seed: Seed,
    (interrupted, scored): (&(dyn Fn() -> bool + Sync), &dyn Fn()),
) -> Result<FoundSpaces> {
    search.check()?;
    let mut evolution = SpaceEvolution::new(choices, first, search.population, search.sample)?;
    let clock = WallClock::start();
    let settings =
        Run { seed, evaluations: search.evaluations, deadline: None, clock: &clock, interrupted, recorded: Vec::new() };
    let finished = run(&mut evolution, &mut Scoring { scorer, scored }, &mut (), settings)?;
    let evaluations = finished.records.len();
    let cost = |record: &Record| record.outcome.costs.first().copied().unwrap_or(f64::INFINITY);
    let mut records = finished.records;
    // Stable: equals stay in the order of evaluation.
    records.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    let again = |record: Record| {
        let score = scorer.mean_score(&record.genome, search.scorings);
        (record.genome, score)
    };
    let mut best: Vec<(Genome, QtScore)> =
        records.into_iter().take(search.finalists).take_while(|_| !interrupted()).map(again).collect();
    best.sort_by(|a, b| b.1.score.total_cmp(&a.1.score));
    let stop = if interrupted() { StopReason::Interrupted } else { finished.stop };
    Ok(FoundSpaces { best, evaluations, stop })
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
            let QtScore { score, .. } = self.scorer.score(genome, 0);
            keep(Outcome { top1: 0.0, loss: None, costs: vec![-score], violation: 0.0, bonus: 0.0 })?;
            (self.scored)();
        }
        Ok(())
    }
}
