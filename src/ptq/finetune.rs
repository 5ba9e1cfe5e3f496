//! Short training of a quantized network as a whole, towards what it gives in float: distillation without labels.
//!
//! Biases, the scales of weights and the clips of activations are trained; in the first half weights below 8 bits too, whose
//! codes then stay, so that the rest settles around them. Pairs of images are mixed, the float network answering what it sees
//! (Beyer et al. 2022, arXiv 2106.05237): few images go further so, and answers to images that it was trained on are too sure.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor, no_grad};

use super::Calibrated;
use super::reconstruct::{in_parts, taken};
use super::student::Student;
use crate::error::{Error, Result};
use crate::models::{Folded, walk};
use crate::seed::Seed;
use crate::stored::StoredNetwork;

/// How long, and how fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finetuning {
    /// Passes over the images.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// Learning rate of a weight's scale, as a share of it; 0 leaves the scales.
    pub gain_rate: f64,
    /// Learning rate of a clip, as a share of it.
    pub scale_rate: f64,
    /// Learning rate of the biases.
    pub bias_rate: f64,
    /// Learning rate of weights below 8 bits, as a share of their scale; 0 leaves the codes.
    pub weight_rate: f64,
    /// Share of the images that are mixed with another one.
    pub mix: f64,
    /// What the logits of both networks are divided by before they are compared (Hinton et al. 2015, arXiv 1503.02531):
    /// above 1, what the float network finds unlikely counts too.
    pub temperature: f64,
    /// Root of all random numbers.
    pub seed: Seed,
}

impl Default for Finetuning {
    fn default() -> Self {
        Self {
            epochs: 1,
            batch: 32,
            gain_rate: 1e-3,
            scale_rate: 3e-3,
            bias_rate: 3e-4,
            weight_rate: 3e-3,
            mix: 1.0,
            temperature: 4.0,
            seed: Seed::new(0),
        }
    }
}

impl Finetuning {
    /// Training steps over so many images.
    pub fn steps(&self, images: i64) -> usize {
        self.epochs * usize::try_from(images).unwrap_or(0).div_ceil(self.batch.max(1))
    }
}

/// Trains `stored`, which was made from `calibrated`, on `images`; `step` is told after each training step and may end it.
///
/// # Shapes
/// `images`: `[n, c, h, w]`, normalised.
///
/// # Errors
/// What `step` returns; a loss that is not finite.
pub fn finetune(
    calibrated: &Calibrated,
    stored: &StoredNetwork,
    images: &Tensor,
    options: Finetuning,
    step: &mut dyn FnMut() -> Result<()>,
) -> Result<StoredNetwork> {
    let lesson = Lesson::new(calibrated, stored, images, options);
    let mut student = Student::new(calibrated, stored, options, images.device());
    let mut adam = student.optimiser();
    let mut rng = options.seed.child("finetune").rng();
    let network = &stored.network;
    let steps = options.steps(images.size()[0]);
    for at in 0..steps {
        if 2 * at >= steps {
            student.settle_codes();
        }
        let (x, wanted) = lesson.batch(&mut rng);
        student.begin_step();
        let logits = walk(network, 0..network.layers.len(), x, &mut student);
        let own = (logits / options.temperature).log_softmax(-1, Kind::Float);
        // Gradients of softened logits are smaller by the square.
        let share = options.temperature.powi(2) / options.batch as f64;
        let loss = (wanted.exp() * (wanted - own)).sum(Kind::Float) * share;
        if !loss.double_value(&[]).is_finite() {
            return Err(Error::Failed("the fine-tuning diverged".into()));
        }
        loss.backward();
        adam.step(0.5 * (1.0 + (std::f64::consts::PI * at as f64 / steps as f64).cos()));
        if 2 * at >= steps {
            adam.remember();
        }
        step()?;
    }
    adam.settle();
    Ok(student.finished(stored))
}

/// What is learned from.
struct Lesson<'a> {
    images: &'a Tensor,
    options: Finetuning,
    float: Folded,
    quantized: Folded,
    /// Where none are mixed: every image as the quantized network reads it, and the float network's answer.
    plain: [Tensor; 2],
}

impl<'a> Lesson<'a> {
    fn new(calibrated: &Calibrated, stored: &StoredNetwork, images: &'a Tensor, options: Finetuning) -> Self {
        let float = calibrated.exact(images.device());
        let quantized = Folded::from_stored(stored.clone(), images.device());
        let plain = match options.mix <= 0.0 {
            true => [in_parts(images, &|x| quantized.input(x)), in_parts(images, &|x| answer(&float, x, options))],
            false => [Tensor::new(), Tensor::new()],
        };
        Self { images, options, float, quantized, plain }
    }

