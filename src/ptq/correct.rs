//! What quantization shifts on average, taken back: means (and variances) of a layer's outputs brought to the float network's.
//!
//! Layers in order, each on what the corrected layers in front of it give: float and quantized network run side by side.
//! Bias correction: Nagel et al. 2019 (arXiv 1906.04721, section 4.2) by measured means. Batch norms are re-estimated as if they
//! still stood behind their convolutions (Kuzmin et al. 2023, arXiv 2303.17951, section 5.1 do so before folding): a folded one
//! is a factor and an offset of each channel, and the factor goes onto the channel's weight scale exactly.

use tch::{Kind, Tensor, no_grad};

use super::{Calibrated, trainable};
use crate::formats::{Granularity, ScaleKind};
use crate::models::{Folded, Step, walk};
use crate::network::{LayerSpec, Network};
use crate::quant;
use crate::stored::{StoredLayer, StoredNetwork};

/// What is brought to the float network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// The mean of each output channel of every layer with weights: its bias changes.
    Biases,
    /// Mean and variance of each output channel behind which a batch norm stood: its bias and weight scale change.
    BatchNorms,
}

/// Largest factor of a channel, and one over the smallest.
const MOST: f64 = 2.0;

/// Elements that the largest tensor of a pass may have.
const ELEMENTS: usize = 1 << 25;

/// The quantized network, corrected on `images`.
///
/// # Shapes
/// `images`: batches of normalised ones, `[n, c, h, w]`.
pub fn corrected(
    calibrated: &Calibrated,
    quantized: &StoredNetwork,
    images: &[&Tensor],
    way: Correction,
) -> StoredNetwork {
    let mut corrected = quantized.clone();
    let Some(device) = images.first().map(|x| x.device()) else { return corrected };
    let network = &quantized.network;
    let x = some(images, most_images(network));
    let (exact, own) = (calibrated.exact(device), Folded::from_stored(quantized.clone(), device));
    let input = Tensor::cat(&[exact.input(&x), own.input(&x)], 0);
    let changes = network.layers.iter().map(|_| None).collect();
    let mut pair = Pair { exact: &exact, own: &own, way, changes };
    let _logits = no_grad(|| walk(network, 0..network.layers.len(), input, &mut pair));
    for (own, change) in corrected.layers.iter_mut().zip(pair.changes) {
        if let (Some(own), Some(change)) = (own, change) {
            change.apply(own);
        }
    }
    corrected.round_biases();
    corrected
}

/// How many images fit.
fn most_images(network: &Network) -> i64 {
    let largest = network.layers.iter().map(|layer| layer.output.elements()).max().unwrap_or(1);
    (ELEMENTS / largest.max(1)).max(1) as i64
}

/// At most so many images, evenly spread.
fn some(images: &[&Tensor], most: i64) -> Tensor {
    let count: i64 = images.iter().map(|x| x.size()[0]).sum();
    let step = (count as u64).div_ceil(most as u64).max(1) as i64;
    let parts: Vec<Tensor> = images.iter().map(|x| x.slice(0, 0, x.size()[0], step)).collect();
    Tensor::cat(&parts, 0)
}

/// Each channel's factor and what is added behind it.
struct Change {
    factor: Option<Tensor>,
    offset: Tensor,
}

impl Change {
    /// What brings `own` to `exact`, both `[n, c, ...]`: its mean, and its deviation too where `deviations` says.
    fn between(exact: &Tensor, own: &Tensor, deviations: bool) -> Self {
        let moments = |x: &Tensor| {
            let x = x.transpose(0, 1).flatten(1, -1);
            (x.mean_dim([1_i64].as_slice(), false, Kind::Float), x.std_dim([1_i64].as_slice(), false, false))
        };
        let ((wanted, wide), (mean, deviation)) = (moments(exact), moments(own));
        if !deviations {
            return Self { factor: None, offset: wanted - mean };
        }
        // Channels that hold one value alone, by either network, keep their factor.
        let still = wide.minimum(&deviation).le(1e-8);
        let factor =
            (wide / deviation).clamp(1.0 / MOST, MOST).where_self(&still.logical_not(), &Tensor::from(1.0_f32));
        Self { offset: wanted - mean * &factor, factor: Some(factor) }
    }

