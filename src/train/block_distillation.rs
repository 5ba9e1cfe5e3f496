//! Block-wise distillation (SpaceEvo, Wang et al., arXiv 2303.08308; research/spaceevo.md section 4): one stage of one block
//! type learns a teacher's stage, at all its sizes at once, in float32 and then under int8.
//!
//! The stage reads what the teacher's reads and learns what it gives; projections on both sides bring its channels to the
//! teacher's. The loss is the mean squared error over the variance of the teacher's output, a constant.

use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Evaluation, cosine, prepare};
use crate::error::{Error, Result};
use crate::layers;
use crate::models::{Pass, Statistics, Weights, forward};
use crate::network::Network;
use crate::optim::Adam;
use crate::seed::Seed;

/// How a stage is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockTraining {
    /// Steps in float32.
    pub float_steps: usize,
    /// Steps under int8 behind them.
    pub int8_steps: usize,
    /// Images a step.
    pub batch: usize,
    /// Random sub-stages a step, beside the largest and the smallest.
    pub random: usize,
    /// Highest learning rate of Adam in float32.
    pub lr: f64,
    /// The same under int8.
    pub int8_lr: f64,
}

impl Default for BlockTraining {
    fn default() -> Self {
        Self { float_steps: 150, int8_steps: 50, batch: 32, random: 2, lr: 5e-3, int8_lr: 1.25e-3 }
    }
}

/// What a teacher's stage reads and gives for the same images.
#[derive(Debug)]
pub struct StageFeatures {
    /// `[n, c, h, w]`.
    pub input: Tensor,
    /// `[n, c, h, w]`.
    pub output: Tensor,
}

impl StageFeatures {
    /// Further handles on the same tensors, for another thread.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        Self { input: self.input.shallow_clone(), output: self.output.shallow_clone() }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        usize::try_from(self.input.size()[0]).unwrap_or(0)
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The images at these places.
    fn at(&self, places: &[i64]) -> (Tensor, Tensor) {
        let places = Tensor::from_slice(places).to_device(self.input.device());
        let pick = |all: &Tensor| all.index_select(0, &places);
        (layers::channels_last(&pick(&self.input)), layers::channels_last(&pick(&self.output)))
    }
}

/// The two phases of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Float32.
    Float,
    /// Int8 everywhere, clips learned (LSQ).
    Int8,
}

/// The networks that a step trains, the largest first.
pub type Sampled<'a> = dyn FnMut(Phase, &mut ChaCha8Rng) -> Result<Vec<Network>> + 'a;

