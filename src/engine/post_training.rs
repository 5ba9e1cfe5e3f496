//! A search on one trained network: how much each choice hurts is measured, budgets are solved exactly, and what comes out
//! is where the search on measured accuracy begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::history::csv_text;
use super::search::say_space;
use super::{JudgingImages, RunDirectory, RunImages, Session, Settings, StartingWeights, Trained, supernet};
use crate::cost::{Constraint, LinearCost, Metric, Part, Pricing, linear, parts, with};
use crate::error::{Error, Result};
use crate::genome::Genome;
use crate::models::Weights;
use crate::progress::Progress;
use crate::ptq::{Calibrated, Clips, Prober};
use crate::search::{Knapsack, Limit};
use crate::seed::Seed;
use crate::space::Space;

/// Images on which a choice's harm is measured, at most.
const PROBED: i64 = 256;

/// How often a budget is tightened after the network it gave costs more than the sum of its parts.
const TRIES: usize = 6;

/// The trained network, calibrated, and the candidates that solved budgets give.
///
/// # Errors
/// No weights, or they do not fit; an interrupt, with what was measured saved.
pub(super) fn begin(
    settings: &Settings,
    folder: &RunDirectory,
    session: &Session,
    (space, pricing): (&Space, &Pricing),
    images: &RunImages,
) -> Result<(Trained, Vec<Genome>)> {
    let parts = parts(space)?;
    let options: usize = space.decisions().iter().map(|decision| decision.choices.len()).sum();
    say_space(settings, space, session);
    session.say(&format!(
        "cost: measure {options} choices on {PROBED} images, solve {} budgets, score {} candidates",
        settings.population, settings.evaluations
    ));
    let weights = weights(settings, folder, session, space)?;
    let calibrated = calibrated(space, &weights, &images.judging);
    let harm = harm(space, &calibrated, &images.judging, folder, session)?;
    let planned = plan(settings, space, pricing, &parts, &harm)?;
    Ok((Trained::Calibrated(calibrated), planned))
}

/// The weights of the run: as given, kept in its folder.
fn weights(settings: &Settings, folder: &RunDirectory, session: &Session, space: &Space) -> Result<Weights> {
    let networks = space.largest_networks();
    if folder.supernet().exists() {
        let file = crate::checkpoint::read(folder.supernet())?;
        return supernet::read(&networks, &file.arrays, session.device);
    }
    let path = settings.weights.as_ref().ok_or_else(|| Error::missing_option("--weights", "--mode ptq needs them"))?;
    let fresh = Weights::initialised(&networks[0], Seed::new(settings.seed), session.device);
    let weights = StartingWeights::read(path)?.over(&fresh, &networks, false, session)?;
    let facts = [("format".to_owned(), "pt".to_owned()), ("model".to_owned(), networks[0].model.clone())];
    crate::checkpoint::write_safetensors(folder.supernet(), &weights.to_arrays(), &facts.into())?;
    Ok(weights)
}

/// The trained network with its ranges, from the run's calibration images.
pub(super) fn calibrated(space: &Space, weights: &Weights, images: &JudgingImages) -> Arc<Calibrated> {
    let network = space.network(&space.widest().0);
    Arc::new(Calibrated::new(&network, weights, &images.calibration(), Clips::default()))
}

/// How far an option of a decision moves the output, all other decisions at their widest.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Harm {
    decision: String,
    option: String,
    /// Divergence from the float network's classes, in nats.
    divergence: f64,
    /// Signal to noise of the logits.
    sqnr_db: f64,
}

/// The harm of every option of every decision; measured once and kept in the run's folder.
fn harm(
    space: &Space,
    calibrated: &Calibrated,
    images: &JudgingImages,
    folder: &RunDirectory,
    session: &Session,
) -> Result<Vec<Vec<f64>>> {
    let path = folder.state().join("sensitivity.csv");
    let mut known = read(&path)?;
    let base = space.widest().0;
    let count: usize = space.decisions().iter().map(|decision| decision.choices.len()).sum();
    let progress = Progress::new("sensitivity", count as u64, session.quiet);
    let mut probed = 0;
    let few = images.calibration().into_iter().take_while(|x| {
        probed += x.size()[0];
        probed <= PROBED.max(x.size()[0])
    });
    let few: Vec<&Tensor> = few.collect();
    let prober = Prober::new(calibrated, &space.network(&base), &few);
    let mut rows = Vec::new();
    let mut found = Vec::new();
    for (at, decision) in space.decisions().iter().enumerate() {
        let mut own = Vec::new();
        for (gene, choice) in decision.choices.iter().enumerate() {
            let key = (decision.name.clone(), choice.to_string());
            let row = match known.remove(&key) {
                Some(row) => row,
                None => {
                    let mut genome = base.clone();
                    genome[at] = gene as u8;
                    let distance = prober.distance(&space.network(&genome));
                    let (decision, option) = key;
                    Harm { decision, option, divergence: distance.divergence, sqnr_db: distance.sqnr_db }
                }
            };
            own.push(row.divergence);
            rows.push(row);
            progress.step(1);
            if crate::interrupt::requested() {
                folder.write(&path, &csv_text(&rows, true)?)?;
                session.check_interrupt("`bitfront resume` continues")?;
            }
        }
        found.push(own);
    }
    progress.finish();
    folder.write(&path, &csv_text(&rows, true)?)?;
    Ok(found)
}

