//! The end of a run: the front is chosen on validation images, then the test images are touched, once.

use std::collections::BTreeMap;

use super::JudgingImages;
use super::Row;
use super::RunDirectory;
use super::RunImages;
use super::Session;
use super::Settings;
use super::Status;
use super::Tested;
use super::Trained;
use super::device::measured_front;
use super::history::read_history;
use super::history::read_tested;
use super::tested_text;
use super::workers::in_order;
use super::workers::scoring_threads;
use crate::cost::Metric;
use crate::cost::Pricing;
use crate::data::Loader;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::pareto;
use crate::progress::Progress;
use crate::space::NetworkFile;
use crate::space::Space;
use crate::train::evaluate;

/// What a run found: all that its table and picture show.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The run's settings.
    pub settings: Settings,
    /// The front, by rising cost.
    pub front: Vec<Tested>,
    /// The uniform formats with their names, by rising cost.
    pub uniform: Vec<(String, Tested)>,
    /// The front of the random baseline, if one ran, by rising cost.
    pub baseline: Vec<Tested>,
    /// Every candidate.
    pub rows: Vec<Row>,
    /// Why the search stopped; empty for a run read from its folder.
    pub stop: String,
}

impl Summary {
    /// The objective cost of a row.
    pub fn cost(&self, row: &Row) -> f64 {
        cost(self.settings.objective, row)
    }
}

/// Tells the weights that a candidate is tested with; one a thread.
pub(super) type TrainedOf<'a> = Box<dyn Fn(&Row) -> Result<Trained> + Send + 'a>;

