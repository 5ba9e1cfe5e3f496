//! What a table of blocks follows from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::{DataSource, Holdout};
use crate::engine::TrainSettings;
use crate::error::{Error, Result};
use crate::space::Hyperspace;
use crate::train::{BlockTraining, TrainConfig};

/// Everything that a table of blocks follows from, but for the threads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSettings {
    /// Root of all random streams.
    pub seed: u64,
    /// The hyperspace, with the one side that the images have.
    pub space: Hyperspace,
    /// The images.
    pub data: DataSource,
    /// Training images held out for validation; noise is measured on some of them.
    pub validation: Holdout,
    /// Folder of the device's latency table.
    pub target: PathBuf,
    /// What that table says, as a digest of its files.
    pub latencies: String,
    /// How the teacher is trained.
    pub teacher: TrainConfig,
    /// How each stage and block type is trained.
    pub training: BlockTraining,
    /// Trainings of each, whose noise is averaged.
    pub seeds: u64,
    /// Training images that stages learn from.
    pub images: usize,
    /// Images that batch-norm statistics are re-estimated from, and as many that noise is measured on.
    pub judging: usize,
    /// Sub-stages of each stage, block type and window.
    pub rows: usize,
}

impl BlockSettings {
    /// Refuses values that cannot run.
    ///
    /// # Errors
    /// Names the option and its range.
    pub fn check(&self) -> Result<()> {
        self.space.check()?;
        self.teacher.check()?;
        let within = |key: &str, value: usize, least: usize, most: usize| {
            let fits = (least..=most).contains(&value);
            if fits { Ok(()) } else { Err(Error::bad_value(key, value, format!("must be from {least} to {most}"))) }
        };
        within("--block-steps", self.training.float_steps, 1, 1_000_000)?;
        within("--block-seeds", usize::try_from(self.seeds).unwrap_or(usize::MAX), 1, 16)?;
        within("--block-images", self.images, 16, 1_000_000)?;
        within("--judging", self.judging, 8, 100_000)?;
        within("--rows", self.rows, 1, 1_000_000)
    }

    /// The teacher's training.
    pub(super) fn training(&self) -> TrainSettings {
        TrainSettings {
            seed: self.seed,
            data: self.data.clone(),
            validation: self.validation,
            calibration: self.judging.max(64),
            train: self.teacher.clone(),
        }
    }
}
