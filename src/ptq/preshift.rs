//! Channels of a tensor moved by powers of two, so that a small float of one scale reaches all of them.
//!
//! Liu et al. 2023 (LLM-FP4, arXiv 2310.16836, section 4): a channel's exponent bias, rounded, less the tensor's own. Whoever
//! makes the tensor makes its channels larger by these powers of two; whoever reads it has weights that are as much smaller.
//! In float nothing changes, to the last bit. The paper multiplies weights that are quantized already, which takes two
//! bits more for every input channel; here the float weights are multiplied and quantized after, and what results is an
//! ordinary network.

use tch::{Device, Tensor};

use super::Calibrated;
use super::equalise::rescaled;
use super::group::rounded;
use super::rows::Rows;
use crate::error::Result;
use crate::formats::{Format, MiniFloat, QuantSpec};
use crate::models::Folded;
use crate::network::{Act, Network, Op, Point, Source};
use crate::stored::StoredWeight;

/// How far the tensor's own bias is tried above that of its largest channel.
const TRIED: std::ops::RangeInclusive<i32> = 0..=3;

/// Values that a clip is found from.
const SAMPLE: i64 = 1 << 16;

/// What was done to a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Shifted {
    /// The layer that makes it.
    pub layer: String,
    /// Each channel's power of two.
    pub exponents: Vec<i32>,
    /// Error of its readers' outputs as a share of those, before and after.
    pub error: [f64; 2],
}

/// The float network with the channels of its tensors shifted for the formats of `network`, and which tensors those are: all
/// in small floats that a layer with weights or a layer norm makes, with a ReLU or nothing behind, and that only layers
/// with weights read, where the readers' outputs come nearer to float for it. `step` is told after each layer and may end it.
///
/// # Shapes
/// `images`: batches of normalised ones, `[n, c, h, w]`.
///
/// # Errors
/// What `step` returns.
pub fn preshifted(
    calibrated: &Calibrated,
    network: &Network,
    images: &[&Tensor],
    step: &mut dyn FnMut() -> Result<()>,
) -> Result<(Calibrated, Vec<Shifted>)> {
    let device = images.first().map_or(Device::Cpu, |x| x.device());
    let rows = Rows::of(&calibrated.exact(device), images, false);
    let count = |source| network.shape(source).c;
    let layers = (0..network.layers.len()).map(Source::Layer);
    let mut factors: Vec<Vec<f32>> =
        std::iter::once(Source::Input).chain(layers).map(|source| vec![1.0; count(source)]).collect();
    let mut all = Vec::new();
    for (index, layer) in network.layers.iter().enumerate() {
        step()?;
        let Some(readers) = readers(network, index) else { continue };
        let Some(point) = &layer.point else { continue };
        let Format::Mini(format) = point.spec.format else { continue };
        let readers: Vec<Reading> =
            readers.iter().filter_map(|&at| Reading::new(calibrated, network, at, &rows)).collect();
        let Some((exponents, error)) = best(calibrated, (format, point), &readers) else { continue };
        factors[index + 1] = exponents.iter().map(|&exponent| 2_f32.powi(exponent)).collect();
        all.push(Shifted { layer: layer.name.clone(), exponents, error });
    }
    let float = Folded::from_stored(rescaled(calibrated.float(), &factors), device);
    Ok((Calibrated::of(&float, images, calibrated.clips()), all))
}

/// The layers that read a layer's result, where its channels can be shifted.
fn readers(network: &Network, index: usize) -> Option<Vec<usize>> {
    let layer = &network.layers[index];
    let makes = matches!((layer.op, layer.act), (Op::Conv(_) | Op::Linear { .. }, Act::None | Act::Relu))
        || layer.op == Op::LayerNorm && layer.act == Act::None;
    let reads = |other: &usize| network.layers[*other].inputs.contains(&Source::Layer(index));
    let readers: Vec<usize> = (0..network.layers.len()).filter(reads).collect();
    let multiply = readers.iter().all(|&reader| network.layers[reader].weight.is_some());
    (makes && multiply && !readers.is_empty()).then_some(readers)
}

/// A layer that reads the tensor.
struct Reading<'a> {
    rows: &'a Rows,
    float: Vec<f32>,
    shape: Vec<usize>,
    spec: QuantSpec,
    /// Channels of the tensor that one group reads.
    channels: usize,
}

impl<'a> Reading<'a> {
    fn new(calibrated: &Calibrated, network: &Network, index: usize, rows: &'a [Option<Rows>]) -> Option<Self> {
        let weight = &calibrated.float().layers[index].as_ref()?.weight;
        let (float, shape) = (weight.values(), weight.shape.clone());
        Some(Self {
            rows: rows[index].as_ref()?,
            float,
            channels: shape[1],
            shape,
            spec: network.layers[index].weight?,
        })
    }

