//! Low-rank corrections of rounded weights (LoRC: Wu et al. 2023, ZeroQuant-FP, arXiv 2307.09782): the best approximation of
//! what rounding changed by two matrices of small rank, in int8, as layers of the network. Kept where it helps.

use tch::{Device, Kind, Tensor, no_grad};

use super::calibrated::{Keeper, Sampled};
use super::{Calibrated, ClipRule, Prober};
use crate::error::{Error, Result};
use crate::formats::{Format, QuantSpec};
use crate::models::{Folded, Step, walk};
use crate::network::{LayerSpec, LowRank};
use crate::quant;
use crate::stored::{StoredLayer, StoredNetwork, StoredWeight};

/// Format of both matrices.
const FACTORS: Format = Format::Int(8);

/// The layers that are worth a correction: weights below 8 bits, one group, not the last.
pub fn correctable(stored: &StoredNetwork) -> Vec<String> {
    let layers = &stored.network.layers;
    let narrow = |layer: &LayerSpec| layer.weight.is_some_and(|spec| spec.format.bits() < 8);
    let body = layers[..layers.len().saturating_sub(1)].iter();
    body.filter(|layer| narrow(layer) && layer.largest_rank().is_some()).map(|layer| layer.name.clone()).collect()
}

/// The network with corrections of `rank` (less where a layer has less) beside those of its layers where the distance to the
/// float network on `images` (batches of normalised ones) falls, one layer after the other. Scales of new tensors follow `clip`. `step`
/// is told after each layer of [`correctable`] and may end it.
///
/// # Errors
/// What `step` returns; weights without a decomposition.
pub fn with_corrections(
    calibrated: &Calibrated,
    stored: StoredNetwork,
    images: &[&Tensor],
    (rank, clip): (usize, ClipRule),
    step: &mut dyn FnMut() -> Result<()>,
) -> Result<(StoredNetwork, Vec<LowRank>)> {
    let device = images.first().map_or(Device::Cpu, |images| images.device());
    let prober = Prober::new(calibrated, &stored.network, images);
    let distance = |stored: &StoredNetwork| prober.distance_of(&Folded::from_stored(stored.clone(), device)).divergence;
    let (names, mut least) = (correctable(&stored), distance(&stored));
    let (mut best, mut kept) = (stored, Vec::new());
    for name in names {
        let exact = named(calibrated.float(), &name).and_then(|at| calibrated.float().layers[at].as_ref());
        if let (Some(exact), Some(at)) = (exact, named(&best, &name)) {
            let most = best.network.layers[at].largest_rank().unwrap_or(0);
            let own = LowRank { layer: name, rank: rank.min(most) };
            let mut tried = corrected(&best, at, &own, &exact.weight.values())?;
            calibrate(&mut tried, at, images, clip);
            let found = distance(&tried);
            if found < least {
                (best, least) = (tried, found);
                kept.push(own);
            }
        }
        step()?;
    }
    Ok((best, kept))
}

fn named(stored: &StoredNetwork, name: &str) -> Option<usize> {
    stored.network.layers.iter().position(|layer| layer.name == name)
}

/// The network with a correction beside the layer at index `at`, whose float weights are `exact`; the new tensors have no
/// scales yet.
fn corrected(stored: &StoredNetwork, at: usize, own: &LowRank, exact: &[f32]) -> Result<StoredNetwork> {
    let mut network = stored.network.corrected(own)?;
    let (mut weights, mut activations) = network.assigned();
    let ranks = [at + 1, at + 2].map(|index| network.weighted().iter().position(|&known| known == index));
    for rank in ranks.into_iter().flatten() {
        weights[rank] = QuantSpec::per_channel(FACTORS);
    }
    if let [Some(first), Some(second)] = ranks {
        let format = activations[first].format;
        activations[second] = QuantSpec::per_tensor(if format.is_integer() { FACTORS } else { format });
    }
    network.assign(&weights, &activations);
    let mut layers = stored.layers.clone();
    let [first, second] = match &stored.layers[at] {
        Some(layer) => parts(&layer.weight, exact, own.rank)?,
        None => return Err(Error::Failed(format!("{} has no weights to correct", own.layer))),
    };
    layers.splice(at + 1..at + 1, [Some(first), Some(second), None]);
    let mut scales = stored.scales.clone();
    scales.splice(at..at, [None; 3]);
    Ok(StoredNetwork { network, layers, scales, input_scale: stored.input_scale })
}

