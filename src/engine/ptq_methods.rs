//! Ways to choose formats for one trained network, at equal evaluations: what `bitfront bench ptq` compares.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::budgets::Solver;
use super::device;
use super::finish::{chosen, cost};
use super::post_training::measured;
use super::repair::Limits;
use super::search::{Work, say_space, with_classes};
use super::workers::{in_order, scoring_threads};
use super::{History, JudgingImages, Row, RunDirectory, RunImages, Session, Settings, Status, Trained};
use crate::cost::parts;
use crate::data::Loader;
use crate::error::{Error, Result};
use crate::genome::Genome;
use crate::progress::Progress;
use crate::search::{Algorithm, Listed, Nsga2};
use crate::space::Space;
use crate::train::evaluate;

/// Candidates a generation of the search from scratch, as `bitfront search` has them.
const FRESH_POPULATION: usize = 20;

/// A way to choose formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PtqMethod {
    /// Every format everywhere.
    Uniform,
    /// From the widest network the least measured harm for what is saved, step by step.
    Greedy,
    /// The least sum of measured harms within each of many budgets, exactly.
    Solver,
    /// Some solved budgets, then NSGA-II on measured accuracy from there: `search --mode ptq`.
    Polished,
    /// NSGA-II on measured accuracy from uniform and random networks.
    Nsga2,
}

impl PtqMethod {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Uniform, Self::Greedy, Self::Solver, Self::Polished, Self::Nsga2];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform formats",
            Self::Greedy => "greedy",
            Self::Solver => "solver",
            Self::Polished => "solver and polish",
            Self::Nsga2 => "nsga2 from scratch",
        }
    }
}

/// What one method found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MethodResult {
    /// The method.
    pub method: PtqMethod,
    /// Cost and validation top-1 of every network that it scored.
    pub scored: Vec<(f64, f64)>,
    /// Cost and test top-1 of those that no other one dominates on validation, by rising cost.
    pub front: Vec<(f64, f64)>,
}

/// Runs or continues every method on the trained network of the settings, then tests their fronts.
///
/// # Errors
/// An interrupt (with the state saved), or whatever a step fails with.
pub fn compare_methods(settings: &Settings, folder: &RunDirectory, session: &Session) -> Result<Vec<MethodResult>> {
    settings.check()?;
    let _lock = folder.lock()?;
    let done = folder.state().join("methods.json");
    if let Ok(text) = std::fs::read_to_string(&done) {
        return serde_json::from_str(&text).map_err(|error| Error::bad_file(&done, error.to_string()));
    }
    let space = Space::new(settings.space.clone())?;
    let images = RunImages::load(&settings.training(), &space.network(&space.widest().0), session.device)?;
    let space = with_classes(space, images.classes(), session)?;
    let pricing = device::pricing(settings, None)?;
    let parts = parts(&space)?;
    say_space(settings, &space, session);
    let options: usize = space.decisions().iter().map(|decision| decision.choices.len()).sum();
    session.say(&format!(
        "cost: measure {options} choices, then score at most {} candidates by each of {} methods and test their fronts",
        settings.evaluations,
        PtqMethod::ALL.len()
    ));
    let (calibrated, harm) = measured(settings, folder, session, &space, &images)?;
    let solver = Solver::new(&space, &pricing, &parts, &harm, &settings.constraints, settings.objective);
    let trained = Trained::Calibrated(calibrated);
    let limits = Limits::new(&space, &pricing, &settings.constraints);
    let work = Work { settings, session, space: &space, pricing: &pricing, limits, images: &images, trained: &trained };
    let mut found = Vec::new();
    for method in PtqMethod::ALL {
        let mut history = History::open(&folder.state().join(format!("{method:?}.csv")))?;
        let mut algorithm = algorithm(method, &work, &solver)?;
        work.phase(algorithm.as_mut(), &mut history, Status::Searched, method.name(), settings.evaluations)?;
        found.push((method, history.rows));
    }
    let results = tested(&work, found)?;
    let text = serde_json::to_string(&results).map_err(|error| Error::Failed(error.to_string()))?;
    folder.write(&done, &text)?;
    Ok(results)
}

fn algorithm(method: PtqMethod, work: &Work<'_>, solver: &Solver<'_>) -> Result<Box<dyn Algorithm>> {
    let (settings, uniform) = (work.settings, work.uniform_genomes());
    let nsga2 = |population, first: Vec<Genome>| -> Result<Box<dyn Algorithm>> {
        Ok(Box::new(Nsga2::new(work.space.genome_choices()?, population)?.starting_with(first)?))
    };
    Ok(match method {
        PtqMethod::Uniform => Box::new(Listed::new(uniform)),
        PtqMethod::Greedy => Box::new(Listed::new(spread(solver.greedy(), settings.evaluations))),
        PtqMethod::Solver => Box::new(Listed::new(solver.plan(settings.evaluations)?)),
        PtqMethod::Polished => {
            let planned = solver.plan(settings.population)?;
            nsga2(settings.population, planned.into_iter().chain(uniform).collect())?
        }
        PtqMethod::Nsga2 => nsga2(FRESH_POPULATION, uniform)?,
    })
}

/// At most `count` of a path, at even distances, its ends among them.
fn spread(path: Vec<Genome>, count: usize) -> Vec<Genome> {
    if path.len() <= count || count < 2 {
        return path.into_iter().take(count).collect();
    }
    (0..count).map(|k| path[k * (path.len() - 1) / (count - 1)].clone()).collect()
}

/// Each method's scores, and its front on the test images.
fn tested(work: &Work<'_>, found: Vec<(PtqMethod, Vec<Row>)>) -> Result<Vec<MethodResult>> {
    let (settings, session, space) = (work.settings, work.session, work.space);
    let feasible = |rows: &[Row]| -> Vec<Row> { rows.iter().filter(|row| row.feasible).cloned().collect() };
    let found: Vec<(PtqMethod, Vec<Row>)> = found.into_iter().map(|(method, rows)| (method, feasible(&rows))).collect();
    let mut fronts = Vec::new();
    for (_, rows) in &found {
        fronts.push(chosen(rows.iter(), settings.objective)?);
    }
    let mut genomes: Vec<Genome> = fronts.iter().flatten().map(|row| row.genome.clone()).collect();
    genomes.sort();
    genomes.dedup();
    let loader = work.images.test(&space.network(&space.widest().0))?;
    let progress = Progress::new("test", genomes.len() as u64, session.quiet);
    let worker = || (work.trained.shallow_clone(), work.images.judging.shallow_clone(), loader.clone());
    let score = |(trained, judging, loader): &(Trained, JudgingImages, Loader), genome: &Genome| -> Result<f64> {
        Ok(evaluate(&trained.ready(&space.network(&genome.0), judging), loader.epoch(0, 0))?.top1)
    };
    let mut top1 = Vec::new();
    let threads = scoring_threads(settings.threads, session.device);
    in_order(threads, &genomes, worker, score, &|| !crate::interrupt::requested(), |tested| {
        top1.push(tested?);
        progress.step(1);
        Ok(())
    })?;
    session.check_interrupt("the same command continues")?;
    progress.finish();
    let known: BTreeMap<&Genome, f64> = genomes.iter().zip(top1).collect();
    let at = |row: &Row| cost(settings.objective, row);
    let result = |((method, rows), front): (&(PtqMethod, Vec<Row>), &Vec<&Row>)| MethodResult {
        method: *method,
        scored: rows.iter().map(|row| (at(row), row.top1)).collect(),
        front: front.iter().map(|row| (at(row), known[&row.genome])).collect(),
    };
    Ok(found.iter().zip(&fronts).map(result).collect())
}
