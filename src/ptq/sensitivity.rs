//! How much a network's output suffers when some of its tensors are quantized.
//!
//! The output is compared with the float network's: Kullback-Leibler divergence of the predicted classes and signal to noise
//! of the logits, over images without labels; and cross entropy, with the classes that the float network sees unless labels
//! are given. What stands in front of the first change is computed once and kept.

use tch::{Device, Kind, Reduction, Tensor};

use super::Calibrated;
use crate::models::{Folded, blocks};
use crate::network::Network;

/// How far an output lies from the float network's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distance {
    /// Mean divergence of the predicted classes, in nats.
    pub divergence: f64,
    /// Signal to noise of the logits, in decibels.
    pub sqnr_db: f64,
    /// By how much the mean cross entropy is greater than the float network's, in nats.
    pub loss_change: f64,
}

/// Measures networks that differ little from one base.
#[derive(Debug)]
pub struct Prober<'a> {
    calibrated: &'a Calibrated,
    device: Device,
    base: Network,
    blocks: Vec<std::ops::Range<usize>>,
    batches: Vec<Batch>,
}

#[derive(Debug)]
struct Batch {
    images: Tensor,
    /// The float network's logits.
    exact: Tensor,
    /// The class of each image.
    labels: Tensor,
    /// What each block of the base reads.
    inputs: Vec<Tensor>,
}

impl<'a> Prober<'a> {
    /// Runs the base (`network` with its formats) and the float network on `images`, batches of normalised ones.
    pub fn new(calibrated: &'a Calibrated, network: &Network, images: &[&Tensor]) -> Self {
        let device = images.first().map_or(Device::Cpu, |images| images.device());
        let blocks = blocks(network);
        let (ready, float) = (calibrated.ready(network, device), calibrated.exact(device));
        let batch = |images: &&Tensor| {
            let mut inputs = vec![ready.input(images)];
            for block in &blocks[..blocks.len() - 1] {
                let next = ready.part(block.clone(), &inputs[inputs.len() - 1]);
                inputs.push(next);
            }
            let exact = float.logits(images);
            Batch { images: images.shallow_clone(), labels: exact.argmax(-1, false), exact, inputs }
        };
        let batches = images.iter().map(batch).collect();
        Self { calibrated, device, base: network.clone(), blocks, batches }
    }

    /// The same with labels `[n]` for each batch of images, instead of the classes that the float network sees.
    #[must_use]
    pub fn labelled(mut self, labels: &[&Tensor]) -> Self {
        for (batch, labels) in self.batches.iter_mut().zip(labels) {
            batch.labels = labels.shallow_clone();
        }
        self
    }

    /// The distance of a network in other formats than the base's from the float network.
    pub fn distance(&self, network: &Network) -> Distance {
        let ready = self.calibrated.ready(network, self.device);
        let from = self.first_change(network);
        let logits = |batch: &Batch| match from {
            None => ready.logits(&batch.images),
            Some(block) => ready.part(self.blocks[block].start..network.layers.len(), &batch.inputs[block]),
        };
        self.mean(&logits)
    }

    /// The distance of a network that is ready.
    pub fn distance_of(&self, ready: &Folded) -> Distance {
        self.mean(&|batch| ready.logits(&batch.images))
    }

    fn mean(&self, logits: &dyn Fn(&Batch) -> Tensor) -> Distance {
        let (mut divergence, mut signal, mut noise, mut loss, mut count) = (0.0, 0.0, 0.0, 0.0, 0);
        for batch in &self.batches {
            let own = logits(batch);
            let sum = |x: Tensor| x.sum(Kind::Double).double_value(&[]);
            signal += sum(batch.exact.square());
            noise += sum((&own - &batch.exact).square());
            let exact = batch.exact.log_softmax(-1, Kind::Float);
            divergence += sum(exact.exp() * (&exact - own.log_softmax(-1, Kind::Float)));
            let entropy = |logits: &Tensor| {
                sum(logits.cross_entropy_loss(&batch.labels, None::<&Tensor>, Reduction::Sum, -100, 0.0))
            };
            loss += entropy(&own) - entropy(&batch.exact);
            count += batch.images.size()[0];
        }
        let sqnr_db = if noise > 0.0 { 10.0 * (signal / noise).log10() } else { f64::INFINITY };
        let count = count.max(1) as f64;
        Distance { divergence: divergence / count, sqnr_db, loss_change: loss / count }
    }