/// The two parts of a correction, in int8: to `rank` channels in the form of the layer's weight, and 1x1 from there.
fn parts(weight: &StoredWeight, exact: &[f32], rank: usize) -> Result<[StoredLayer; 2]> {
    let missing: Vec<f32> = exact.iter().zip(weight.values()).map(|(exact, value)| exact - value).collect();
    let rows = weight.shape[0];
    let [u, v] = factors(&missing, rows, rank)?;
    let spec = QuantSpec::per_channel(FACTORS);
    let first: Vec<usize> = [&[rank], &weight.shape[1..]].concat();
    let second: Vec<usize> = weight.shape.iter().enumerate().map(|(at, _)| [rows, rank, 1, 1][at.min(3)]).collect();
    let layer = |values: Vec<f32>, shape: &[usize]| StoredLayer {
        bias: vec![0.0; shape[0]],
        weight: StoredWeight::quantize(values, shape, None, spec),
    };
    Ok([layer(v, &first), layer(u, &second)])
}

/// The matrices `u` `[rows, rank]` and `v` `[rank, columns]` whose product comes nearest to a matrix: its largest singular
/// values with their vectors, a root of each value on both sides (Eckart and Young 1936).
fn factors(matrix: &[f32], rows: usize, rank: usize) -> Result<[Vec<f32>; 2]> {
    let failed = |error: tch::TchError| Error::Failed(format!("the singular values of a weight's rounding: {error}"));
    let matrix = Tensor::from_slice(matrix).view([rows as i64, -1]).to_kind(Kind::Double);
    let (u, values, v) = matrix.f_svd(true, true).map_err(failed)?;
    let rank = rank as i64;
    let roots = values.narrow(0, 0, rank).sqrt();
    let floats = |x: Tensor| Vec::try_from(x.to_kind(Kind::Float).contiguous().view([-1])).map_err(failed);
    Ok([floats(u.narrow(1, 0, rank) * &roots)?, floats((v.narrow(1, 0, rank) * &roots).transpose(0, 1))?])
}

/// Finds the scales of the tensors that the correction of the layer at index `at` brought.
fn calibrate(stored: &mut StoredNetwork, at: usize, images: &[&Tensor], clip: ClipRule) {
    let device = images.first().map_or(Device::Cpu, |images| images.device());
    let ready = Folded::from_stored(stored.clone(), device);
    let mut seen = New { ready: &ready, first: at, sampled: Sampled::new(3, images.len()) };
    for x in images {
        // As far as the sum's input.
        let _unused = no_grad(|| walk(&stored.network, 0..at + 3, ready.input(x), &mut seen));
    }
    let samples = seen.sampled.samples;
    for (index, sample) in (at..at + 3).zip(samples) {
        let point = stored.network.layers[index].point.as_ref().filter(|point| point.has_scale());
        stored.scales[index] = point.map(|point| clip.scale(point.spec.format, point.spec.scale, &sample));
    }
    stored.round_biases();
}

/// A walk that samples the results of three layers and leaves them in float.
struct New<'a> {
    ready: &'a Folded,
    first: usize,
    sampled: Sampled,
}

