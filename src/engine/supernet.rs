//! Training a run's shared weights, once, resumably.

use std::collections::BTreeMap;
use std::path::Path;

use tch::Device;

use super::RunImages;
use super::Session;
use super::StartingWeights;
use super::TrainSettings;
use crate::checkpoint::Array;
use crate::error::{Error, Result};
use crate::models::Weights;
use crate::network::Network;
use crate::progress::Progress;
use crate::seed::Seed;
use crate::train::Ended;
use crate::train::Regime;
use crate::train::Snapshot;
use crate::train::Trainer;
use crate::train::run;

/// One training of a run: what it is called, where its snapshot lies, from which stream its weights start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Training<'a> {
    /// Label of the progress bar.
    pub(super) label: &'a str,
    /// Snapshot file; also where the finished weights are.
    pub(super) snapshot: &'a Path,
    /// Stream of the initial weights.
    pub(super) seed: Seed,
    /// Weights to start from instead, a file or a run.
    pub(super) from: Option<&'a Path>,
}

/// The weights that all these networks share, from named arrays.
///
/// # Errors
/// A parameter is missing or has another shape.
pub(super) fn read(networks: &[Network], arrays: &BTreeMap<String, Array>, device: Device) -> Result<Weights> {
    joined(networks, |network| Weights::from_arrays(network, arrays, device))
}

fn joined(networks: &[Network], weights: impl Fn(&Network) -> Result<Weights>) -> Result<Weights> {
    let mut all = networks.iter().map(weights);
    let first = all.next().ok_or_else(|| Error::Failed("weights of no network".into()))??;
    all.try_fold(first, |joined, more| Ok(joined.with(more?)))
}

/// A trainer at the start, or where the snapshot left it; and the regime's state in that snapshot.
///
/// # Errors
/// The snapshot is damaged or of another network.
pub(super) fn begin(
    training: Training<'_>,
    networks: &[Network],
    settings: &TrainSettings,
    steps: usize,
    session: &Session,
) -> Result<(Trainer, Option<String>)> {
    let total = steps * settings.train.epochs;
    if !training.snapshot.exists() {
        let fresh = joined(networks, |network| Ok(Weights::initialised(network, training.seed, session.device)))?;
        let weights = match training.from {
            Some(path) => {
                StartingWeights::read(path)?.over(&fresh, networks, settings.train.learned_ranges, session)?
            }
            None => fresh,
        };
        return Ok((Trainer::new(weights, settings.train.clone(), total), None));
    }
    let snapshot = Snapshot::load(training.snapshot)?;
    let weights = read(networks, &snapshot.arrays, session.device)?;
    let mut trainer = Trainer::new(weights, settings.train.clone(), total);
    snapshot.restore(&mut trainer);
    Ok((trainer, Some(snapshot.regime)))
}

/// Trains to the end, or until the user or the clock wants to stop.
///
/// # Errors
/// Whatever [`run`] fails with; an interrupt, after the state is saved.
pub(super) fn train(
    training: Training<'_>,
    trainer: &mut Trainer,
    regime: &mut dyn Regime,
    images: &RunImages,
    session: &Session,
) -> Result<Ended> {
    if trainer.step >= trainer.total {
        return Ok(Ended::Finished);
    }
    let left = (trainer.total - trainer.step) as u64;
    let progress = Progress::new(training.label, left, session.quiet);
    let stop = || session.should_stop();
    let ended = run(trainer, regime, &images.training, Some(training.snapshot), &progress, &stop)?;
    progress.finish();
    session.check_interrupt("the state is saved; `bitfront resume` continues it")?;
    Ok(ended)
}