    /// The block that holds the first layer in other formats; `None` where the image itself is quantized otherwise.
    fn first_change(&self, network: &Network) -> Option<usize> {
        if network.input_point != self.base.input_point {
            return None;
        }
        let changed = network.layers.iter().zip(&self.base.layers).position(|(own, base)| own != base);
        let changed = changed.unwrap_or(network.layers.len() - 1);
        self.blocks.iter().position(|block| block.contains(&changed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{Format, QuantSpec};
    use crate::models::Weights;
    use crate::network::{ModelSpec, build};
    use crate::ptq::Clips;
    use crate::seed::Seed;

    #[test]
    fn kept_inputs_change_no_distance() {
        let spec = ModelSpec { resolution: Some(16), ..ModelSpec::new("resnet8".parse().unwrap()) };
        let network = build(&spec).unwrap();
        let weights = Weights::initialised(&network, Seed::new(1), Device::Cpu);
        let c = network.input.c as i64;
        let x = Tensor::randn([8, c, 16, 16], (Kind::Float, Device::Cpu));
        let calibrated = Calibrated::new(&network, &weights, &[&x], Clips::default());
        let count = network.weighted().len();
        let with = |rank: usize, format: Format| {
            let mut formats = vec![Format::Int(8); count];
            formats[rank] = format;
            let mut network = network.clone();
            let weights: Vec<_> = formats.iter().map(|&format| QuantSpec::per_channel(format)).collect();
            let activations: Vec<_> = formats.iter().map(|&format| QuantSpec::per_tensor(format)).collect();
            network.assign(&weights, &activations);
            network
        };
        let base = with(0, Format::Int(8));
        let prober = Prober::new(&calibrated, &base, &[&x]);
        for rank in 0..count {
            let other = with(rank, Format::Int(3));
            let whole = prober.distance_of(&calibrated.ready(&other, Device::Cpu));
            let kept = prober.distance(&other);
            assert!((kept.divergence - whole.divergence).abs() < 1e-9, "{rank}: {kept:?} {whole:?}");
            assert!(kept.sqnr_db < prober.distance(&base).sqnr_db, "{rank}");
        }
    }

    #[test]
    fn the_loss_changes_by_what_the_logits_say() {
        let network = build(&ModelSpec { resolution: Some(16), ..ModelSpec::new("resnet8".parse().unwrap()) }).unwrap();
        let weights = Weights::initialised(&network, Seed::new(1), Device::Cpu);
        let x = Tensor::randn([8, network.input.c as i64, 16, 16], (Kind::Float, Device::Cpu));
        let calibrated = Calibrated::new(&network, &weights, &[&x], Clips::default());
        let count = network.weighted().len();
        let mut int2 = network.clone();
        int2.assign(
            &vec![QuantSpec::per_channel(Format::Int(2)); count],
            &vec![QuantSpec::per_tensor(Format::Float32); count],
        );
        let (exact, own) = (calibrated.exact(Device::Cpu).logits(&x), calibrated.ready(&int2, Device::Cpu).logits(&x));
        let entropy = |logits: &Tensor, labels: &Tensor| {
            -logits
                .log_softmax(-1, Kind::Double)
                .gather(1, &labels.unsqueeze(-1), false)
                .mean(Kind::Double)
                .double_value(&[])
        };
        let given = Tensor::from_slice(&[0_i64, 1, 2, 3, 4, 5, 6, 7]);
        for (prober, labels) in [
            (Prober::new(&calibrated, &network, &[&x]), exact.argmax(-1, false)),
            (Prober::new(&calibrated, &network, &[&x]).labelled(&[&given]), given),
        ] {
            let expected = entropy(&own, &labels) - entropy(&exact, &labels);
            let found = prober.distance(&int2).loss_change;
            assert!((found - expected).abs() < 2e-6 && expected.abs() > 1e-4, "{found} {expected}");
            assert!(prober.distance(&network.in_float()).loss_change.abs() < 1e-9);
        }
    }
}
