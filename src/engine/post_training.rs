//! A search on one trained network: how much each choice hurts is measured, budgets are solved exactly, and what comes out
//! is where the search on measured accuracy begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::budgets::Solver;
use super::history::csv_text;
use super::search::say_space;
use super::{JudgingImages, RunDirectory, RunImages, Session, Settings, StartingWeights, Trained, supernet};
use crate::cost::{Metric, Pricing, parts};
use crate::error::{Error, Result};
use crate::genome::Genome;
use crate::models::Weights;
use crate::progress::Progress;
use crate::ptq::{Calibrated, Clips, Prober};
use crate::seed::Seed;
use crate::space::Space;

/// Images on which a choice's harm is measured, at most.
const PROBED: i64 = 256;

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
    let (calibrated, harm) = measured(settings, folder, session, space, images)?;
    let solver = Solver::new(space, pricing, &parts, &harm, &settings.constraints, settings.objective);
    let planned = solver.plan(settings.population)?;
    if planned.is_empty() && !settings.constraints.is_empty() {
        let conflict = solver.conflict()?;
        // Latency is no exact sum, so there the search itself has the last word.
        if settings.constraints.iter().all(|limit| limit.metric != Metric::LatencyMs) {
            return Err(Error::Infeasible(conflict));
        }
        session.say(&format!("note: by the sums of their parts, {conflict}"));
    }
    Ok((Trained::Calibrated(calibrated), planned))
}

/// The trained network, calibrated, and the harm of every option of every decision.
///
/// # Errors
/// As [`begin`].
pub(super) fn measured(
    settings: &Settings,
    folder: &RunDirectory,
    session: &Session,
    space: &Space,
    images: &RunImages,
) -> Result<(Arc<Calibrated>, Vec<Vec<f64>>)> {
    let weights = weights(settings, folder, session, space)?;
    let calibrated = calibrated(space, &weights, &images.judging);
    let harm = harm(space, &calibrated, &images.judging, folder, session)?;
    Ok((calibrated, harm))
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
