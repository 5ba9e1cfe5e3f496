//! The training loop: batches in, steps, progress, snapshots, stopping.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Regime;
use super::Snapshot;
use super::Trainer;
use crate::data::Loader;
use crate::error::Result;
use crate::progress::Progress;

/// How a training run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All steps are done.
    Finished,
    /// It was told to stop; the snapshot holds the state.
    Stopped,
}

/// Time between two snapshots: at most this much work is lost to a kill.
const BETWEEN_SNAPSHOTS: Duration = Duration::from_secs(10);

/// Trains until the trainer's last step, writing snapshots to `snapshot` on the way and at the end.
///
/// # Errors
/// A loss that is not finite, a batch that cannot be read, a snapshot that cannot be written.
pub fn run(
    trainer: &mut Trainer,
    regime: &mut dyn Regime,
    loader: &Loader,
    snapshot: Option<&Path>,
    progress: &Progress,
    stop: &dyn Fn() -> bool,
) -> Result<Ended> {
    let per_epoch = loader.steps();
    let mut saved = Instant::now();
    let save = |trainer: &Trainer, regime: &dyn Regime| match snapshot {
        Some(path) => Snapshot::save(path, trainer, regime),
        None => Ok(()),
    };
    while trainer.step < trainer.total {
        let epoch = trainer.step / per_epoch;
        for batch in loader.epoch(epoch as u64, trainer.step % per_epoch) {
            let (x, y) = batch?;
            let report = regime.step(trainer, &x, &y)?;
            progress.step(1);
            progress.message(format!("loss {:.3} {}", report.loss, regime.remark()));
            if stop() {
                save(trainer, regime)?;
                return Ok(Ended::Stopped);
            }
            if saved.elapsed() > BETWEEN_SNAPSHOTS {
                save(trainer, regime)?;
                saved = Instant::now();
            }
            if trainer.step >= trainer.total {
                break;
            }
        }
    }
    save(trainer, regime)?;
    Ok(Ended::Finished)
}
