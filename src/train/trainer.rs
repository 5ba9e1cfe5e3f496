//! Weights in training: passes that leave gradients, then one update.

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::Flow;
use super::Sgd;
use super::cosine;
use super::lanes::Lanes;
use super::lesson::{Aim, Begun, Lesson, Passed};
use crate::error::{Error, Result};
use crate::models::Weights;
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
    /// Handles on the same weights, with gradients of their own, that passes since the last update have left.
    apart: Vec<Weights>,
    /// For how many passes, and where they run.
    lanes: Option<(usize, Lanes)>,
    /// Steps in float32.
    float_steps: usize,
    /// Bits of the integer whose clip learned clips start from.
    pub clip_bits: u8,
}

/// Rate at which the running batch-norm statistics follow the training batches (PyTorch's default).
pub(super) const STATISTICS: f64 = 0.1;

/// Learning rate of formats that are trained behind float32 over that in float32; SpaceEvo has a twentieth for fifty epochs.
const BEHIND_FLOAT: f64 = 0.1;

/// Most elements of all results of a network on a batch for which passes run side by side. Of small tensors, one thread in each of
/// two passes does more than two threads in one after the other; of large ones two copies take memory and gain little.
const MOST_ELEMENTS: usize = 16 << 20;

/// Elements of all results of a network on a batch.
fn elements(network: &Network, x: &Tensor) -> usize {
    let image: usize = network.layers.iter().map(|layer| layer.output.elements()).sum();
    image * usize::try_from(x.size()[0]).unwrap_or(usize::MAX)
}

impl Trainer {
    /// A trainer at step 0 of `total`.
    pub fn new(weights: Weights, config: TrainConfig, total: usize) -> Self {
        let sgd = Sgd::new(config.momentum, config.weight_decay);
        let float_steps = total / config.epochs.max(1) * config.float_epochs;
        Self {
            weights,
            step: 0,
            total,
            config,
            sgd,
            passes: 0,
            apart: Vec::new(),
            lanes: None,
            float_steps,
            clip_bits: 4,
        }
    }

    /// Forward and backward through one network towards the labels; gradients add up until [`Trainer::update`]. `follow`
    /// lets ranges and batch-norm statistics follow this pass.
    ///
    /// # Errors
    /// A loss that is not finite.
    pub fn pass(&mut self, network: &Network, (x, y): (&Tensor, &Tensor), follow: bool) -> Result<Passed> {
        let lesson = Lesson { network: network.clone(), aim: Aim::Labels(y.shallow_clone()), follow };
        let mut passed = self.teach(x, &[lesson])?;
        passed.pop().ok_or_else(|| Error::Failed("a pass left nothing".into()))
    }

    /// Forward and backward through several networks on one batch, in any order and where they are small at the same time:
    /// each sees weights, statistics and ranges as they were before. Ranges then follow the first.
    ///
    /// # Errors
    /// A loss that is not finite; threads that cannot be made.
    pub fn teach(&mut self, x: &Tensor, lessons: &[Lesson]) -> Result<Vec<Passed>> {
        let (in_float, smoothing) = (self.step < self.float_steps, self.config.label_smoothing);
        let side_by_side = lessons.len() > 1
            && rayon::current_num_threads() > 1
            && self.weights.device() == Device::Cpu
            && lessons.iter().all(|lesson| elements(&lesson.network, x) <= MOST_ELEMENTS);
        let begun = |(at, lesson): (usize, &Lesson)| {
            let apart = side_by_side && at > 0;
            let weights = if apart { self.weights.with_own_gradients() } else { self.weights.shallow_clone() };
            Begun::new(lesson, weights, x, in_float, smoothing)
        };
        let begun: Vec<Begun> = lessons.iter().enumerate().map(begun).collect();
        let done = if side_by_side {
            self.lanes(lessons.len())?.run(begun, Begun::taught)
        } else {
            begun.into_iter().map(Begun::taught).collect()
        };
        let mut all = Vec::new();
        for (at, (taught, passed)) in done.into_iter().enumerate() {
            self.finite(passed.loss)?;
            self.passes += 1;
            if at == 0 {
                self.weights.ranges = taught.ranges;
            } else {
                self.weights.ranges.fill(&taught.ranges);
                self.apart.extend(side_by_side.then_some(taught.weights));
            }
            all.push(passed);
        }
        // From the next pass on: these recorded the ranges that clips start from.
        if self.config.learned_ranges && !in_float {
            lessons.iter().for_each(|lesson| self.weights.learn_clips(&lesson.network, self.clip_bits));
        }
        Ok(all)
    }

    fn lanes(&mut self, jobs: usize) -> Result<&Lanes> {
        let kept = match self.lanes.take() {
            Some((before, lanes)) if before == jobs => lanes,
            _ => Lanes::new(jobs)?,
        };
        Ok(&self.lanes.insert((jobs, kept)).1)
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

    /// Loss of some logits, its value, and the share that is right, in percent.
    ///
    /// # Errors
    /// It is not finite.
    pub(super) fn loss(&self, logits: &Tensor, y: &Tensor) -> Result<(Tensor, f64, f64)> {
        let (loss, top1) = Aim::Labels(y.shallow_clone()).loss(logits, self.config.label_smoothing);
        let value = loss.double_value(&[]);
        self.finite(value)?;
        Ok((loss, value, top1))
    }

    /// One optimiser step over the gradients of all passes since the last one.
    pub fn update(&mut self) {
        let rate = self.learning_rate();
        self.sgd.step(&self.weights, &self.apart, rate, self.passes.max(1) as f64);
        self.apart.clear();
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
