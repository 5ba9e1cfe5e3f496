//! The quantization-target score of a search space: how good its best quantized networks are within latency budgets
//! (Wang et al., arXiv 2303.08308, in the form of the released code).
//!
//! S = sum over budgets T of 1 / (P L). L is the mean loss of the best few sampled networks that meet T; P = max(1, (t / p)^a)
//! punishes a space of which a share p below t meets it. A sampled network is one sub-stage a stage, drawn from a
//! [`BlockTable`], all at one resolution; its loss and its latency are the sums.
//!
//! The draws are made once: every cell of the table has columns of `samples` latencies and losses, sorted by resolution, and the
//! samples of a space are the sums of its cells' columns. Stages are drawn independently, and every space turns each column by
//! an offset of its own (round a resolution's part), so that no two spaces meet the same combinations: a search over fixed
//! ones would find the space that suits a lucky few. One set of samples serves all budgets.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use rand::RngExt;
use rayon::prelude::*;

use super::QtSettings;
use super::qt_columns::{Columns, Turned, counts};
use super::qt_kernel::{CHUNK, below, count_within};
use crate::cost::latency::{BlockTable, Cell};
use crate::error::{Error, Result};
use crate::genome::Genome;
use crate::seed::Seed;
use crate::stats::mean;

/// Loss of a space without any network in the budget.
const NO_NETWORK: f64 = 1e5;

/// Added to the share of networks in the budget.
const SHARE_OFFSET: f64 = 1e-5;

/// Samples that one task adds up.
const SEGMENT: usize = 8 * CHUNK;

/// What a space is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct QtScore {
    /// The score, the larger the better.
    pub score: f64,
    /// What each budget adds.
    pub budgets: Vec<BudgetScore>,
}

/// A space under one budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetScore {
    /// Mean loss of the best sampled networks in the budget; `None` where no sample meets it.
    pub loss: Option<f64>,
    /// Share of the samples in the budget.
    pub share: f64,
}

impl BudgetScore {
    /// What the budget adds to the score.
    fn value(&self, settings: &QtSettings) -> f64 {
        let penalty = (settings.share / (self.share + SHARE_OFFSET)).powf(settings.power).max(1.0);
        1.0 / (penalty * self.loss.unwrap_or(NO_NETWORK))
    }
}

/// Scores spaces whose genome is the block types of all stages, then their windows.
pub struct QtScorer {
    settings: QtSettings,
    /// Cells of each stage.
    stages: Vec<Vec<Columns>>,
    /// Windows of each stage.
    windows: Vec<usize>,
    /// The samples of each resolution that was drawn.
    parts: Vec<Range<usize>>,
    /// Stream of the offsets.
    turns: Seed,
}

