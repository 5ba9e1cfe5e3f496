//! Short training of a quantized network as a whole, towards what it gives in float: distillation without labels.
//!
//! Biases, the scales of weights and the clips of activations are trained; weights only where asked, with the
//! straight-through gradient.

use rand::RngExt;
use tch::{Device, Kind, Tensor};

use super::reconstruct::{in_parts, taken};
use super::{Calibrated, trainable};
use crate::error::{Error, Result};
use crate::formats::{Format, Granularity, ScaleKind, round_to_grid};
use crate::models::{Folded, Step, operate, tensor, walk};
use crate::network::{LayerSpec, Network};
use crate::optim::Adam;
use crate::quant;
use crate::seed::Seed;
use crate::stored::{StoredLayer, StoredNetwork, StoredWeight};

/// How long, and how fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finetuning {
    /// Passes over the images.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// Learning rate of weights, in steps of their grid; 0 leaves each at its code.
    pub weight_rate: f64,
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
        let (weight_rate, gain_rate, scale_rate, bias_rate) = (0.0, 1e-3, 3e-3, 3e-4);
        Self { epochs: 1, batch: 32, weight_rate, gain_rate, scale_rate, bias_rate, temperature: 4.0, seed }
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
    let mut student = Student::new(calibrated, stored, options, images.device());
    let mut adam = student.optimiser();
    let mut rng = options.seed.child("finetune").rng();
    let count = images.size()[0];
    let steps = options.steps(count);
    for at in 0..steps {
        let which: Vec<i64> = (0..options.batch).map(|_| rng.random_range(0..count)).collect();
        let which = Tensor::from_slice(&which).to_device(images.device());
        student.round();
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
    /// Weights in units of their scales.
    latent: Tensor,
    /// The scale of each weight, before training.
    scales: Tensor,
    /// Factor on the scales: one an output channel, or one for the tensor.
    gain: Tensor,
    bias: Tensor,
}

impl Layer {
    /// The weights of a step: the codes with a gradient to the latent ones where those are trained, times their scales.
    fn weight(&self, format: Format) -> Tensor {
        let latent = &self.latent;
        let codes = if latent.requires_grad() {
            let rounded = Tensor::from_slice(&self.codes(format)).view_as(latent).to_device(latent.device());
            latent + (rounded - latent.detach())
        } else {
            latent.shallow_clone()
        };
        codes * &self.scales * self.gain.clamp_min(LEAST_GAIN)
    }

    fn codes(&self, format: Format) -> Vec<f32> {
        let mut codes = trainable::floats(&self.latent);
        round_to_grid(format, &mut codes);
        codes
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
    fn new(calibrated: &Calibrated, stored: &'a StoredNetwork, options: Finetuning, device: Device) -> Self {
        let network = &stored.network;
        let (mut layers, mut parameters, mut clips) = (Vec::new(), Vec::new(), Vec::new());
        for (index, layer) in network.layers.iter().enumerate() {
            let own = stored.layers[index].as_ref();
            parameters.push(own.map(|own| trainable::parameters(own, device)));
            if let (Some(own), Some(exact)) = (own, &calibrated.float().layers[index])
                && layer.weight.is_some_and(|spec| spec.format.takes_scale())
            {
                layers.push(Self::layer(index, own, exact, options, device));
            }
            clips.push(trainable::clip(stored, index, true, device));
        }
        Self { network, options, layers, parameters, clips }
    }

    fn layer(index: usize, own: &StoredLayer, exact: &StoredLayer, options: Finetuning, device: Device) -> Layer {
        let trained = options.weight_rate > 0.0;
        let (weight, scales) = (&own.weight, scales(&own.weight));
        let latent: Vec<f32> = if trained {
            // Near the float weight, but still rounded to what the network has.
            (weight.grid.iter().zip(&exact.weight.values()).zip(&scales))
                .map(|((&code, &exact), &scale)| code + (exact / scale - code).clamp(-0.25, 0.25))
                .collect()
        } else {
            weight.grid.clone()
        };
        let spec = weight.spec;
        let factors = if spec.granularity == Granularity::Channel { weight.shape[0] } else { 1 };
        let free = options.gain_rate > 0.0 && spec.scale == ScaleKind::Float32;
        let mut shape = vec![1; weight.shape.len()];
        shape[0] = factors;
        Layer {
            index,
            latent: tensor(&latent, &weight.shape, device).set_requires_grad(trained),
            gain: tensor(&vec![1.0; factors], &shape, device).set_requires_grad(free),
            scales: tensor(&scales, &weight.shape, device),
            bias: tensor(&own.bias, &[own.bias.len()], device).set_requires_grad(true),
        }
    }

    fn optimiser(&self) -> Adam {
        let mut adam = Adam::default();
        for layer in &self.layers {
            if layer.latent.requires_grad() {
                adam.add(&layer.latent, self.options.weight_rate);
            }
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
    fn round(&mut self) {
        for layer in &self.layers {
            let Some(spec) = self.network.layers[layer.index].weight else { continue };
            let weight = layer.weight(spec.format);
            self.parameters[layer.index] = Some((weight, layer.bias.shallow_clone()));
        }
    }

    fn finished(&mut self, stored: &StoredNetwork) -> StoredNetwork {
        let mut stored = stored.clone();
        for layer in &self.layers {
            if let Some(own) = &mut stored.layers[layer.index] {
                own.weight.grid = layer.codes(own.weight.spec.format);
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

/// The scale of every weight.
fn scales(weight: &StoredWeight) -> Vec<f32> {
    let ones = StoredWeight { grid: vec![1.0; weight.grid.len()], ..weight.clone() };
    ones.values()
}

impl Step for Student<'_> {
    fn operate(&mut self, index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor {
        operate(layer, x, second, self.parameters[index].as_ref().map(|(weight, bias)| (weight, bias)))
    }

    fn quantize(&mut self, index: usize, x: Tensor) -> Tensor {
        let Some(point) = &self.network.layers[index].point else { return x };
        match &self.clips[index] {
            Some(clip) => quant::learned_activation(&x, point, clip),
            None => quant::activation(x, point, quant::Range::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::QuantSpec;
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