    fn of(&self, y: &Tensor) -> Tensor {
        let mut shape = vec![1; y.dim()];
        shape[1] = -1;
        let y = match &self.factor {
            Some(factor) => y * factor.view(shape.as_slice()),
            None => y.shallow_clone(),
        };
        y + self.offset.view(shape.as_slice())
    }

    fn apply(&self, own: &mut StoredLayer) {
        if let Some(factor) = &self.factor {
            let factors = trainable::floats(factor);
            own.weight.scales.runs.iter_mut().zip(&factors).for_each(|(scale, factor)| *scale *= factor);
            own.bias.iter_mut().zip(&factors).for_each(|(bias, factor)| *bias *= factor);
        }
        own.bias.iter_mut().zip(trainable::floats(&self.offset)).for_each(|(bias, offset)| *bias += offset);
    }
}

/// A pass of both networks: the float one's tensors are the first half of a batch, the quantized one's the second.
struct Pair<'a> {
    exact: &'a Folded,
    own: &'a Folded,
    way: Correction,
    changes: Vec<Option<Change>>,
}

fn halves(x: &Tensor) -> [Tensor; 2] {
    let count = x.size()[0] / 2;
    [x.narrow(0, 0, count), x.narrow(0, count, count)]
}

impl Pair<'_> {
    fn change(&self, index: usize, layer: &LayerSpec, exact: &Tensor, own: &Tensor) -> Option<Change> {
        let spec = layer.weight?;
        match self.way {
            Correction::Biases => Some(Change::between(exact, own, false)),
            Correction::BatchNorms => {
                layer.norm.as_ref()?;
                let scales = &self.own.stored().layers[index].as_ref()?.weight.scales.runs;
                let one_a_channel = spec.granularity == Granularity::Channel && spec.scale == ScaleKind::Float32;
                let on_scale = one_a_channel && spec.format.takes_scale() && scales.len() == layer.output.c;
                Some(Change::between(exact, own, on_scale))
            }
        }
    }
}