    /// Images of a step and the answers to them.
    fn batch(&self, rng: &mut ChaCha8Rng) -> (Tensor, Tensor) {
        let device = self.images.device();
        let mut some = || -> Tensor {
            let which: Vec<i64> = (0..self.options.batch).map(|_| rng.random_range(0..self.images.size()[0])).collect();
            Tensor::from_slice(&which).to_device(device)
        };
        if self.options.mix <= 0.0 {
            let which = some();
            return (taken(&self.plain[0], &which), self.plain[1].index_select(0, &which));
        }
        let (which, other) = (some(), some());
        let shares: Vec<f32> = (0..self.options.batch)
            .map(|_| if rng.random_bool(self.options.mix) { rng.random_range(0.5..1.0) } else { 1.0 })
            .collect();
        let share = Tensor::from_slice(&shares).view([-1, 1, 1, 1]).to_device(device);
        let x = taken(self.images, &which) * &share + taken(self.images, &other) * (1.0 - &share);
        (self.quantized.input(&x), answer(&self.float, &x, self.options))
    }
}

/// Logarithms of the softened shares that a network gives to the classes.
fn answer(network: &Folded, x: &Tensor, options: Finetuning) -> Tensor {
    no_grad(|| (network.logits(x) / options.temperature).log_softmax(-1, Kind::Float))
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::formats::{Format, QuantSpec};
    use crate::models::Weights;
    use crate::network::{ModelSpec, build};
    use crate::ptq::Clips;

    #[test]
    fn a_network_moves_towards_float_and_repeats_to_the_bit() {
        let spec = ModelSpec { resolution: Some(16), ..ModelSpec::new("resnet8".parse().unwrap()) };
        let mut network = build(&spec).unwrap();
        let weights = Weights::initialised(&network, Seed::new(6), Device::Cpu);
        tch::manual_seed(2);
        let x = Tensor::randn([64, 3, 16, 16], (Kind::Float, Device::Cpu));
        let count = network.weighted().len();
        let int4 = Format::Int(4);
        network.assign(&vec![QuantSpec::per_channel(int4); count], &vec![QuantSpec::per_tensor(int4); count]);
        let calibrated = Calibrated::new(&network, &weights, &[&x], Clips::default());
        let stored = calibrated.quantized(&network);
        let float = calibrated.exact(Device::Cpu).logits(&x);
        let far = |stored: &StoredNetwork| {
            let own = Folded::from_stored(stored.clone(), Device::Cpu).logits(&x);
            (own - &float).square().mean(Kind::Double).double_value(&[])
        };
        for (mix, weight_rate) in [(0.0, 0.0), (0.5, 3e-3)] {
            let options = Finetuning { epochs: 16, seed: Seed::new(3), mix, weight_rate, ..Finetuning::default() };
            let mut steps = 0;
            let mut tuned = || {
                let count = &mut steps;
                finetune(&calibrated, &stored, &x, options, &mut || {
                    *count += 1;
                    Ok(())
                })
            };
            let (first, second) = (tuned().unwrap(), tuned().unwrap());
            assert_eq!((steps, options.steps(64)), (2 * 16 * 2, 16 * 2));
            assert!(far(&first) < 0.8 * far(&stored), "{mix}: {} {}", far(&first), far(&stored));
            let mut changed = 0;
            for ((own, again), before) in first.layers.iter().zip(&second.layers).zip(&stored.layers) {
                let (Some(own), Some(again), Some(before)) = (own, again, before) else { continue };
                changed +=
                    own.weight.grid.iter().zip(&before.weight.grid).filter(|(a, b)| a.total_cmp(b).is_ne()).count();
                assert!(own.weight.grid.iter().all(|&code| int4.cast(code).total_cmp(&code).is_eq()));
                assert_eq!(own.weight.grid, again.weight.grid);
                assert_eq!((&own.weight.scales.runs, &own.bias), (&again.weight.scales.runs, &again.bias));
            }
            assert_eq!(changed > 0, weight_rate > 0.0, "codes change where they are trained: {changed}");
            assert_eq!(first.scales, second.scales);
        }
        // What is told of a step may end the training.
        let ended =
            finetune(&calibrated, &stored, &x, Finetuning::default(), &mut || Err(Error::Failed("enough".into())));
        assert_eq!(ended.unwrap_err().to_string(), "enough");
    }
}