/// Trains shared weights through both phases; `whole` are networks with all parameters. Returns the mean loss of the largest
/// network over the last tenth of each phase's steps.
///
/// # Errors
/// A loss that is not finite; an interrupt; whatever `sampled` fails with.
pub fn distil_stage(
    weights: &mut Weights,
    (sampled, whole): (&mut Sampled<'_>, &[Network]),
    features: &StageFeatures,
    how: &BlockTraining,
    seed: Seed,
    interrupted: &dyn Fn() -> bool,
) -> Result<[f64; 2]> {
    let scale = features.output.var(true).double_value(&[]).max(1e-12);
    let mut ends = [0.0; 2];
    let phases = [(Phase::Float, how.float_steps, how.lr), (Phase::Int8, how.int8_steps, how.int8_lr)];
    for (at, (phase, steps, rate)) in phases.into_iter().enumerate() {
        if phase == Phase::Int8 {
            whole.iter().for_each(|network| weights.learn_clips(network, 8));
        }
        let mut adam = Adam::default();
        weights.trained().for_each(|(_, parameter)| adam.add(parameter, rate));
        let last = (steps / 10).max(1);
        for step in 0..steps {
            if interrupted() {
                return Err(Error::Interrupted(": finished blocks are kept; the same command goes on".into()));
            }
            let mut rng = seed.child(if at == 0 { "float" } else { "int8" }).at(step as u64).rng();
            let places = sample(&mut rng, features.len(), how.batch.min(features.len()));
            let places: Vec<i64> = places.into_iter().map(|place| place as i64).collect();
            let (x, target) = features.at(&places);
            let loss = passes(weights, &sampled(phase, &mut rng)?, (&x, &target), scale)?;
            adam.step(cosine(1.0, step, steps));
            if step + last >= steps {
                ends[at] += loss / last as f64;
            }
        }
    }
    Ok(ends)
}

/// Forward and backward through each network; the loss of the first.
fn passes(weights: &mut Weights, networks: &[Network], (x, target): (&Tensor, &Tensor), scale: f64) -> Result<f64> {
    let mut first = None;
    for network in networks {
        // Ranges and statistics follow the largest alone: its activations are the least distorted.
        let follows = first.is_none();
        let taps = layers::Taps::default();
        let pass = Pass {
            statistics: Statistics::Batch(if follows { 0.1 } else { 0.0 }),
            follow: follows.then_some(0.1),
            taps: Some(&taps),
        };
        let mut ranges = std::mem::take(&mut weights.ranges);
        let y = forward(network, weights, &mut ranges, x, pass);
        weights.ranges = ranges;
        let loss = (y - target).square().mean(Kind::Float) / scale;
        let value = loss.double_value(&[]);
        if !value.is_finite() {
            return Err(Error::Failed(format!("the loss of {} is {value}: its distillation diverged", network.model)));
        }
        taps.backward(&loss);
        first.get_or_insert(value);
    }
    first.ok_or_else(|| Error::Failed("a step of no network".into()))
}

/// Noise to signal of what a quantized stage gives: batch-norm statistics re-estimated, folded, as it would be exported.
pub fn stage_noise(network: &Network, weights: &Weights, evaluation: Evaluation<'_>, held: &StageFeatures) -> f64 {
    noise_to_signal(&prepare(network, weights, evaluation).logits(&held.input), &held.output)
}

/// Mean over channels of the squared error over the variance of the teacher's channel, both over images and places.
/// Channels that the teacher keeps constant are left out; 0 where all are.
///
/// # Shapes
/// `student`, `teacher`: `[n, c, h, w]`.
pub fn noise_to_signal(student: &Tensor, teacher: &Tensor) -> f64 {
    let over = [0_i64, 2, 3];
    let noise = (student - teacher).square().mean_dim(over.as_slice(), false, Kind::Double);
    let signal = teacher.to_kind(Kind::Double).var_dim(over.as_slice(), false, false);
    let alive = signal.gt(1e-12);
    let ratio = (noise / signal.clamp_min(1e-12)) * &alive;
    let count = alive.sum(Kind::Double).double_value(&[]);
    if count > 0.0 { ratio.sum(Kind::Double).double_value(&[]) / count } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::formats::{Format, QuantSpec};
    use crate::network::{Act, Block, BlockType, LoneStage, Shape, stage_between};

    #[test]
    fn noise_to_signal_by_hand() {
        // Two channels of four values: variances 1.25 and 5; the student is off by 1 and 2 everywhere; a constant third.
        let options = (Kind::Float, Device::Cpu);
        let row = Tensor::from_slice(&[0.0_f32, 1.0, 2.0, 3.0]).view([1, 1, 2, 2]);
        let teacher = Tensor::cat(&[&row, &(&row * 2.0), &Tensor::ones([1, 1, 2, 2], options)], 1);
        let off = Tensor::from_slice(&[1.0_f32, -2.0, 7.0]).view([1, 3, 1, 1]);
        let ratio = noise_to_signal(&(&teacher + off), &teacher);
        assert!((ratio - (1.0 / 1.25 + 4.0 / 5.0) / 2.0).abs() < 1e-6, "{ratio}");
        // The mean of the teacher alone is all noise.
        let mean = teacher.mean_dim([0_i64, 2, 3].as_slice(), true, Kind::Float).expand_as(&teacher);
        assert!((noise_to_signal(&mean, &teacher) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_stage_learns_its_teacher_and_int8_costs_little() {
        tch::manual_seed(3);
        let options = (Kind::Float, Device::Cpu);
        let block = Block {
            kind: BlockType::FusedMB,
            act: Act::Relu,
            kernel: 3,
            expansion: Some(2.0),
            width: 8,
            stride: 2,
            projects: true,
        };
        let input = Shape { c: 4, h: 8, w: 8 };
        let stage = LoneStage { index: 1, c_in: 8, blocks: &[block], every_shortcut: false };
        let network = stage_between(&stage, input, 6).unwrap();
        let x = Tensor::randn([64, 4, 8, 8], options);
        // A linear teacher: means of 2x2 pixels, mixed.
        let mixed = Tensor::randn([6, 4, 1, 1], options);
        let output = x.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None::<i64>).conv2d(
            &mixed,
            None::<&Tensor>,
            [1, 1],
            [0, 0],
            [1, 1],
            1,
        );
        let features = StageFeatures { input: x, output };
        let int8 = |phase| {
            let mut network = network.clone();
            let count = network.weighted().len();
            if phase == Phase::Int8 {
                let format = Format::Int(8);
                network
                    .assign(&vec![QuantSpec::per_channel(format); count], &vec![QuantSpec::per_tensor(format); count]);
            }
            network
        };
        let how = BlockTraining { float_steps: 150, int8_steps: 30, batch: 32, random: 0, ..BlockTraining::default() };
        let trained = |rate: f64| {
            let mut weights = Weights::initialised(&network, Seed::new(0), Device::Cpu);
            let how = BlockTraining { lr: rate, int8_lr: rate / 4.0, ..how };
            let mut sampled = |phase, _: &mut ChaCha8Rng| Ok(vec![int8(phase)]);
            let whole = [int8(Phase::Int8)];
            distil_stage(&mut weights, (&mut sampled, &whole), &features, &how, Seed::new(1), &|| false).unwrap();
            let batches = [(features.input.shallow_clone(), features.output.shallow_clone())];
            let evaluation = Evaluation { statistics: &batches, ranges: &batches };
            [Phase::Float, Phase::Int8].map(|phase| stage_noise(&int8(phase), &weights, evaluation, &features))
        };
        let ([float, int8], [untrained, _]) = (trained(1e-2), trained(1e-12));
        assert!(float < 0.2 && float < 0.5 * untrained, "{float} {untrained}");
        assert!((int8 - float).abs() < 0.05, "{float} {int8}");
    }
}
