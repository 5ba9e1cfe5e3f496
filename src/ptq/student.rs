//! A quantized network whose biases, scales, clips and codes are trained together.

use tch::{Device, Tensor, no_grad};

use super::{Calibrated, Finetuning, trainable};
use crate::formats::{Format, Granularity, QuantSpec, Runs, ScaleKind};
use crate::models::{Step, operate, tensor};
use crate::network::{LayerSpec, Network};
use crate::optim::Adam;
use crate::quant;
use crate::stored::{StoredLayer, StoredNetwork};

/// The least factor on a scale: it stays positive.
const LEAST_GAIN: f64 = 0.1;

/// Most bits of weights whose codes are trained; wider ones leave nothing to gain.
const MOST_BITS: u32 = 7;

/// Whether any layer's codes are worth training.
pub fn trains_codes(network: &Network) -> bool {
    network.layers.iter().filter_map(|layer| layer.weight).any(is_narrow)
}

fn is_narrow(spec: QuantSpec) -> bool {
    spec.format.takes_scale() && spec.format.bits() <= MOST_BITS
}

/// A layer with weights in training.
struct Layer {
    index: usize,
    format: Format,
    /// Codes and the scale of each.
    codes: Tensor,
    scales: Tensor,
    /// What the codes are rounded from, while they are trained.
    latent: Option<Tensor>,
    /// Factor on the scales: one an output channel, or one for the tensor.
    gain: Tensor,
    bias: Tensor,
}

impl Layer {
    fn new(index: usize, own: &StoredLayer, exact: &[f32], options: Finetuning, device: Device) -> Self {
        let (spec, shape) = (own.weight.spec, &own.weight.shape);
        let factors = if spec.granularity == Granularity::Channel { shape[0] } else { 1 };
        let free = options.gain_rate > 0.0 && spec.scale == ScaleKind::Float32;
        let mut each = vec![1; shape.len()];
        each[0] = factors;
        let Runs { row, run } = spec.granularity.runs(shape);
        let runs = own.weight.grid.chunks(row).flat_map(|row| row.chunks(run)).zip(&own.weight.scales.runs);
        let scales: Vec<f32> =
            runs.flat_map(|(run, scale)| std::iter::repeat_n(scale * own.weight.scales.tensor, run.len())).collect();
        let codes = tensor(&own.weight.grid, shape, device);
        let scales = tensor(&scales, shape, device);
        let trains = options.weight_rate > 0.0 && is_narrow(spec);
        let latent = trains.then(|| {
            let exact = tensor(exact, shape, device) / &scales;
            // Where learned rounding went another way than the nearest, its choice.
            let same = rounded(&exact, spec.format).eq_tensor(&codes);
            exact.where_self(&same, &codes).set_requires_grad(true)
        });
        let bias = trainable::parameters(own, device).1.set_requires_grad(true);
        let gain = tensor(&vec![1.0; factors], &each, device).set_requires_grad(free);
        Self { index, format: spec.format, codes, scales, latent, gain, bias }
    }

    /// The weights of a step.
    fn weight(&self) -> Tensor {
        let scales = &self.scales * self.gain.clamp_min(LEAST_GAIN);
        match &self.latent {
            Some(latent) => rounded(latent, self.format) * scales,
            None => &self.codes * scales,
        }
    }
}

/// The codes of numbers in units of their scale; the gradient passes straight through inside the format's reach.
fn rounded(latent: &Tensor, format: Format) -> Tensor {
    let mut codes = latent.clamp(format.min(), format.max());
    quant::round_in_place(&mut codes, format, 1.0);
    codes
}

/// A network in training.
pub(super) struct Student<'a> {
    network: &'a Network,
    options: Finetuning,
    layers: Vec<Layer>,
    parameters: Vec<Option<(Tensor, Tensor)>>,
    clips: Vec<Option<Tensor>>,
}

impl<'a> Student<'a> {
    /// `stored` as it is, made from `calibrated`.
    pub(super) fn new(calibrated: &Calibrated, stored: &'a StoredNetwork, options: Finetuning, device: Device) -> Self {
        let network = &stored.network;
        let (mut layers, mut parameters, mut clips) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..network.layers.len() {
            let own = stored.layers[index].as_ref();
            if let (Some(own), Some(exact)) = (own, &calibrated.float().layers[index])
                && own.weight.spec.format.takes_scale()
            {
                layers.push(Layer::new(index, own, &exact.weight.values(), options, device));
            }
            parameters.push(own.map(|own| trainable::parameters(own, device)));
            clips.push(trainable::clip(stored, index, true, device));
        }
        Self { network, options, layers, parameters, clips }
    }

    /// What trains it.
    pub(super) fn optimiser(&self) -> Adam {
        let mut adam = Adam::default();
        for layer in &self.layers {
            if layer.gain.requires_grad() {
                adam.add(&layer.gain, self.options.gain_rate);
            }
            adam.add(&layer.bias, self.options.bias_rate);
            if let Some(latent) = &layer.latent {
                adam.add(latent, self.options.weight_rate);
            }
        }
        for clip in self.clips.iter().flatten().filter(|clip| clip.requires_grad()) {
            adam.add(clip, self.options.scale_rate * clip.double_value(&[0]));
        }
        adam
    }

    /// Ends the training of the codes.
    pub(super) fn settle_codes(&mut self) {
        for layer in &mut self.layers {
            if let Some(latent) = layer.latent.take() {
                layer.codes = no_grad(|| rounded(&latent, layer.format));
            }
        }
    }

    /// The weights of the next step.
    pub(super) fn begin_step(&mut self) {
        for layer in &self.layers {
            self.parameters[layer.index] = Some((layer.weight(), layer.bias.shallow_clone()));
        }
    }

    /// The network as it is trained.
    pub(super) fn finished(&mut self, stored: &StoredNetwork) -> StoredNetwork {
        self.settle_codes();
        let mut stored = stored.clone();
        for layer in &self.layers {
            if let Some(own) = &mut stored.layers[layer.index] {
                own.weight.grid = trainable::floats(&layer.codes);
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
