//! Signal to noise of each layer's own output: in float against with its weights, what it reads, or both quantized.
//!
//! Every layer reads what the float network gives it, so a layer's figure is its own and no other's.

use tch::{Kind, Tensor, no_grad};

use super::Calibrated;
use crate::error::Result;
use crate::models::{Folded, Step, walk};
use crate::network::{LayerSpec, Network};
use crate::quant;

/// Signal to noise of one layer's output (its operator's result with the bias, in front of the activation), in decibels;
/// infinite where nothing changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutputNoise {
    /// With its weights quantized.
    pub weights: f64,
    /// With what it reads quantized.
    pub activations: f64,
    /// With both.
    pub both: f64,
}

/// For each of `networks` (the same layers in other formats) a row with one figure a layer with weights. `step` is told after
/// each batch and may end it.
///
/// # Shapes
/// `images`: `[n, c, h, w]` each, normalised.
///
/// # Errors
/// What `step` returns.
pub fn output_noise(
    calibrated: &Calibrated,
    networks: &[Network],
    images: &[&Tensor],
    step: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<Vec<OutputNoise>>> {
    let Some(device) = images.first().map(|images| images.device()) else {
        return Ok(vec![Vec::new(); networks.len()]);
    };
    let float = calibrated.exact(device);
    let network = &float.stored().network;
    let layers = network.layers.len();
    let quantized: Vec<Folded> = networks.iter().map(|network| calibrated.ready(network, device)).collect();
    let sums = vec![vec![[0.0; 4]; layers]; networks.len()];
    let mut beside = Beside { float: &float, quantized: &quantized, sums };
    for images in images {
        let _logits = no_grad(|| walk(network, 0..layers, float.input(images), &mut beside));
        step()?;
    }
    let decibels = |signal: f64, noise: f64| if noise > 0.0 { 10.0 * (signal / noise).log10() } else { f64::INFINITY };
    let of_layer = |[signal, weights, activations, both]: [f64; 4]| OutputNoise {
        weights: decibels(signal, weights),
        activations: decibels(signal, activations),
        both: decibels(signal, both),
    };
    let weighted = network.weighted();
    Ok(beside.sums.iter().map(|sums| weighted.iter().map(|&index| of_layer(sums[index])).collect()).collect())
}

/// A walk of the float network that computes every layer in the other formats beside.
struct Beside<'a> {
    float: &'a Folded,
    quantized: &'a [Folded],
    /// For each network and layer: signal; noise of weights, of activations, of both.
    sums: Vec<Vec<[f64; 4]>>,
}

impl Step for Beside<'_> {
    fn operate(&mut self, index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor {
        let exact = self.float.operate(index, layer, x, second);
        if layer.weight.is_none() {
            return exact;
        }
        let power = |x: Tensor| x.square().sum(Kind::Double).double_value(&[]);
        let signal = power(exact.shallow_clone());
        for (folded, sums) in self.quantized.iter().zip(&mut self.sums) {
            let stored = folded.stored();
            let source = layer.inputs[0];
            let rounded = match stored.network.point(source) {
                Some(point) => quant::activation_in_place(x.copy(), point, stored.scale(source)),
                None => x.shallow_clone(),
            };
            let noise = |folded: &Folded, x: &Tensor| power(folded.operate(index, layer, x, second) - &exact);
            let own = [signal, noise(folded, x), noise(self.float, &rounded), noise(folded, &rounded)];
            sums[index].iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        }
        exact
    }

    fn quantize(&mut self, index: usize, x: Tensor) -> Tensor {
        let point = self.float.stored().network.layers[index].point.as_ref();
        if point.is_some_and(|point| point.nonnegative) { x.relu() } else { x }
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::formats::{Format, QuantSpec};
    use crate::models::Weights;
    use crate::network::{ModelSpec, build};
    use crate::ptq::{Clips, analytic_noise};
    use crate::seed::Seed;

    fn uniform(network: &Network, format: Format) -> Network {
        let (mut network, count) = (network.clone(), network.weighted().len());
        network.assign(&vec![QuantSpec::per_channel(format); count], &vec![QuantSpec::per_tensor(format); count]);
        network
    }

    #[test]
    fn a_layers_output_is_compared_with_its_own_in_float_and_theory_is_near() {
        let spec = ModelSpec { resolution: Some(16), ..ModelSpec::new("resnet8".parse().unwrap()) };
        let network = build(&spec).unwrap();
        let weights = Weights::initialised(&network, Seed::new(1), Device::Cpu);
        tch::manual_seed(1);
        let x = Tensor::randn([16, network.input.c as i64, 16, 16], (Kind::Float, Device::Cpu));
        let calibrated = Calibrated::new(&network, &weights, &[&x], Clips::default());
        let formats: Vec<Format> = ["float32", "int8", "int4", "fp4", "e4m3"].map(|name| name.parse().unwrap()).into();
        let networks: Vec<Network> = formats.iter().map(|&format| uniform(&network, format)).collect();
        let mut batches = 0;
        let found = output_noise(&calibrated, &networks, &[&x, &x], &mut || {
            batches += 1;
            Ok(())
        });
        let found = found.unwrap();
        assert_eq!((batches, found.len(), found[0].len()), (2, 5, network.weighted().len()));
        assert!(found[0].iter().all(|own| own.both.is_infinite()), "{:?}", found[0]);
        // The first layer by hand.
        let (exact, int4) = (calibrated.exact(Device::Cpu), calibrated.ready(&networks[2], Device::Cpu));
        let layer = &network.layers[0];
        let (y, q) = (exact.operate(0, layer, &x, None), int4.operate(0, layer, &int4.input(&x), None));
        let power = |x: Tensor| x.square().sum(Kind::Double).double_value(&[]);
        let by_hand = 10.0 * (power(y.shallow_clone()) / power(q - y)).log10();
        assert!((by_hand - found[2][0].both).abs() < 1e-3, "{by_hand} {:?}", found[2][0]);
        for (at, format) in formats.iter().enumerate().skip(1) {
            let theory = analytic_noise(&calibrated, &networks[at]);
            let mut off = Vec::new();
            for (own, theory) in found[at].iter().zip(&theory) {
                assert!(own.both < own.weights && own.both < own.activations, "{format}: {own:?}");
                assert!(theory.both < theory.weights && theory.both < theory.activations, "{format}: {theory:?}");
                off.push(own.both - theory.both);
            }
            // Independent factors of mean 0 are a model; activations behind a ReLU have a mean.
            let typical = crate::stats::median(&off).unwrap();
            assert!(typical.abs() < 2.0 && off.iter().all(|off| off.abs() < 8.0), "{format}: {off:?}");
        }
    }
}