impl Step for Pair<'_> {
    fn operate(&mut self, index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor {
        let ([x, own_x], second) = (halves(x), second.map(halves));
        let [second, own_second] = match &second {
            Some([exact, own]) => [Some(exact), Some(own)],
            None => [None, None],
        };
        let exact = self.exact.operate(index, layer, &x, second);
        let mut own = self.own.operate(index, layer, &own_x, own_second);
        if let Some(change) = self.change(index, layer, &exact, &own) {
            own = change.of(&own);
            self.changes[index] = Some(change);
        }
        Tensor::cat(&[exact, own], 0)
    }

    fn quantize(&mut self, index: usize, x: Tensor) -> Tensor {
        let stored = self.own.stored();
        let Some(point) = &stored.network.layers[index].point else { return x };
        let [exact, own] = halves(&x);
        let exact = if point.nonnegative { exact.relu() } else { exact };
        Tensor::cat(&[exact, quant::activation_in_place(own.copy(), point, stored.scales[index])], 0)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::formats::{Format, QuantSpec};
    use crate::models::{Weights, tensor};
    use crate::network::{ModelSpec, build};
    use crate::ptq::Clips;
    use crate::seed::Seed;
    use crate::stored::StoredWeight;

    fn floats(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).view([-1, 2])
    }

    fn far(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn means_and_deviations_by_hand() {
        // Channel 0: 1, 3 against 2, 2; channel 1: 0, 4 (deviation 2) against 1, 2 (deviation 1/2).
        let (exact, own) = (floats(&[1.0, 0.0, 3.0, 4.0]), floats(&[2.0, 1.0, 2.0, 2.0]));
        let means = Change::between(&exact, &own, false);
        // Means 2 and 2 against 2 and 1.5.
        assert_eq!(Vec::<f32>::try_from(&means.offset).unwrap(), [0.0, 0.5]);
        let both = Change::between(&exact, &own, true);
        // Channel 0 holds one value alone; the factor of channel 1 would be 4.
        assert_eq!(Vec::<f32>::try_from(both.factor.as_ref().unwrap()).unwrap(), [1.0, 2.0]);
        assert_eq!(Vec::<f32>::try_from(&both.offset).unwrap(), [0.0, -1.0]);
        assert_eq!(both.of(&own), floats(&[2.0, 1.0, 2.0, 3.0]));
    }

    #[test]
    fn an_affine_error_is_undone_exactly_and_lies_on_scale_and_bias() {
        let x = Tensor::randn([64, 3, 4, 4], (Kind::Float, Device::Cpu));
        let spec = QuantSpec::per_channel(Format::Int(4));
        let weights: Vec<f32> = (0..6).map(|at| at as f32 - 2.5).collect();
        let layer = StoredLayer { weight: StoredWeight::quantize(weights, &[2, 3], None, spec), bias: vec![0.5, -1.0] };
        let output = |own: &StoredLayer| {
            let weight = tensor(&own.weight.values(), &[2, 3, 1, 1], Device::Cpu);
            x.conv2d(&weight, Some(Tensor::from_slice(&own.bias)), [1, 1], [0, 0], [1, 1], 1)
        };
        let mut wrong = layer.clone();
        wrong.weight.scales.runs.iter_mut().zip([0.8, 1.5]).for_each(|(scale, factor)| *scale *= factor);
        wrong.bias = vec![3.0, 0.0];
        let change = Change::between(&output(&layer), &output(&wrong), true);
        let corrected = change.of(&output(&wrong));
        assert!(far(&corrected, &output(&layer)) < 1e-5);
        change.apply(&mut wrong);
        assert!(far(&output(&wrong), &corrected) < 1e-5, "what is written computes what was seen");
        assert_eq!(wrong.weight.grid, layer.weight.grid, "no code changes");
    }

    fn int8(model: &str) -> (Calibrated, StoredNetwork, Tensor) {
        let spec = ModelSpec { resolution: Some(16), ..ModelSpec::new(model.parse().unwrap()) };
        let mut network = build(&spec).unwrap();
        let weights = Weights::initialised(&network, Seed::new(6), Device::Cpu);
        tch::manual_seed(2);
        let x = Tensor::randn([32, 3, 16, 16], (Kind::Float, Device::Cpu));
        let count = network.weighted().len();
        let int8 = Format::Int(8);
        network.assign(&vec![QuantSpec::per_channel(int8); count], &vec![QuantSpec::per_tensor(int8); count]);
        let calibrated = Calibrated::new(&network, &weights, &[&x], Clips::default());
        let stored = calibrated.quantized(&network);
        (calibrated, stored, x)
    }

    #[test]
    fn layers_that_were_moved_return() {
        let (calibrated, right, x) = int8("resnet8");
        for way in [Correction::Biases, Correction::BatchNorms] {
            let mut wrong = right.clone();
            for own in wrong.layers.iter_mut().flatten() {
                own.bias.iter_mut().enumerate().for_each(|(at, bias)| *bias += 0.3 * (at % 3) as f32);
                if way == Correction::BatchNorms {
                    own.weight.scales.runs.iter_mut().for_each(|scale| *scale *= 1.4);
                }
            }
            // The last layer has no batch norm.
            let last = wrong.layers.len() - 1;
            wrong.layers[last].clone_from(&right.layers[last]);
            let logits = |stored: &StoredNetwork| Folded::from_stored(stored.clone(), Device::Cpu).logits(&x);
            let back = corrected(&calibrated, &wrong, &[&x], way);
            let (before, after) = (far(&logits(&wrong), &logits(&right)), far(&logits(&back), &logits(&right)));
            assert!(after < 0.1 * before, "{way:?}: {before} {after}");
            // Done twice it changes nothing more.
            let twice = corrected(&calibrated, &back, &[&x], way);
            assert!(far(&logits(&twice), &logits(&back)) < 0.02 * before, "{way:?}");
        }
    }
}
