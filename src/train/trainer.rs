//! Weights in training: passes that leave gradients, then one update.

use serde::{Deserialize, Serialize};
use tch::{Kind, Reduction, Tensor};

use super::Flow;
use super::Sgd;
use super::cosine;
use crate::error::{Error, Result};
use crate::models::Pass;
use crate::models::Statistics;
use crate::models::Weights;
use crate::models::forward;
use crate::network::ModelName;
use crate::network::Network;

/// How weights are trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// Highest learning rate.
    pub lr: f64,
    /// Momentum of the optimiser.
    pub momentum: f64,
    /// Weight decay of tensors with two dimensions and more.
    pub weight_decay: f64,
    /// Label smoothing in `[0, 1)`.
    pub label_smoothing: f64,
    /// Whether the clips of activations are trained (LSQ) instead of recorded.
    pub learned_ranges: bool,
    /// The numbers that operators hand one another.
    #[serde(default)]
    pub flow: Flow,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 3,
            batch: 32,
            lr: 0.2,
            momentum: 0.9,
            weight_decay: 5e-4,
            label_smoothing: 0.0,
            learned_ranges: false,
            flow: Flow::Float32,
        }
    }
}

impl TrainConfig {
    /// The highest learning rate that a model trains well with. At 0.2 the shipped spaces of the small transformer (loss 2.3
    /// after 150 steps, against 1.5 at 0.05) and of the elastic MobileNetV2 (int8 after one epoch: 52.8 % at 0.2, 60.9 at
    /// 0.1, 71.4 at 0.05) learn slowly or not at all.
    pub fn usual_rate(model: ModelName) -> f64 {
        match model {
            ModelName::Vit { .. } | ModelName::MobilenetV2 | ModelName::EfficientnetLite { .. } | ModelName::Staged => {
                0.05
            }
            ModelName::SmallResnet { .. } | ModelName::Resnet { .. } => Self::default().lr,
        }
    }

    /// Refuses values that cannot train.
    ///
    /// # Errors
    /// Names the option and its range.
    pub fn check(&self) -> Result<()> {
        let positive = |key: &str, value: usize| {
            let fits = (1..=1_000_000).contains(&value);
            if fits { Ok(()) } else { Err(Error::bad_value(key, value, "must be from 1 to 1000000")) }
        };
        positive("--epochs", self.epochs)?;
        positive("--batch", self.batch)?;
        if !(self.lr > 0.0 && self.lr.is_finite()) {
            return Err(Error::bad_value("--lr", self.lr, "must be a positive number"));
        }
        if self.flow == Flow::Int8Blocks && self.learned_ranges {
            return Err(Error::bad_value("--learned-ranges", "", "has no effect on --flow int8-blocks"));
        }
        Ok(())
    }
}

/// Weights, optimiser and step count.
#[derive(Debug)]
pub struct Trainer {
    /// The weights in training.
    pub weights: Weights,
    /// Steps done.
    pub step: usize,
    /// Steps of the whole run.
    pub total: usize,
    /// How to train.
    pub config: TrainConfig,
    pub(super) sgd: Sgd,
    passes: usize,
}

/// What one pass left behind.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// Cross-entropy with the labels.
    pub loss: f64,
    /// Share of the batch classified right, in percent.
    pub top1: f64,
}

/// Rate at which recorded ranges follow the training batches.
const FOLLOW: f32 = 0.1;
/// Rate at which the running batch-norm statistics follow the training batches (PyTorch's default).
pub(super) const STATISTICS: f64 = 0.1;

impl Trainer {
    /// A trainer at step 0 of `total`.
    pub fn new(weights: Weights, config: TrainConfig, total: usize) -> Self {
        let sgd = Sgd::new(config.momentum, config.weight_decay);
        Self { weights, step: 0, total, config, sgd, passes: 0 }
    }

    /// Forward and backward through one network; gradients add up until [`Trainer::update`]. `follow` lets ranges
    /// and batch-norm statistics follow this pass.
    ///
    /// # Errors
    /// A loss that is not finite.
    pub fn pass(&mut self, network: &Network, (x, y): (&Tensor, &Tensor), follow: bool) -> Result<Passed> {
        let pass = Pass {
            statistics: Statistics::Batch(if follow { STATISTICS } else { 0.0 }),
            follow: follow.then_some(FOLLOW),
        };
        let mut ranges = std::mem::take(&mut self.weights.ranges);
        let logits = forward(network, &self.weights, &mut ranges, x, pass);
        self.weights.ranges = ranges;
        let (loss, passed) = self.loss(&logits, y)?;
        loss.backward();
        self.passes += 1;
        if self.config.learned_ranges {
            self.weights.learn_clips(network);
        }
        Ok(passed)
    }

    /// Loss of some logits, and what it says.
    ///
    /// # Errors
    /// It is not finite.
    pub(super) fn loss(&self, logits: &Tensor, y: &Tensor) -> Result<(Tensor, Passed)> {
        let smoothing = self.config.label_smoothing;
        let loss = logits.cross_entropy_loss(y, None::<&Tensor>, Reduction::Mean, -100, smoothing);
        let value = loss.double_value(&[]);
        if !value.is_finite() {
            return Err(Error::Failed(format!(
                "the loss is {value} at step {}: training diverged; try a lower --lr (now {})",
                self.step, self.config.lr
            )));
        }
        let right = logits.argmax(-1, false).eq_tensor(y).to_kind(Kind::Float).mean(None).double_value(&[]);
        Ok((loss, Passed { loss: value, top1: 100.0 * right }))
    }

    /// One optimiser step over the gradients of all passes since the last one.
    pub fn update(&mut self) {
        let rate = cosine(self.config.lr, self.step, self.total);
        self.sgd.step(&self.weights, rate, self.passes.max(1) as f64);
        self.passes = 0;
        self.step += 1;
    }
}
