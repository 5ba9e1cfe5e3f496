//! One pass of a network over a batch: what it shall answer, its gradients, what it answered.

use tch::{Kind, Reduction, Tensor};

use super::trainer::STATISTICS;
use crate::layers::Taps;
use crate::models::{Pass, Statistics, Weights, forward};
use crate::network::Network;
use crate::quant::Ranges;

/// Rate at which recorded ranges follow the training batches.
const FOLLOW: f32 = 0.1;

/// What a network shall answer.
#[derive(Debug)]
pub enum Aim {
    /// The right class of every image: `[n]`.
    Labels(Tensor),
    /// The probabilities that another network gives (Hinton et al. 2015): `[n, classes]`.
    Answer(Tensor),
}

impl Aim {
    fn shallow_clone(&self) -> Self {
        match self {
            Self::Labels(y) => Self::Labels(y.shallow_clone()),
            Self::Answer(y) => Self::Answer(y.shallow_clone()),
        }
    }

    /// The mean loss of some logits, and how many of them are right, in percent; `smoothing` is that of labels.
    pub(super) fn loss(&self, logits: &Tensor, smoothing: f64) -> (Tensor, f64) {
        let (loss, right) = match self {
            Self::Labels(y) => {
                (logits.cross_entropy_loss(y, None::<&Tensor>, Reduction::Mean, -100, smoothing), y.shallow_clone())
            }
            Self::Answer(answer) => {
                let entropy = -(answer * logits.log_softmax(-1, Kind::Float));
                (entropy.sum_dim_intlist(-1, false, Kind::Float).mean(Kind::Float), answer.argmax(-1, false))
            }
        };
        let right = logits.argmax(-1, false).eq_tensor(&right).to_kind(Kind::Float).mean(None).double_value(&[]);
        (loss, 100.0 * right)
    }
}

/// A pass to make.
#[derive(Debug)]
pub struct Lesson {
    /// The network.
    pub network: Network,
    /// What it shall answer.
    pub aim: Aim,
    /// Whether ranges and batch-norm statistics follow it.
    pub follow: bool,
}

/// What a pass left behind.
#[derive(Debug)]
pub struct Passed {
    /// Mean loss.
    pub loss: f64,
    /// Share of the batch answered as it should be, in percent.
    pub top1: f64,
    /// The probability of every class: `[n, classes]`.
    pub answer: Tensor,
}

/// A pass on its way: weights whose gradients it leaves, and ranges of its own.
pub(super) struct Begun {
    pub(super) weights: Weights,
    pub(super) ranges: Ranges,
    network: Network,
    aim: Aim,
    x: Tensor,
    follow: bool,
    smoothing: f64,
}

impl Begun {
    /// A lesson on these weights, `in_float` or in the network's formats.
    pub(super) fn new(lesson: &Lesson, weights: Weights, x: &Tensor, in_float: bool, smoothing: f64) -> Self {
        let network = if in_float { lesson.network.in_float() } else { lesson.network.clone() };
        let ranges = weights.ranges.clone();
        let (aim, x) = (lesson.aim.shallow_clone(), x.shallow_clone());
        Self { weights, ranges, network, aim, x, follow: lesson.follow, smoothing }
    }

    /// Forward and backward.
    pub(super) fn taught(mut self) -> (Self, Passed) {
        let taps = Taps::default();
        let pass = Pass {
            taps: Some(&taps),
            statistics: Statistics::Batch(if self.follow { STATISTICS } else { 0.0 }),
            follow: self.follow.then_some(FOLLOW),
        };
        let logits = forward(&self.network, &self.weights, &mut self.ranges, &self.x, pass);
        let (loss, top1) = self.aim.loss(&logits, self.smoothing);
        taps.backward(&loss);
        let passed = Passed { loss: loss.double_value(&[]), top1, answer: logits.detach().softmax(-1, Kind::Float) };
        (self, passed)
    }
}