impl QtScorer {
    /// Draws all samples; `windows` are the number of windows of each stage.
    ///
    /// # Errors
    /// Settings out of range, or [`Error::Infeasible`] for a budget that is below the fastest network of the table.
    pub fn new(table: &BlockTable, windows: Vec<usize>, settings: QtSettings, seed: Seed) -> Result<Self> {
        settings.check()?;
        let least = table.least_ms();
        if let Some(budget) = settings.budgets_ms.iter().find(|budget| **budget < least) {
            let why = format!("--budget-ms {budget}: the fastest network of all spaces takes {least:.2} ms");
            return Err(Error::Infeasible(why));
        }
        let counts = counts(table.ends_ms.len(), (settings.samples, settings.batch), seed.child("resolutions").rng());
        let drawn = seed.child("columns");
        let stage = |(number, cells): (usize, &Vec<Cell>)| {
            // Stem and head count once, with the first stage.
            let ends = |at: usize| if number == 0 { table.ends_ms[at] } else { 0.0 };
            let draw = |(index, cell): (usize, &Cell)| {
                Columns::draw(cell, &counts, ends, drawn.at(number as u64).at(index as u64).rng())
            };
            cells.par_iter().enumerate().map(draw).collect()
        };
        let stages = table.stages.par_iter().enumerate().map(stage).collect();
        let ends = counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum - count..*sum)
        });
        let parts = ends.filter(|part| !part.is_empty()).collect();
        Ok(Self { settings, stages, windows, parts, turns: seed.child("turns") })
    }

    /// The settings.
    pub fn settings(&self) -> &QtSettings {
        &self.settings
    }

    /// Mean of several scorings of one space, each of other combinations of the draws; one at least.
    pub fn mean_score(&self, genome: &Genome, scorings: u64) -> QtScore {
        let all: Vec<QtScore> = (0..scorings.max(1)).map(|number| self.score(genome, number)).collect();
        let mean_of = |values: &mut dyn Iterator<Item = f64>| mean(&values.collect::<Vec<_>>());
        let budget = |at: usize| BudgetScore {
            loss: mean_of(&mut all.iter().filter_map(|score| score.budgets[at].loss)),
            share: mean_of(&mut all.iter().map(|score| score.budgets[at].share)).unwrap_or(0.0),
        };
        let budgets = (0..self.settings.budgets_ms.len()).map(budget).collect();
        QtScore { score: mean_of(&mut all.iter().map(|score| score.score)).unwrap_or(0.0), budgets }
    }

    /// Scores one space, in parallel over its samples; the result does not depend on the number of threads. Each `scoring`
    /// combines the draws in another way.
    pub fn score(&self, genome: &Genome, scoring: u64) -> QtScore {
        let (kinds, windows) = genome.0.split_at(self.stages.len());
        let cell = |stage: usize| {
            &self.stages[stage][usize::from(kinds[stage]) * self.windows[stage] + usize::from(windows[stage])]
        };
        let cells: Vec<&Columns> = (0..self.stages.len()).map(cell).collect();
        let turns = self.turns(genome, scoring);
        let budgets = self.settings.budgets_ms.len();
        let shared: Vec<AtomicU32> = (0..budgets).map(|_| AtomicU32::new(f32::INFINITY.to_bits())).collect();
        let tasks = self.parts.iter().zip(&turns).flat_map(|(part, turns)| {
            let segment = move |start: usize| (start..(start + SEGMENT).min(part.len()), part, turns);
            (0..part.len()).step_by(SEGMENT).map(segment)
        });
        let tasks: Vec<_> = tasks.collect();
        let parts: Vec<Vec<Best>> = tasks
            .par_iter()
            .map(|(samples, part, turns)| {
                let columns: Vec<Turned> =
                    cells.iter().zip(*turns).map(|(cell, &turn)| cell.turned(part, turn)).collect();
                self.best(&columns, samples.clone(), &shared)
            })
            .collect();
        let merged = |budget: usize| {
            let mut all = Best::default();
            for part in &parts {
                all.count += part[budget].count;
                all.losses.extend_from_slice(&part[budget].losses);
            }
            all.score(self.settings.top, self.settings.samples)
        };
        let budgets: Vec<BudgetScore> = (0..budgets).map(merged).collect();
        QtScore { score: budgets.iter().map(|budget| budget.value(&self.settings)).sum(), budgets }
    }

    /// How far each stage's column is turned, for each resolution's part.
    fn turns(&self, genome: &Genome, scoring: u64) -> Vec<Vec<usize>> {
        let own = self.turns.at(scoring);
        let stream = genome.0.iter().fold(own, |stream, &option| stream.at(u64::from(option)));
        let mut rng = stream.rng();
        let mut turns = |part: &Range<usize>| self.stages.iter().map(|_| rng.random_range(0..part.len())).collect();
        self.parts.iter().map(&mut turns).collect()
    }

    /// The best of some samples of a part under each budget. `shared` holds for each budget a loss that at least `top` networks
    /// found so far do not exceed: larger losses cannot be among the best, whoever finds them.
    fn best(&self, columns: &[Turned], samples: Range<usize>, shared: &[AtomicU32]) -> Vec<Best> {
        let mut found = vec![Best::default(); shared.len()];
        let (mut latency, mut loss) = ([0.0_f32; CHUNK], [0.0_f32; CHUNK]);
        for start in samples.clone().step_by(CHUNK) {
            let count = CHUNK.min(samples.end - start);
            let (latency, loss) = (&mut latency[..count], &mut loss[..count]);
            latency.fill(0.0);
            loss.fill(0.0);
            for column in columns {
                column.add_to(latency, loss, start);
            }
            for ((best, &budget), bound) in found.iter_mut().zip(&self.settings.budgets_ms).zip(shared) {
                best.count += count_within(latency, budget);
                below(latency, loss, (budget, f32::from_bits(bound.load(Ordering::Relaxed))), &mut best.losses);
                if best.losses.len() > self.settings.top {
                    // Losses are positive, and so ordered like their bits.
                    bound.fetch_min(best.shrink(self.settings.top).to_bits(), Ordering::Relaxed);
                }
            }
        }
        found
    }
}

/// The networks in a budget: how many, and the smallest losses.
#[derive(Clone, Debug, Default)]
struct Best {
    count: usize,
    losses: Vec<f32>,
}

