//! Scoring candidates on trained weights: where the search meets the weights.

use std::time::Instant;

use crate::cost::Constraint;
use crate::cost::Costs;
use crate::cost::Metric;
use crate::cost::Pricing;
use crate::error::Result;
use crate::genome::Genome;
use crate::progress::Progress;
use crate::search::Evaluator;
use crate::search::Journal;
use crate::search::Outcome;
use crate::search::Record;
use crate::space::Space;
use crate::train::evaluate;

use super::Friendliness;
use super::History;
use super::JudgingImages;
use super::Row;
use super::Status;
use super::Trained;
use super::workers::in_order;

/// Scores genomes of a space on trained weights.
pub struct Scorer<'a> {
    /// The space.
    pub space: &'a Space,
    /// The trained weights.
    pub trained: &'a Trained,
    /// The images.
    pub images: &'a JudgingImages,
    /// Candidates scored at the same time.
    pub threads: usize,
    /// Prices of its networks.
    pub pricing: &'a Pricing,
    /// The cost beside accuracy.
    pub objective: Metric,
    /// Hard limits.
    pub constraints: &'a [Constraint],
    /// What is added to top-1 in what algorithms see.
    pub friendliness: Option<Friendliness>,
    /// Advances by one a candidate.
    pub progress: &'a Progress,
}

impl Evaluator for Scorer<'_> {
    fn evaluate(
        &mut self,
        genomes: &[Genome],
        go_on: &(dyn Fn() -> bool + Sync),
        keep: &mut dyn FnMut(Outcome) -> Result<()>,
    ) -> Result<()> {
        let (space, pricing) = (self.space, self.pricing);
        let (objective, constraints, friendliness) = (self.objective, self.constraints, self.friendliness);
        let worker = || (self.trained.shallow_clone(), self.images.shallow_clone());
        let work = |(trained, images): &(Trained, JudgingImages), genome: &Genome| -> Result<Outcome> {
            let network = space.network(&genome.0);
            let ready = trained.ready(&network, images);
            let score = evaluate(&ready, images.validation())?;
            let costs = pricing.costs(&network);
            let bonus = match friendliness {
                Some(term) => term.points(&network, &ready, (trained, images), pricing)?,
                None => 0.0,
            };
            Ok(Outcome {
                top1: score.top1,
                loss: Some(score.loss),
                costs: vec![objective.of(&costs).unwrap_or_default()],
                violation: violation(constraints, &costs),
                bonus,
            })
        };
        in_order(self.threads, genomes, worker, work, go_on, |outcome| {
            keep(outcome?)?;
            self.progress.step(1);
            Ok(())
        })
    }
}

/// By how much hard limits are broken, summed.
pub fn violation(constraints: &[Constraint], costs: &Costs) -> f64 {
    constraints.iter().map(|constraint| constraint.violation(costs)).sum()
}

/// Writes records to the history as rows.
pub struct RowJournal<'a> {
    /// The file.
    pub history: &'a mut History,
    /// The space, for the cost columns.
    pub space: &'a Space,
    /// Prices of its networks.
    pub pricing: &'a Pricing,
    /// What the rows are.
    pub status: Status,
    /// Added to a record's id, so that ids stay unique in the file.
    pub offset: usize,
    /// When this session began.
    pub started: Instant,
    /// Seed column.
    pub seed: u64,
}

impl Journal for RowJournal<'_> {
    fn append(&mut self, record: &Record) -> Result<()> {
        let costs = self.pricing.costs(&self.space.network(&record.genome.0));
        let row = Row {
            id: record.id + self.offset,
            parent_id: record.parent.map(|parent| parent + self.offset),
            generation: record.generation,
            status: self.status,
            feasible: record.outcome.violation <= 0.0,
            top1: record.outcome.top1,
            loss: record.outcome.loss,
            wall_s: (self.started.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            seed: self.seed,
            genome: record.genome.clone(),
            ..Row::default()
        };
        self.history.remember_bonus(row.id, record.outcome.bonus)?;
        self.history.append(row.with_costs(&costs))
    }
}

/// The rows of one status as the search loop's records, for replay.
pub fn records(
    history: &History,
    status: Status,
    (space, pricing): (&Space, &Pricing),
    objective: Metric,
    constraints: &[Constraint],
) -> Vec<Record> {
    let rows: Vec<&Row> = history.rows.iter().filter(|row| row.status == status).collect();
    let offset = rows.first().map_or(0, |row| row.id);
    let record = |row: &&Row| {
        let costs = pricing.costs(&space.network(&row.genome.0));
        Record {
            id: row.id - offset,
            generation: row.generation,
            parent: row.parent_id.map(|parent| parent - offset),
            genome: row.genome.clone(),
            outcome: Outcome {
                top1: row.top1,
                loss: row.loss,
                costs: vec![objective.of(&costs).unwrap_or_default()],
                violation: violation(constraints, &costs),
                bonus: history.bonus(row.id),
            },
        }
    };
    rows.iter().map(record).collect()
}
