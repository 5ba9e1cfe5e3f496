//! A training run on disk: weights, momentum, step and what the regime learned, in one file written atomically.

use std::collections::BTreeMap;
use std::path::Path;

use super::Regime;
use super::Trainer;
use crate::checkpoint;
use crate::checkpoint::Array;
use crate::error::{Error, Result};

/// A saved point of a training run.
#[derive(Debug)]
pub struct Snapshot {
    /// Parameters, buffers, ranges and momentum by name.
    pub arrays: BTreeMap<String, Array>,
    /// Steps done.
    pub step: usize,
    /// What [`Regime::state`] returned.
    pub regime: String,
}

impl Snapshot {
    /// Writes trainer and regime to `path`.
    ///
    /// # Errors
    /// The file cannot be written; what was there stays.
    pub fn save(path: &Path, trainer: &Trainer, regime: &dyn Regime) -> Result<()> {
        let mut arrays = trainer.weights.to_arrays();
        arrays.extend(trainer.sgd.to_arrays());
        let metadata = BTreeMap::from([
            ("format".to_owned(), "pt".to_owned()),
            ("step".to_owned(), trainer.step.to_string()),
            ("regime".to_owned(), regime.state()),
        ]);
        checkpoint::write_safetensors(path, &arrays, &metadata)
    }

    /// Reads a snapshot.
    ///
    /// # Errors
    /// The file is missing, damaged, or not a snapshot.
    pub fn load(path: &Path) -> Result<Self> {
        let file = checkpoint::read(path)?;
        let step = (file.metadata.get("step"))
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Error::bad_file(path, "not a training snapshot: its metadata has no step"))?;
        let regime = file.metadata.get("regime").cloned().unwrap_or_default();
        Ok(Self { arrays: file.arrays, step, regime })
    }

    /// Puts a trainer whose weights come from [`Snapshot::arrays`] where it was.
    pub fn restore(&self, trainer: &mut Trainer) {
        trainer.step = self.step;
        let Trainer { sgd, weights, .. } = trainer;
        sgd.restore(weights, &self.arrays);
    }
}