/// Chooses the front, tests it and the uniform formats, and writes what a run's folder holds at its end.
///
/// # Errors
/// No feasible candidate, an interrupt, or a file that cannot be written.
#[allow(clippy::too_many_arguments, reason = "the end of a run needs what every phase before it had")]
pub(super) fn finish<'a, 'r>(
    settings: &Settings,
    folder: &RunDirectory,
    session: &Session,
    (space, pricing): (&Space, &Pricing),
    images: &RunImages,
    rows: &'r [Row],
    trained: &dyn Fn() -> TrainedOf<'a>,
    stop: &str,
) -> Result<Summary> {
    let own = |row: &&Row| row.feasible && row.status != Status::Baseline;
    let choose = |rows: &[&'r Row]| chosen(rows.iter().copied(), settings.objective);
    let (place, priced) = ((folder, session), (space, pricing));
    let (front, measured) = measured_front(settings, place, priced, rows.iter().filter(own).collect(), choose)?;
    if front.is_empty() {
        return Err(Error::Infeasible("no evaluated candidate meets every limit".into()));
    }
    let random = |row: &&Row| row.feasible && row.status == Status::Baseline;
    let baseline = chosen(rows.iter().filter(random), settings.objective)?;
    let uniform: Vec<&Row> =
        rows.iter().filter(|row| row.status != Status::Baseline && uniform_name(space, row).is_some()).collect();
    let network = space.network(&space.widest().0);
    let mut rows_to_test: BTreeMap<usize, &Row> = BTreeMap::new();
    rows_to_test.extend(front.iter().chain(&uniform).chain(&baseline).map(|&row| (row.id, row)));
    let rows_to_test: Vec<&Row> = rows_to_test.into_values().collect();
    let loader = images.test(&network)?;
    let progress = Progress::new("test", rows_to_test.len() as u64, session.quiet);
    let worker = || (trained(), images.judging.shallow_clone(), loader.clone());
    let work =
        |(trained, judging, loader): &(TrainedOf<'_>, JudgingImages, Loader), row: &&Row| -> Result<(usize, f64)> {
            let ready = trained(row)?.ready(&space.network(&row.genome.0), judging);
            Ok((row.id, evaluate(&ready, loader.epoch(0, 0))?.top1))
        };
    let mut top1: BTreeMap<usize, f64> = BTreeMap::new();
    in_order(
        scoring_threads(settings.threads, session.device),
        &rows_to_test,
        worker,
        work,
        &|| !interrupt::requested(),
        |tested| {
            top1.extend([tested?]);
            progress.step(1);
            Ok(())
        },
    )?;
    session.check_interrupt("`bitfront resume` continues")?;
    progress.finish();
    let tested = |rows: Vec<&Row>| -> Vec<Tested> {
        let tested = |row: &Row| Tested {
            row: Row { wall_s: 0.0, ..row.clone() },
            test_top1: top1[&row.id],
            latency_meas_ms: measured.of(row.id),
        };
        rows.into_iter().map(tested).collect()
    };
    let (front, uniform, baseline) = (tested(front), tested(uniform), tested(baseline));
    for member in &front {
        let genome = &member.row.genome.0;
        let file = NetworkFile::from_network(&space.spec_of(genome), &space.network(genome)).text()?;
        folder.write(&folder.front_folder().join(format!("{}.ron", member.row.id)), &file)?;
    }
    folder.write(&folder.uniform(), &tested_text(&uniform)?)?;
    if settings.random_baseline {
        folder.write(&folder.baseline(), &tested_text(&baseline)?)?;
    }
    folder.write(&folder.pareto(), &tested_text(&front)?)?;
    Ok(assembled(settings, space, [front, uniform, baseline], rows.to_vec(), stop))
}

/// Reads a finished run from its folder.
///
/// # Errors
/// The run has no front yet, or a file is damaged.
pub fn summary(folder: &RunDirectory) -> Result<Summary> {
    let settings = Settings::load(&folder.config())?;
    if !folder.pareto().exists() {
        let hint = "this run has no front yet; `bitfront resume` finishes it";
        return Err(Error::bad_value("RUN", folder.folder().display(), hint));
    }
    let space = Space::new(settings.space.clone())?;
    let baseline = if settings.random_baseline { read_tested(&folder.baseline())? } else { Vec::new() };
    let tested = [read_tested(&folder.pareto())?, read_tested(&folder.uniform())?, baseline];
    Ok(assembled(&settings, &space, tested, read_history(&folder.history())?, ""))
}

fn assembled(
    settings: &Settings,
    space: &Space,
    [front, uniform, baseline]: [Vec<Tested>; 3],
    rows: Vec<Row>,
    stop: &str,
) -> Summary {
    let named = |tested: Tested| Some((uniform_name(space, &tested.row)?, tested));
    let mut uniform: Vec<(String, Tested)> = uniform.into_iter().filter_map(named).collect();
    uniform.sort_by(|a, b| cost(settings.objective, &a.1.row).total_cmp(&cost(settings.objective, &b.1.row)));
    Summary { settings: settings.clone(), front, uniform, baseline, rows, stop: stop.to_owned() }
}

/// The candidates that no other one dominates, by rising cost.
pub(super) fn chosen<'a>(rows: impl Iterator<Item = &'a Row>, objective: Metric) -> Result<Vec<&'a Row>> {
    let own: Vec<&Row> = rows.collect();
    let points: Vec<(f64, f64)> = own.iter().map(|row| (cost(objective, row), row.top1)).collect();
    Ok(pareto::front(&points)?.into_iter().map(|at| own[at]).collect())
}

/// The objective cost of a row.
pub(super) fn cost(objective: Metric, row: &Row) -> f64 {
    match objective {
        Metric::SizeMb => row.size_mb,
        Metric::ActMemKb => row.act_mem_kb,
        Metric::LatencyMs => row.latency_ms.unwrap_or_default(),
        Metric::AvgWBits => row.avg_w_bits,
        Metric::AvgABits => row.avg_a_bits,
        _ => row.gbops,
    }
}

/// The format's name when a candidate is uniform.
fn uniform_name(space: &Space, row: &Row) -> Option<String> {
    let mut formats = space.formats().into_iter();
    formats.find(|&format| space.uniform(format).as_deref() == Some(&row.genome.0)).map(|format| format.to_string())
}