    /// The rows with the tensor's channels times their factors.
    fn scaled(&self, factors: &[f32]) -> Tensor {
        let factors = Tensor::from_slice(factors).to_device(self.rows.inputs.device());
        self.rows.scaled(&factors, self.channels as i64)
    }

    /// The weights for those rows, quantized.
    fn weights(&self, calibrated: &Calibrated, factors: &[f32]) -> StoredWeight {
        let taps = self.shape[2..].iter().product::<usize>();
        let groups = (factors.len() / self.channels).max(1);
        let each = self.shape[0] / groups;
        let mut values = self.float.clone();
        for (at, value) in values.iter_mut().enumerate() {
            let (output, input) = (at / (self.channels * taps), at / taps % self.channels);
            *value /= factors[output / each * self.channels + input];
        }
        if !self.spec.format.takes_scale() {
            return StoredWeight::quantize(values, &self.shape, None, self.spec);
        }
        let scales = calibrated.clips().weights.scales(&values, &self.shape, &self.spec);
        StoredWeight::under(values, &self.shape, self.spec, scales)
    }
}

/// The exponents of the channels with the smallest error, and that error without and with them; `None` where no shift
/// helps.
fn best(
    calibrated: &Calibrated,
    (format, point): (MiniFloat, &Point),
    readers: &[Reading],
) -> Option<(Vec<i32>, [f64; 2])> {
    let first = readers.first()?;
    let largest = first.rows.largest(first.channels as i64);
    let error = |exponents: &[i32]| -> f64 {
        let factors: Vec<f32> = exponents.iter().map(|&exponent| 2_f32.powi(exponent)).collect();
        let seen = sample(&first.scaled(&factors));
        let rule = calibrated.clips().activations;
        let scale = point.has_scale().then(|| rule.scale(point.spec.format, point.spec.scale, &seen));
        let of = |reader: &Reading| {
            let inputs = rounded(&reader.scaled(&factors), point, scale);
            reader.rows.error(&inputs, &reader.weights(calibrated, &factors))
        };
        readers.iter().map(of).sum()
    };
    let before = error(&vec![0; largest.len()]);
    let tried = TRIED.map(|above| exponents(format, &largest, above));
    let found = tried.filter(|tried| tried.iter().any(|&exponent| exponent != 0)).map(|tried| (error(&tried), tried));
    let (after, exponents) = found.min_by(|a, b| a.0.total_cmp(&b.0))?;
    (after < before).then_some((exponents, [before, after]))
}

/// Some of the values, those of all channels.
fn sample(rows: &Tensor) -> Vec<f32> {
    let flat = rows.flatten(0, -1);
    let count = flat.size()[0];
    let part = flat.slice(0, 0, count, (count / SAMPLE).max(1) | 1);
    Vec::try_from(part.contiguous().to_device(Device::Cpu)).unwrap_or_default()
}

/// Each channel's exponent: its rounded bias less the tensor's, which lies `above` that of the largest channel, within what
/// the format's exponent counts to. Channels that hold nothing stay.
fn exponents(format: MiniFloat, largest: &[f64], above: i32) -> Vec<i32> {
    let most = (1 << format.exponent) - 1;
    let bias = |reach: f64| format.bias_for(reach).round() as i32;
    let own = bias(largest.iter().copied().fold(f64::MIN_POSITIVE, f64::max)) + above;
    largest.iter().map(|&reach| if reach > 0.0 { (bias(reach) - own).clamp(0, most) } else { 0 }).collect()
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "powers of two are exact")]
mod tests {
    use rand::RngExt;
    use tch::Kind;

    use super::*;
    use crate::models::Weights;
    use crate::network::{ModelSpec, build};
    use crate::ptq::{ClipRule, Clips};
    use crate::seed::Seed;

    /// A network in fp4 with the channels of its weights spread over nine binades.
    fn spread(model: &str) -> (Network, Calibrated, Tensor) {
        let spec = ModelSpec { resolution: Some(32), classes: Some(10), ..ModelSpec::new(model.parse().unwrap()) };
        let mut network = build(&ModelSpec { depth: model.contains("vit").then_some(2), ..spec }).unwrap();
        let mut rng = Seed::new(2).rng();
        let weights = Weights::initialised(&network, Seed::new(1), Device::Cpu);
        tch::manual_seed(11);
        let x = Tensor::randn([32, 3, 32, 32], (Kind::Float, Device::Cpu));
        let count = network.weighted().len();
        let fp4 = "fp4".parse::<Format>().unwrap();
        network.assign(&vec![QuantSpec::per_channel(fp4); count], &vec![QuantSpec::per_tensor(fp4); count]);
        let calibrated = Calibrated::new(&network, &weights, &[&x], Clips::default());
        let mut stored = calibrated.float().clone();
        for own in stored.layers.iter_mut().flatten() {
            let channels = own.bias.len();
            let row = own.weight.grid.len() / channels;
            let factors: Vec<f32> = (0..channels).map(|_| rng.random_range(-6.0_f32..3.0).exp2()).collect();
            own.weight.grid.iter_mut().enumerate().for_each(|(at, value)| *value *= factors[at / row]);
        }
        let calibrated = Calibrated::of(&Folded::from_stored(stored, Device::Cpu), &[&x], Clips::default());
        (network, calibrated, x)
    }