fn read(path: &std::path::Path) -> Result<BTreeMap<(String, String), Harm>> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let bad = |error: csv::Error| Error::bad_file(path, error.to_string());
    let rows = csv::Reader::from_path(path).map_err(bad)?.into_deserialize::<Harm>();
    rows.map(|row| row.map(|row| ((row.decision.clone(), row.option.clone()), row)).map_err(bad)).collect()
}

/// For budgets of the objective from the cheapest network's to the dearest's, in even steps of its logarithm, the least
/// harmful network within them and all limits.
fn plan(
    settings: &Settings,
    space: &Space,
    pricing: &Pricing,
    parts: &[Part],
    harm: &[Vec<f64>],
) -> Result<Vec<Genome>> {
    let solver = Solver::new(space, pricing, parts, harm, &settings.constraints, settings.objective);
    let reach = crate::cost::feasible_range(space, pricing, settings.objective);
    let (low, high) = reach.ok_or_else(|| Error::Infeasible("the objective has no value here".into()))?;
    let steps = settings.population.max(2);
    let mut planned: Vec<Genome> = Vec::new();
    for step in 0..steps {
        let budget = low * (high / low).powf(step as f64 / (steps - 1) as f64);
        if let Some(genome) = solver.within(budget * (1.0 + 1e-9))?
            && !planned.contains(&genome)
        {
            planned.push(genome);
        }
    }
    Ok(planned)
}

/// The least harmful network within a budget, by the sums of what its parts do.
struct Solver<'a> {
    space: &'a Space,
    pricing: &'a Pricing,
    parts: &'a [Part],
    losses: Vec<Vec<f64>>,
    limits: Vec<(Constraint, Vec<LinearCost>)>,
    objective: (Metric, Vec<LinearCost>),
}

impl<'a> Solver<'a> {
    /// `harm[decision][option]` is what an option does to the output.
    fn new(
        space: &'a Space,
        pricing: &'a Pricing,
        parts: &'a [Part],
        harm: &[Vec<f64>],
        constraints: &[Constraint],
        objective: Metric,
    ) -> Self {
        let of_option = |part: &Part, option: &Vec<u8>| -> f64 {
            part.decisions.iter().zip(option).map(|(&at, &gene)| harm[at][usize::from(gene)]).sum()
        };
        let losses =
            parts.iter().map(|part| part.options.iter().map(|option| of_option(part, option)).collect()).collect();
        let costs = |metric| linear(space, pricing, parts, metric);
        let limits = constraints.iter().map(|&limit| (limit, costs(limit.metric))).collect();
        Self { space, pricing, parts, losses, limits, objective: (objective, costs(objective)) }
    }

    /// The network within `budget` of the objective, if there is one.
    ///
    /// # Errors
    /// The solver fails.
    fn within(&self, budget: f64) -> Result<Option<Genome>> {
        let (metric, objective) = &self.objective;
        let own = Constraint { metric: *metric, limit: budget, strict: false };
        let all: Vec<(Constraint, &Vec<LinearCost>)> =
            self.limits.iter().map(|(limit, costs)| (*limit, costs)).chain([(own, objective)]).collect();
        // Parts may price one another a little (latency): then the limit is tightened by what the sum missed.
        let mut limits: Vec<f64> = all.iter().map(|(limit, _)| limit.limit).collect();
        for _ in 0..TRIES {
            let rows = all.iter().zip(&limits).flat_map(|((_, costs), &most)| {
                costs.iter().map(move |cost| Limit { weights: cost.adds.clone(), most: most - cost.rest })
            });
            let problem = Knapsack { losses: self.losses.clone(), limits: rows.collect() };
            let Some(chosen) = problem.solve()? else { return Ok(None) };
            let genome = self
                .parts
                .iter()
                .zip(&chosen)
                .fold(self.space.widest().0, |genome, (part, &at)| with(&genome, part, &part.options[at]));
            let costs = self.pricing.costs(&self.space.network(&genome));
            let mut kept = true;
            for ((limit, _), most) in all.iter().zip(&mut limits) {
                let excess = limit.metric.of(&costs).unwrap_or_default() - limit.limit;
                if limit.violation(&costs) > 1e-9 {
                    kept = false;
                    *most -= excess.max(1e-6 * limit.limit) * 1.05;
                }
            }
            if kept {
                return Ok(Some(Genome(genome)));
            }
        }
        Ok(None)
    }
}