impl Best {
    /// Keeps the `top` smallest of more than that; the largest of those kept.
    fn shrink(&mut self, top: usize) -> f32 {
        let largest = *self.losses.select_nth_unstable_by(top - 1, f32::total_cmp).1;
        self.losses.truncate(top);
        largest
    }

    fn score(mut self, top: usize, samples: usize) -> BudgetScore {
        if self.losses.len() > top {
            self.shrink(top);
        }
        // In one order, whatever the order of finding was.
        self.losses.sort_unstable_by(f32::total_cmp);
        let total: f64 = self.losses.iter().map(|&loss| f64::from(loss)).sum();
        let loss = (!self.losses.is_empty()).then(|| total / self.losses.len() as f64);
        BudgetScore { loss, share: self.count as f64 / samples as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::latency::Measured;

    /// Two stages of two block types and one window, at two resolutions, with `rows` sub-stages a cell.
    fn table(rows: usize) -> BlockTable {
        let mut rng = Seed::new(7).rng();
        let mut cell = |_| -> Cell {
            let mut row = || Measured { loss: rng.random_range(0.1..1.0), latency_ms: rng.random_range(0.5..2.0) };
            (0..2).map(|_| (0..rows).map(|_| row()).collect()).collect()
        };
        let stages = (0..2).map(|_| (0..2).map(&mut cell).collect()).collect();
        BlockTable { stages, ends_ms: vec![0.25, 0.75], rows: 8 * rows }
    }

    fn settings(budgets_ms: &[f32], samples: usize) -> QtSettings {
        QtSettings { budgets_ms: budgets_ms.to_vec(), samples, batch: 7, top: 20, ..QtSettings::default() }
    }

    fn scorer(rows: usize, budgets_ms: &[f32], samples: usize) -> QtScorer {
        QtScorer::new(&table(rows), vec![1, 1], settings(budgets_ms, samples), Seed::new(0)).unwrap()
    }

    fn genome(kinds: [u8; 2]) -> Genome {
        Genome(vec![kinds[0], kinds[1], 0, 0])
    }

    /// The formula as it is written, sample by sample.
    fn plain(scorer: &QtScorer, kinds: [u8; 2]) -> f64 {
        let settings = &scorer.settings;
        let cells = [0, 1].map(|stage| &scorer.stages[stage][usize::from(kinds[stage])]);
        let mut samples: Vec<(f32, f32)> = Vec::new();
        for (part, turns) in scorer.parts.iter().zip(scorer.turns(&genome(kinds), 0)) {
            for i in 0..part.len() {
                let [a, b] = [0, 1].map(|stage| part.start + (i + turns[stage]) % part.len());
                let latency = cells[0].latency[a] + cells[1].latency[b];
                samples.push((latency, cells[0].loss[a] + cells[1].loss[b]));
            }
        }
        assert_eq!(samples.len(), settings.samples);
        let mut score = 0.0;
        for &budget in &settings.budgets_ms {
            let within = samples.iter().filter(|(ms, _)| *ms <= budget);
            let mut losses: Vec<f64> = within.map(|(_, loss)| f64::from(*loss)).collect();
            let p = losses.len() as f64 / settings.samples as f64 + 1e-5;
            losses.sort_by(f64::total_cmp);
            losses.truncate(settings.top);
            let loss = if losses.is_empty() { 1e5 } else { losses.iter().sum::<f64>() / losses.len() as f64 };
            score += 1.0 / ((settings.share / p).powf(settings.power).max(1.0) * loss);
        }
        score
    }

    #[test]
    fn scores_are_those_of_the_plain_formula() {
        // More samples than a segment, and not a multiple of anything; budgets that nearly none, few, many and all meet.
        for samples in [21, 1000, 20_011] {
            let scorer = scorer(50, &[1.6, 2.0, 3.0, 9.0], samples);
            for kinds in [[0, 0], [0, 1], [1, 0], [1, 1]] {
                let (fast, slow) = (scorer.score(&genome(kinds), 0).score, plain(&scorer, kinds));
                assert!((fast / slow - 1.0).abs() < 1e-6, "{samples} {kinds:?}: {fast} {slow}");
            }
        }
    }

    #[test]
    fn scores_do_not_depend_on_the_number_of_threads() {
        let of = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let scorer = scorer(50, &[2.0, 3.0], 50_000);
                [[0, 0], [1, 1]].map(|kinds| scorer.score(&genome(kinds), 0))
            })
        };
        let one = of(1);
        assert_eq!(one, of(2));
        assert_eq!(one, of(5));
        let other = QtScorer::new(&table(50), vec![1, 1], settings(&[2.0, 3.0], 50_000), Seed::new(1)).unwrap();
        assert_ne!(one[0], other.score(&genome([0, 0]), 0));
    }

    #[test]
    fn scorings_differ_and_their_mean_is_the_mean() {
        let scorer = scorer(50, &[1.6, 2.0], 1000);
        let all: Vec<QtScore> = (0..3).map(|number| scorer.score(&genome([0, 1]), number)).collect();
        assert!(all[0] != all[1] && all[1] != all[2]);
        let mean = scorer.mean_score(&genome([0, 1]), 3);
        assert!((mean.score - all.iter().map(|one| one.score).sum::<f64>() / 3.0).abs() < 1e-12);
        let shares = all.iter().map(|one| one.budgets[1].share).sum::<f64>() / 3.0;
        assert!((mean.budgets[1].share - shares).abs() < 1e-12);
        assert_eq!(scorer.mean_score(&genome([0, 1]), 0), all[0]);
    }

    #[test]
    fn sampled_shares_are_those_of_all_pairs_of_rows() {
        // Three rows a cell and resolution: nine equally likely pairs at each of two resolutions.
        let table = table(3);
        let pairs = |at: usize| {
            let [a, b] = [0, 1].map(|stage: usize| &table.stages[stage][0][at]);
            let ends = table.ends_ms[at];
            a.iter().flat_map(move |x| b.iter().map(move |y| x.latency_ms + y.latency_ms + ends)).collect::<Vec<f32>>()
        };
        let all: Vec<f32> = pairs(0).into_iter().chain(pairs(1)).collect();
        assert_eq!(all.len(), 18);
        for budget in [2.0, 2.5, 3.0, 3.5] {
            let expected = all.iter().filter(|ms| **ms <= budget).count() as f64 / 18.0;
            let settings = QtSettings { batch: 1, ..settings(&[budget], 200_000) };
            let scorer = QtScorer::new(&table, vec![1, 1], settings, Seed::new(3)).unwrap();
            let share = scorer.score(&genome([0, 0]), 0).budgets[0].share;
            // Four standard errors of 200,000 draws are below 0.0045.
            assert!((share - expected).abs() < 0.0045, "{budget} ms: {share}, expected {expected}");
        }
    }

    #[test]
    fn few_networks_in_the_budget_are_punished_and_none_scores_nothing() {
        // One row everywhere: every network takes 0.25 + 2 ms and loses 0.8.
        let row = Measured { loss: 0.4, latency_ms: 1.0 };
        let table = BlockTable { stages: vec![vec![vec![vec![row]]]; 2], ends_ms: vec![0.25], rows: 2 };
        let with = |budgets: &[f32], share, power| {
            let settings = QtSettings { share, power, ..settings(budgets, 100) };
            QtScorer::new(&table, vec![1, 1], settings, Seed::new(0)).unwrap().score(&genome([0, 0]), 0)
        };
        let met = with(&[2.3], 0.08, 0.01);
        assert!((met.score - 1.0 / 0.8).abs() < 1e-6 && (met.budgets[0].share - 1.0).abs() < 1e-12, "{met:?}");
        assert!((with(&[2.3, 2.4], 0.08, 0.01).score - 2.0 / 0.8).abs() < 1e-6);
        let too_fast = QtScorer::new(&table, vec![1, 1], settings(&[2.2], 100), Seed::new(0)).err().unwrap();
        assert_eq!(too_fast.exit_code(), 3);
        assert!(too_fast.to_string().contains("--budget-ms 2.2: the fastest network of all spaces takes 2.25 ms"));
        // Half of the networks in the budget, wanted of all: (1 / 0.5)^1 halves the score.
        let slow = Measured { latency_ms: 3.0, ..row };
        let half = BlockTable { stages: vec![vec![vec![vec![row, slow]]], vec![vec![vec![row]]]], ..table.clone() };
        let settings = QtSettings { share: 1.0, power: 1.0, ..settings(&[2.3], 10_000) };
        let scored = QtScorer::new(&half, vec![1, 1], settings, Seed::new(0)).unwrap().score(&genome([0, 0]), 0);
        let share = scored.budgets[0].share;
        assert!((share - 0.5).abs() < 0.02 && (scored.score - (share + 1e-5) / 0.8).abs() < 1e-6, "{scored:?}");
    }
}