impl Step for New<'_> {
    fn operate(&mut self, index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor {
        self.ready.operate(index, layer, x, second)
    }

    fn quantize(&mut self, index: usize, x: Tensor) -> Tensor {
        let stored = self.ready.stored();
        match &stored.network.layers[index].point {
            Some(_) if index >= self.first => {
                self.sampled.keep(index - self.first, &x);
                x
            }
            Some(point) => quant::activation_in_place(x, point, stored.scales[index]),
            None => x,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{Convention, Costs};
    use crate::models::Weights;
    use crate::network::{ModelSpec, Network, build};
    use crate::ptq::Clips;
    use crate::seed::Seed;

    #[test]
    fn what_is_left_is_what_the_discarded_singular_values_say() {
        let (rows, columns) = (12, 27);
        let values: Vec<f32> = (0..rows * columns).map(|at| ((at * at * 31 + at) % 97) as f32 / 40.0 - 1.2).collect();
        let matrix = Tensor::from_slice(&values).view([rows as i64, columns as i64]).to_kind(Kind::Double);
        // Squared singular values are the eigenvalues of the Gram matrix, the smallest first.
        let squares = Vec::<f64>::try_from(matrix.matmul(&matrix.transpose(0, 1)).linalg_eigvalsh("L")).unwrap();
        for rank in [1, 3, 8, 12] {
            let [u, v] = factors(&values, rows, rank).unwrap();
            let tensor = |values: &[f32], rows: i64| Tensor::from_slice(values).view([rows, -1]).to_kind(Kind::Double);
            let product = tensor(&u, rows as i64).matmul(&tensor(&v, rank as i64));
            let left = (&matrix - product).square().sum(Kind::Double).double_value(&[]);
            let discarded: f64 = squares[..rows - rank].iter().sum();
            assert!((left - discarded).abs() < 1e-4 * squares[rows - 1], "{rank}: {left} {discarded}");
        }
    }

    fn network(model: &str, format: &str) -> (ModelSpec, Network) {
        let width = if model == "vit_tiny" { 0.125 } else { 0.5 };
        let spec =
            ModelSpec { width, resolution: Some(16), classes: Some(10), ..ModelSpec::new(model.parse().unwrap()) };
        let mut network = build(&spec).unwrap();
        let count = network.weighted().len();
        let weights = QuantSpec::per_channel(format.parse().unwrap());
        let activations = QuantSpec::per_tensor(if format == "fp4" { "fp8" } else { "int8" }.parse().unwrap());
        network.assign(&vec![weights; count], &vec![activations; count]);
        (spec, network)
    }

    #[test]
    fn a_correction_is_kept_where_it_helps_and_its_cost_is_charged_to_the_unit() {
        for (model, format) in [("resnet8", "int3"), ("resnet18", "fp4"), ("vit_tiny", "int2")] {
            let (spec, network) = network(model, format);
            let weights = Weights::initialised(&network, Seed::new(1), Device::Cpu);
            let x = Tensor::randn([16, 3, 16, 16], (Kind::Float, Device::Cpu));
            let calibrated = Calibrated::new(&network, &weights, &[&x], Clips::default());
            let plain = calibrated.quantized(&network);
            let mut told = 0;
            let mut step = || {
                told += 1;
                Ok(())
            };
            let (found, kept) =
                with_corrections(&calibrated, plain.clone(), &[&x], (3, ClipRule::Mse), &mut step).unwrap();
            assert_eq!(told, correctable(&plain).len());
            assert!(!kept.is_empty() && kept.len() <= told, "{model}: {kept:?}");
            let prober = Prober::new(&calibrated, &network, &[&x]);
            let [before, after] = [&plain, &found]
                .map(|stored| prober.distance_of(&Folded::from_stored(stored.clone(), Device::Cpu)).divergence);
            assert!(after < before, "{model}: {before} -> {after}");
            let (mut weights, mut macs) = (0, 0);
            for own in &kept {
                let layer = network.layers.iter().find(|layer| layer.name == own.layer).unwrap();
                let shape = layer.op.weight_shape().unwrap();
                let added = own.rank * (shape[1..].iter().product::<usize>() + shape[0]);
                weights += added as u64;
                macs += (added * layer.output.h * layer.output.w) as u64;
            }
            let [old, new] = [&network, &found.network].map(|network| Costs::of(network, Convention::Full));
            assert_eq!((new.params - old.params, new.macs - old.macs), (weights, macs), "{model}");
            assert!(new.size_mb > old.size_mb + weights as f64 / 1e6, "{model}: codes, and scales beside them");
            // The description builds the same network.
            let mut built = build(&ModelSpec { low_rank: kept, ..spec }).unwrap();
            let (weights, activations) = found.network.assigned();
            built.assign(&weights, &activations);
            assert_eq!(built, found.network, "{model}");
        }
    }
}
