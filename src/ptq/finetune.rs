//! Short training of a quantized network as a whole, towards what it gives in float: distillation without labels.
//!
//! Biases, the scales of weights and the clips of activations are trained; no code changes.

use rand::RngExt;
use tch::{Device, Kind, Tensor};

use super::reconstruct::{in_parts, taken};
use super::{Calibrated, trainable};
use crate::error::{Error, Result};
use crate::formats::{Granularity, ScaleKind};
use crate::models::{Folded, Step, operate, tensor, walk};
use crate::network::{LayerSpec, Network};
use crate::optim::Adam;
use crate::quant;
use crate::seed::Seed;
use crate::stored::{StoredLayer, StoredNetwork};

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
    /// What the logits of both networks are divided by before they are compared (Hinton et al. 2015, arXiv 1503.02531):
    /// above 1, what the float network finds unlikely counts too.
    pub temperature: f64,
    /// Root of all random numbers.
    pub seed: Seed,
}

impl Finetuning {
    /// The usual rates.
    pub fn new(seed: Seed) -> Self {
        Self { epochs: 1, batch: 32, gain_rate: 1e-3, scale_rate: 3e-3, bias_rate: 3e-4, temperature: 4.0, seed }
    }

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
    let float = calibrated.exact(images.device());
    let heat = options.temperature;
    let target = (in_parts(images, &|x| float.logits(x)) / heat).log_softmax(-1, Kind::Float);
    let ready = Folded::from_stored(stored.clone(), images.device());
    let inputs = in_parts(images, &|x| ready.input(x));
    let mut student = Student::new(stored, options, images.device());
    let mut adam = student.optimiser();
    let mut rng = options.seed.child("finetune").rng();
    let count = images.size()[0];
    let steps = options.steps(count);
    for at in 0..steps {
        let which: Vec<i64> = (0..options.batch).map(|_| rng.random_range(0..count)).collect();
        let which = Tensor::from_slice(&which).to_device(images.device());
        student.scale();
        let network = &stored.network;
        let logits = walk(network, 0..network.layers.len(), taken(&inputs, &which), &mut student);
        let (own, wanted) = ((logits / heat).log_softmax(-1, Kind::Float), target.index_select(0, &which));
        // Gradients of softened logits are smaller by the square.
        let loss = (wanted.exp() * (wanted - own)).sum(Kind::Float) * (heat * heat / options.batch as f64);
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

/// The least factor on a scale: it stays positive.
const LEAST_GAIN: f64 = 0.1;

/// A layer with weights in training.
struct Layer {
    index: usize,
    /// Before training.
    weight: Tensor,
    /// Factor on the scales: one an output channel, or one for the tensor.
    gain: Tensor,
    bias: Tensor,
}

impl Layer {
    /// The weights of a step.
    fn weight(&self) -> Tensor {
        &self.weight * self.gain.clamp_min(LEAST_GAIN)
    }
}

/// A network in training.
struct Student<'a> {
    network: &'a Network,
    options: Finetuning,
    layers: Vec<Layer>,
    parameters: Vec<Option<(Tensor, Tensor)>>,
    clips: Vec<Option<Tensor>>,
}

impl<'a> Student<'a> {
    fn new(stored: &'a StoredNetwork, options: Finetuning, device: Device) -> Self {
        let network = &stored.network;
        let (mut layers, mut parameters, mut clips) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..network.layers.len() {
            let own = stored.layers[index].as_ref();
            if let Some(own) = own.filter(|own| own.weight.spec.format.takes_scale()) {
                layers.push(Self::layer(index, own, options, device));
            }
            parameters.push(own.map(|own| trainable::parameters(own, device)));
            clips.push(trainable::clip(stored, index, true, device));
        }
        Self { network, options, layers, parameters, clips }
    }

    fn layer(index: usize, own: &StoredLayer, options: Finetuning, device: Device) -> Layer {
        let (spec, shape) = (own.weight.spec, &own.weight.shape);
        let factors = if spec.granularity == Granularity::Channel { shape[0] } else { 1 };
        let free = options.gain_rate > 0.0 && spec.scale == ScaleKind::Float32;
        let mut each = vec![1; shape.len()];
        each[0] = factors;
        let (weight, bias) = trainable::parameters(own, device);
        Layer {
            index,
            weight,
            gain: tensor(&vec![1.0; factors], &each, device).set_requires_grad(free),
            bias: bias.set_requires_grad(true),
        }
    }

