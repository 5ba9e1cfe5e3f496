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
    /// Passes over the training images in float32, before formats are trained.
    #[serde(default)]
    pub float_epochs: usize,
    /// Whether the smaller networks of a supernet learn what the largest answers, instead of the labels.
    #[serde(default)]
    pub distil: bool,
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
            float_epochs: 0,
            distil: false,
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
        if self.float_epochs >= self.epochs {
            let expected = format!("fewer than the {} of --epochs, which count these too", self.epochs);
            return Err(Error::bad_value("--float-epochs", self.float_epochs, expected));
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
    /// Steps in float32.
    float_steps: usize,
    /// Bits of the integer whose clip learned clips start from.
    pub clip_bits: u8,
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

/// Learning rate of formats that are trained behind float32 over that in float32; SpaceEvo has a twentieth for fifty epochs.
const BEHIND_FLOAT: f64 = 0.1;

impl Trainer {
    /// A trainer at step 0 of `total`.
    pub fn new(weights: Weights, config: TrainConfig, total: usize) -> Self {
        let sgd = Sgd::new(config.momentum, config.weight_decay);
        let float_steps = total / config.epochs.max(1) * config.float_epochs;
        Self { weights, step: 0, total, config, sgd, passes: 0, float_steps, clip_bits: 4 }
    }

    /// Forward and backward through one network; gradients add up until [`Trainer::update`]. `follow` lets ranges
    /// and batch-norm statistics follow this pass.
    ///
    /// # Errors
    /// A loss that is not finite.
    pub fn pass(&mut self, network: &Network, (x, y): (&Tensor, &Tensor), follow: bool) -> Result<Passed> {
        self.answered(network, (x, y), follow).map(|(passed, _)| passed)
    }

    /// The same, with what the network answered: a probability of every class.
    ///
    /// # Shapes
    /// `[n, classes]`.
    ///
    /// # Errors
    /// A loss that is not finite.
    pub fn answered(
        &mut self,
        network: &Network,
        (x, y): (&Tensor, &Tensor),
        follow: bool,
    ) -> Result<(Passed, Tensor)> {
        let logits = self.forward(network, x, follow);
        let (loss, passed) = self.loss(&logits, y)?;
        self.backward(&loss);
        Ok((passed, logits.detach().softmax(-1, Kind::Float)))
    }

    /// Forward and backward towards another network's answer (Hinton et al. 2015), which ranges and statistics do not follow.
    ///
    /// # Shapes
    /// `x`: `[n, c, h, w]`; `answer`: `[n, classes]`.
    ///
    /// # Errors
    /// A loss that is not finite.
    pub fn pass_towards(&mut self, network: &Network, x: &Tensor, answer: &Tensor) -> Result<()> {
        let logits = self.forward(network, x, false);
        let loss =
            -(answer * logits.log_softmax(-1, Kind::Float)).sum_dim_intlist(-1, false, Kind::Float).mean(Kind::Float);
        self.finite(loss.double_value(&[]))?;
        self.backward(&loss);
        Ok(())
    }

    fn forward(&mut self, network: &Network, x: &Tensor, follow: bool) -> Tensor {
        let pass = Pass {
            statistics: Statistics::Batch(if follow { STATISTICS } else { 0.0 }),
            follow: follow.then_some(FOLLOW),
        };
        let mut ranges = std::mem::take(&mut self.weights.ranges);
        let logits = if self.step < self.float_steps {
            forward(&network.in_float(), &self.weights, &mut ranges, x, pass)
        } else {
            forward(network, &self.weights, &mut ranges, x, pass)
        };
        self.weights.ranges = ranges;
        // From the next pass on: this one recorded the ranges that clips start from.
        if self.config.learned_ranges && self.step >= self.float_steps {
            self.weights.learn_clips(network, self.clip_bits);
        }
        logits
    }

    fn backward(&mut self, loss: &Tensor) {
        loss.backward();
        self.passes += 1;
    }

    fn finite(&self, value: f64) -> Result<()> {
        if value.is_finite() {
            return Ok(());
        }
        Err(Error::Failed(format!(
            "the loss is {value} at step {}: training diverged; try a lower --lr (now {})",
            self.step, self.config.lr
        )))
    }

    /// Loss of some logits, and what it says.
    ///
    /// # Errors
    /// It is not finite.
    pub(super) fn loss(&self, logits: &Tensor, y: &Tensor) -> Result<(Tensor, Passed)> {
        let smoothing = self.config.label_smoothing;
        let loss = logits.cross_entropy_loss(y, None::<&Tensor>, Reduction::Mean, -100, smoothing);
        let value = loss.double_value(&[]);
        self.finite(value)?;
        let right = logits.argmax(-1, false).eq_tensor(y).to_kind(Kind::Float).mean(None).double_value(&[]);
        Ok((loss, Passed { loss: value, top1: 100.0 * right }))
    }

    /// One optimiser step over the gradients of all passes since the last one.
    pub fn update(&mut self) {
        let rate = self.learning_rate();
        self.sgd.step(&self.weights, rate, self.passes.max(1) as f64);
        self.passes = 0;
        self.step += 1;
    }

    /// Half a cosine over all steps, or one over those in float32 and a lower one behind it.
    fn learning_rate(&self) -> f64 {
        let (peak, float) = (self.config.lr, self.float_steps);
        match self.step.checked_sub(float) {
            None => cosine(peak, self.step, float),
            Some(step) if float > 0 => cosine(BEHIND_FLOAT * peak, step, self.total - float),
            Some(step) => cosine(peak, step, self.total),
        }
    }
}