    #[test]
    fn the_float_network_gives_what_it_gave_to_the_last_bit() {
        for model in ["resnet8", "vit_tiny", "mobilenet_v2"] {
            let (network, calibrated, x) = spread(model);
            let (float, shifted) = preshifted(&calibrated, &network, &[&x], &mut || Ok(())).unwrap();
            // In MobileNetV2 a ReLU6 stands behind all but the projections, whose results are added or read by a layer.
            assert!(!shifted.is_empty(), "{model}");
            assert!(shifted.iter().all(|own| own.error[1] < own.error[0]));
            let moved = |own: &Shifted| own.exponents.iter().all(|&exponent| (0..=3).contains(&exponent));
            assert!(shifted.iter().all(moved), "{model}: {shifted:?}");
            let far = (float.exact(Device::Cpu).logits(&x) - calibrated.exact(Device::Cpu).logits(&x))
                .abs()
                .max()
                .double_value(&[]);
            assert_eq!(far, 0.0, "{model}");
        }
    }

    #[test]
    fn sums_keep_their_channels() {
        let network = build(&ModelSpec::new("resnet8".parse().unwrap())).unwrap();
        let can = |name: &str| readers(&network, network.layers.iter().position(|layer| layer.name == name).unwrap());
        assert!(can("layer1.0.conv1").is_some());
        for name in ["conv1", "layer1.0.conv2", "layer1.0.add", "linear", "avgpool"] {
            assert!(can(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_spread_of_nine_binades_gains_two_decibels() {
        let fp4 = "fp4".parse::<Format>().unwrap();
        let Format::Mini(mini) = fp4 else { panic!("a small float") };
        let mut rng = Seed::new(8).rng();
        let channels = 256;
        tch::manual_seed(5);
        let factors: Vec<f32> = (0..channels).map(|_| rng.random_range(-6.0_f32..3.0).exp2()).collect();
        let options = (Kind::Float, Device::Cpu);
        let inputs = Tensor::randn([1, 2048, channels], options) * Tensor::from_slice(&factors);
        let weights: Vec<f32> = Vec::try_from(Tensor::randn([64 * channels], options)).unwrap();
        let shape = vec![64, channels as usize];
        let float = StoredWeight::quantize(weights.clone(), &shape, None, QuantSpec::per_tensor(Format::Float32));
        let rows = Rows::new(inputs, &float, None);
        // The activation alone is in fp4.
        let spec = QuantSpec::per_channel(Format::Float32);
        let reader = Reading { rows: &rows, float: weights, shape, spec, channels: channels as usize };
        let network = build(&ModelSpec::new("resnet8".parse().unwrap())).unwrap();
        let none = Weights::initialised(&network, Seed::new(1), Device::Cpu);
        for rule in [ClipRule::Mse, ClipRule::MinMax] {
            let clips = Clips { weights: rule, activations: rule, ..Clips::default() };
            let calibrated = Calibrated::new(&network, &none, &[], clips);
            let point = Point { spec: QuantSpec::per_tensor(fp4), nonnegative: false, decided_by: 0 };
            let (exponents, error) = best(&calibrated, (mini, &point), &[reader_of(&reader)]).unwrap();
            let [before, after] = error.map(|share| -10.0 * share.log10());
            // The paper's check, computed apart from this code: 15.36 -> 18.45.
            assert!(after - before > 2.0 && (13.5..16.5).contains(&before), "{rule}: {before} -> {after}");
            assert!(exponents.contains(&3) && exponents.contains(&0), "{exponents:?}");
        }
    }

    fn reader_of<'a>(reader: &Reading<'a>) -> Reading<'a> {
        Reading { float: reader.float.clone(), shape: reader.shape.clone(), ..*reader }
    }

    #[test]
    fn exponents_follow_the_papers_formula() {
        let Format::Mini(fp4) = "fp4".parse::<Format>().unwrap() else { panic!("a small float") };
        // Biases 1 + log2(6 / max): 1, 2, 3.58, 7.64 rounded to 1, 2, 4, 8, less the largest channel's.
        assert_eq!(exponents(fp4, &[6.0, 3.0, 1.0, 0.06, 0.0], 0), [0, 1, 3, 3, 0]);
        assert_eq!(exponents(fp4, &[6.0, 3.0, 1.0, 0.06, 0.0], 1), [0, 0, 2, 3, 0]);
    }
}