    fn optimiser(&self) -> Adam {
        let mut adam = Adam::default();
        for layer in &self.layers {
            if layer.gain.requires_grad() {
                adam.add(&layer.gain, self.options.gain_rate);
            }
            adam.add(&layer.bias, self.options.bias_rate);
        }
        for clip in self.clips.iter().flatten().filter(|clip| clip.requires_grad()) {
            adam.add(clip, self.options.scale_rate * clip.double_value(&[0]));
        }
        adam
    }

    /// The weights of the next step.
    fn scale(&mut self) {
        for layer in &self.layers {
            self.parameters[layer.index] = Some((layer.weight(), layer.bias.shallow_clone()));
        }
    }

    fn finished(&mut self, stored: &StoredNetwork) -> StoredNetwork {
        let mut stored = stored.clone();
        for layer in &self.layers {
            if let Some(own) = &mut stored.layers[layer.index] {
                let gains = trainable::floats(&layer.gain.clamp_min(LEAST_GAIN));
                let each = own.weight.scales.runs.len() / gains.len();
                for (runs, gain) in own.weight.scales.runs.chunks_mut(each.max(1)).zip(gains) {
                    runs.iter_mut().for_each(|scale| *scale *= gain);
                }
                own.bias = trainable::floats(&layer.bias);
            }
        }
        for (index, clip) in self.clips.iter().enumerate() {
            if let (Some(clip), Some(point)) = (clip, &self.network.layers[index].point) {
                stored.scales[index] = Some(trainable::scale(clip, point));
            }
        }
        stored.round_biases();
        stored
    }
}

impl Step for Student<'_> {
    fn operate(&mut self, index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor {
        operate(layer, x, second, self.parameters[index].as_ref().map(|(weight, bias)| (weight, bias)))
    }

    fn quantize(&mut self, index: usize, x: Tensor) -> Tensor {
        let Some(point) = &self.network.layers[index].point else { return x };
        match &self.clips[index] {
            Some(clip) => quant::learned_activation(x, point, clip),
            None => quant::activation(x, point, quant::Range::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{Format, QuantSpec};
    use crate::models::Weights;
    use crate::network::{ModelSpec, build};
    use crate::ptq::Clips;

    #[test]
    fn a_network_moves_towards_float_by_scales_clips_and_biases_alone_and_repeats_to_the_bit() {
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
        let options = Finetuning { epochs: 16, ..Finetuning::new(Seed::new(3)) };
        let mut steps = 0;
        let mut tuned = || {
            let count = &mut steps;
            finetune(&calibrated, &stored, &x, options, &mut || {
                *count += 1;
                Ok(())
            })
        };
        let (first, second) = (tuned().unwrap(), tuned().unwrap());
        assert_eq!(steps, 2 * options.steps(64));
        assert_eq!(steps, 2 * 16 * 2);
        let float = calibrated.exact(Device::Cpu).logits(&x);
        let far = |stored: &StoredNetwork| {
            let own = Folded::from_stored(stored.clone(), Device::Cpu).logits(&x);
            (own - &float).square().mean(Kind::Double).double_value(&[])
        };
        assert!(far(&first) < 0.8 * far(&stored), "{} {}", far(&first), far(&stored));
        for ((own, again), before) in first.layers.iter().zip(&second.layers).zip(&stored.layers) {
            let (Some(own), Some(again), Some(before)) = (own, again, before) else { continue };
            assert_eq!(own.weight.grid, before.weight.grid, "no code changes");
            assert_eq!((&own.weight.scales.runs, &own.bias), (&again.weight.scales.runs, &again.bias));
        }
        assert_eq!(first.scales, second.scales);
        // What is told of a step may end the training.
        let ended = finetune(&calibrated, &stored, &x, options, &mut || Err(Error::Failed("enough".into())));
        assert_eq!(ended.unwrap_err().to_string(), "enough");
    }
}
