//! Cross-layer equalisation: channels of one tensor brought to one size, so that they share a scale without loss.
//!
//! A ReLU, a sum, a pooling pass a positive factor on: whoever makes a channel may make it larger when whoever reads it
//! divides (Nagel et al. 2019, arXiv 1906.04721, over pairs of layers). Here all tensors that a sum joins share the factors
//! of their channels, so residual streams take part; sizes are those of activations, as in SmoothQuant (Xiao et al. 2023,
//! arXiv 2211.10438). In float the network gives what it gave.

use tch::{Kind, Tensor, no_grad};

use super::calibrated::Seen;
use crate::models::Folded;
use crate::network::{Act, Network, Op, Source};
use crate::stored::{StoredNetwork, StoredWeight};

/// Largest factor, and one over the smallest.
const MOST: f64 = 16.0;

/// Which channels of which tensors share a factor.
#[derive(Debug)]
struct Channels {
    /// For the input and each layer's result, the set of each channel.
    tensors: Vec<Vec<usize>>,
    /// The set that a set was joined to.
    joined: Vec<usize>,
    /// Sets whose factor must be 1.
    fixed: Vec<bool>,
}

impl Channels {
    fn of(network: &Network) -> Self {
        let mut channels = Self { tensors: Vec::new(), joined: Vec::new(), fixed: Vec::new() };
        let input = channels.fresh(network.input.c, true);
        channels.tensors.push(input);
        for layer in &network.layers {
            let read = |source: Source| match source {
                Source::Input => 0,
                Source::Layer(index) => index + 1,
            };
            let first = channels.tensors[read(layer.inputs[0])].clone();
            let homogeneous = matches!(layer.act, Act::None | Act::Relu);
            let own = match layer.op {
                Op::Conv(_) | Op::Linear { .. } => channels.fresh(layer.output.c, !homogeneous),
                Op::Add if homogeneous => {
                    let second = channels.tensors[read(layer.inputs[1])].clone();
                    first.iter().zip(&second).for_each(|(&a, &b)| channels.join(a, b));
                    first
                }
                Op::MaxPool { .. } | Op::GlobalAvgPool if homogeneous => first,
                Op::PadShortcut { .. } => {
                    let missing = layer.output.c - first.len();
                    let front = channels.fresh(missing / 2, false);
                    let back = channels.fresh(missing - missing / 2, false);
                    [front, first, back].concat()
                }
                _ => {
                    let read: Vec<usize> =
                        layer.inputs.iter().flat_map(|&source| channels.tensors[read(source)].clone()).collect();
                    read.into_iter().for_each(|set| channels.fix(set));
                    channels.fresh(layer.output.c, true)
                }
            };
            channels.tensors.push(own);
        }
        if let Some(logits) = channels.tensors.last().cloned() {
            logits.into_iter().for_each(|set| channels.fix(set));
        }
        channels
    }

    fn fresh(&mut self, count: usize, fixed: bool) -> Vec<usize> {
        let from = self.joined.len();
        self.joined.extend(from..from + count);
        self.fixed.extend(std::iter::repeat_n(fixed, count));
        (from..from + count).collect()
    }

    fn root(&self, mut set: usize) -> usize {
        while self.joined[set] != set {
            set = self.joined[set];
        }
        set
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.joined[b] = a;
        self.fixed[a] |= self.fixed[b];
    }

    fn fix(&mut self, set: usize) {
        let root = self.root(set);
        self.fixed[root] = true;
    }
}

/// The same float network with channels brought `strength` (0 to 1) of the way to one size, by what `images` show.
pub fn equalised(float: &Folded, images: &[&Tensor], strength: f64) -> StoredNetwork {
    let network = &float.stored().network;
    let channels = Channels::of(network);
    let mut sizes = Seen::new(float, Sizes((0..=network.layers.len()).map(|_| None).collect()));
    images.iter().for_each(|x| sizes.run(x));
    // How much of its tensor's largest size a set reaches, at most.
    let mut reach = vec![0.0_f64; channels.joined.len()];
    for (sets, sizes) in channels.tensors.iter().zip(&sizes.keeper.0) {
        let Some(sizes) = sizes else { continue };
        let sizes: Vec<f64> = Vec::try_from(sizes.to_kind(Kind::Double)).unwrap_or_default();
        let top = sizes.iter().copied().fold(0.0, f64::max);
        if top > 0.0 && sizes.len() == sets.len() {
            for (&set, size) in sets.iter().zip(sizes) {
                let root = channels.root(set);
                reach[root] = reach[root].max(size / top);
            }
        }
    }
    let factor = |set: usize| {
        let root = channels.root(set);
        let wanted = if channels.fixed[root] || reach[root] <= 0.0 { 1.0 } else { reach[root].powf(-strength) };
        wanted.min(MOST) as f32
    };
    let factors: Vec<Vec<f32>> =
        channels.tensors.iter().map(|sets| sets.iter().map(|&set| factor(set)).collect()).collect();
    rescaled(float.stored(), &factors)
}

