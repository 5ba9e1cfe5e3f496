//! Training and scoring of networks on shared weights.
//!
//! A [`Trainer`] owns weights, optimiser and step count; a [`Regime`] says which networks a step trains. Everything random
//! comes from streams named by the step, so a run continues exactly from any saved step.

mod block_distillation;
mod evaluate;
mod flow;
mod int8_blocks;
mod lanes;
mod learning_rate;
mod lesson;
mod one_shot;
mod run;
mod sandwich;
mod sgd;
mod single;
mod snapshot;
mod switching;
mod tape;
mod trainer;

pub use block_distillation::{
    BlockTraining, Phase, Sampled, StageFeatures, distil_stage, noise_to_signal, stage_noise,
};
pub use evaluate::{Evaluation, Score, evaluate, prepare, reestimated};
pub use flow::Flow;
pub use int8_blocks::Int8Blocks;
pub use learning_rate::cosine;
pub use lesson::{Aim, Lesson, Passed};
pub use one_shot::{OneShot, OneShotConfig};
pub use run::{Ended, run};
pub use sandwich::Sandwich;
pub use sgd::Sgd;
pub use single::Single;
pub use snapshot::Snapshot;
pub use switching::{Switching, switching_error};
pub use tape::SavedBytes;
pub use trainer::{TrainConfig, Trainer};

use tch::Tensor;

use crate::error::Result;

/// What one step reports.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepReport {
    /// Cross-entropy of the step's first network on its batch.
    pub loss: f64,
    /// Share of the batch that network classified right, in percent.
    pub top1: f64,
}

/// Which networks a step trains, and what it learns besides weights.
pub trait Regime {
    /// Trains on one batch: forward and backward passes, then one update.
    ///
    /// # Errors
    /// A loss that is not finite.
    fn step(&mut self, trainer: &mut Trainer, x: &Tensor, y: &Tensor) -> Result<StepReport>;

    /// What must be kept besides weights and optimiser to continue, as text.
    fn state(&self) -> String {
        String::new()
    }

    /// A word on how far it has come, for the progress line.
    fn remark(&self) -> String {
        String::new()
    }
}