/// The network with the channels of each tensor (the input's first, then each layer's result) times these factors.
pub(super) fn rescaled(stored: &StoredNetwork, factors: &[Vec<f32>]) -> StoredNetwork {
    let mut scaled = stored.clone();
    for (index, layer) in stored.network.layers.iter().enumerate() {
        let made = &factors[index + 1];
        if let (Some(own), Op::LayerNorm) = (scaled.layers[index].as_mut(), layer.op) {
            let gains = own.weight.grid.iter_mut().zip(made);
            gains.chain(own.bias.iter_mut().zip(made)).for_each(|(part, factor)| *part *= factor);
        }
        let Some(own) = scaled.layers[index].as_mut().filter(|_| layer.weight.is_some()) else { continue };
        let read = match layer.inputs[0] {
            Source::Input => &factors[0],
            Source::Layer(from) => &factors[from + 1],
        };
        let shape = own.weight.shape.clone();
        let (inputs, taps) = (shape[1], shape[2..].iter().product::<usize>());
        let groups = (read.len() / inputs.max(1)).max(1);
        let mut values = own.weight.values();
        for (at, value) in values.iter_mut().enumerate() {
            let (output, input) = (at / (inputs * taps), at / taps % inputs);
            let group = output * groups / shape[0];
            *value *= made[output] / read[group * inputs + input];
        }
        own.weight = StoredWeight::quantize(values, &shape, None, own.weight.spec);
        own.bias.iter_mut().zip(made).for_each(|(bias, factor)| *bias *= factor);
    }
    scaled
}

/// The root mean square of each channel, largest over the batches.
struct Sizes(Vec<Option<Tensor>>);

impl super::calibrated::Keeper for Sizes {
    fn keep(&mut self, tensor: usize, x: &Tensor) {
        if x.dim() != 4 {
            return;
        }
        let own = no_grad(|| x.square().mean_dim([0_i64, 2, 3].as_slice(), false, Kind::Float).sqrt());
        self.0[tensor] = Some(match &self.0[tensor] {
            Some(known) => known.maximum(&own),
            None => own,
        });
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::models::Weights;
    use crate::network::{ModelSpec, build};
    use crate::quant::Ranges;
    use crate::seed::Seed;

    #[test]
    fn the_float_network_gives_what_it_gave_and_its_channels_are_closer() {
        for model in ["resnet20", "mobilenet_v2", "efficientnet_lite0"] {
            let spec = ModelSpec { resolution: Some(32), classes: Some(10), ..ModelSpec::new(model.parse().unwrap()) };
            let network = build(&spec).unwrap();
            let weights = Weights::initialised(&network, Seed::new(3), Device::Cpu);
            let float = Folded::new(&network, &weights, &Ranges::default());
            let x = Tensor::randn([4, 3, 32, 32], (Kind::Float, Device::Cpu));
            let same = Folded::from_stored(equalised(&float, &[&x], 0.5), Device::Cpu);
            let (before, after) = (float.logits(&x), same.logits(&x));
            let far = (&before - &after).abs().max().double_value(&[]) / before.abs().max().double_value(&[]);
            assert!(far < 1e-4, "{model}: {far}");
            assert!(same.stored() != float.stored(), "{model}");
        }
    }

    #[test]
    fn a_stage_of_a_residual_network_shares_its_factors() {
        let network = build(&ModelSpec::new("resnet20".parse().unwrap())).unwrap();
        let channels = Channels::of(&network);
        let at = |name: &str| 1 + network.layers.iter().position(|layer| layer.name == name).unwrap();
        let root = |name: &str, channel: usize| channels.root(channels.tensors[at(name)][channel]);
        assert_eq!(root("conv1", 3), root("layer1.2.conv2", 3));
        // Option A puts 16 channels into the middle of 32.
        assert_eq!(root("conv1", 3), root("layer2.0.conv2", 11));
        assert_ne!(root("layer1.0.conv1", 3), root("conv1", 3));
        assert!(channels.fixed[channels.root(channels.tensors[at("linear")][0])]);
    }
}
