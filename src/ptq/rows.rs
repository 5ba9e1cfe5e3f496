//! What each layer with weights multiplies, by the float network: rows of its input, one for each of some places.
//!
//! A convolution is a product of patches with weights, so its error under any quantizers can be found on rows alone.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor, no_grad};

use crate::models::{Folded, Step, tensor, walk};
use crate::network::{LayerSpec, Op};
use crate::seed::Seed;
use crate::stored::{StoredLayer, StoredWeight};

/// Images that rows are taken from.
const IMAGES: i64 = 256;

/// The same where gradients weigh them, few of which are large.
const WEIGHED_IMAGES: i64 = 1024;

/// Images of one pass.
const PASS: i64 = 16;

/// Rows of an image: places of its map.
const PLACES: i64 = 4;

/// The rows of one layer.
#[derive(Debug)]
pub(super) struct Rows {
    /// `[groups, rows, k]`, `k` the weights of an output channel.
    pub(super) inputs: Tensor,
    /// What a squared error of each output counts; `[groups, rows, c_out / groups]`; all alike where there is none.
    importance: Option<Tensor>,
    /// The float network's outputs without bias, `[groups, rows, c_out / groups]`.
    target: Tensor,
    /// Sum of the squared outputs as they count.
    energy: f64,
}

impl Rows {
    /// The rows of every layer with weights; `None` for the others. With `fisher` a squared error counts by the squared
    /// gradient of the loss at that output (the diagonal of Fisher's matrix; Liu et al. 2023, arXiv 2310.16836, equation
    /// 24), the loss being the cross-entropy of classes drawn from what the network predicts: no labels.
    ///
    /// # Shapes
    /// `images`: batches of normalised ones, `[n, c, h, w]`.
    pub(super) fn of(float: &Folded, images: &[&Tensor], fisher: bool) -> Vec<Option<Self>> {
        let network = &float.stored().network;
        let mut capture = Capture::new(float, fisher);
        let count: i64 = images.iter().map(|x| x.size()[0]).sum();
        let step = (count / if fisher { WEIGHED_IMAGES } else { IMAGES }).max(1);
        for batch in images {
            for x in batch.slice(0, 0, batch.size()[0], step).split(PASS, 0) {
                capture.run(&x);
            }
        }
        let mut parts = capture.inputs.into_iter().zip(capture.importance);
        let rows = |(layer, own): (&LayerSpec, &Option<StoredLayer>)| {
            let (inputs, importance) = parts.next()?;
            let own = own.as_ref().filter(|_| layer.weight.is_some())?;
            Some(Self::new(Tensor::cat(&inputs, 1), &own.weight, fisher.then(|| Tensor::cat(&importance, 1))))
        };
        network.layers.iter().zip(&float.stored().layers).map(rows).collect()
    }

    /// The rows of a layer with these float weights.
    pub(super) fn new(inputs: Tensor, float: &StoredWeight, importance: Option<Tensor>) -> Self {
        // Their mean is 1, so that only differences count.
        let importance = importance.and_then(|squares| {
            let mean = squares.mean(Kind::Double).double_value(&[]);
            (mean > 0.0 && mean.is_finite()).then(|| squares / mean)
        });
        let target = product(&inputs, &float.values(), &float.shape);
        let mut rows = Self { inputs, importance, target, energy: 1.0 };
        let energy: f64 = rows.squares(&rows.target).iter().sum();
        rows.energy = if energy > 0.0 { energy } else { 1.0 };
        rows
    }

    /// The squared error of each output channel with `inputs` for the rows and `weights` for the weights, as a share of the
    /// squared outputs of all.
    pub(super) fn errors(&self, inputs: &Tensor, weights: &StoredWeight) -> Vec<f64> {
        let off = product(inputs, &weights.values(), &weights.shape) - &self.target;
        self.squares(&off).into_iter().map(|square| square / self.energy).collect()
    }

    /// The sum of those errors.
    pub(super) fn error(&self, inputs: &Tensor, weights: &StoredWeight) -> f64 {
        self.errors(inputs, weights).iter().sum()
    }

    /// The sums of the squares of each output channel, as they count.
    fn squares(&self, y: &Tensor) -> Vec<f64> {
        let squares = match &self.importance {
            Some(importance) => y.square() * importance,
            None => y.square(),
        };
        let sums = squares.sum_dim_intlist([1_i64].as_slice(), false, Kind::Double);
        Vec::try_from(sums.flatten(0, -1).to_device(Device::Cpu)).unwrap_or_default()
    }

    /// The rows with each channel of the tensor they were taken from times its factor; `channels` of them are in a group.
    pub(super) fn scaled(&self, factors: &Tensor, channels: i64) -> Tensor {
        let [groups, _, k] = self.inputs.size()[..] else { return self.inputs.shallow_clone() };
        let columns = factors.view([groups, channels, 1]).expand([groups, channels, k / channels], false);
        &self.inputs * columns.reshape([groups, 1, k])
    }

    /// The largest magnitude of each channel, as above.
    pub(super) fn largest(&self, channels: i64) -> Vec<f64> {
        let [groups, rows, k] = self.inputs.size()[..] else { return Vec::new() };
        let by_channel = self.inputs.abs().view([groups, rows, channels, k / channels]);
        let largest = by_channel.amax([1_i64, 3].as_slice(), false).to_kind(Kind::Double);
        Vec::try_from(largest.flatten(0, -1).to_device(Device::Cpu)).unwrap_or_default()
    }
}

/// Rows times weights, `[groups, rows, c_out / groups]`.
fn product(inputs: &Tensor, weights: &[f32], shape: &[usize]) -> Tensor {
    let [groups, _, k] = inputs.size()[..] else { return inputs.shallow_clone() };
    let weights = tensor(weights, shape, inputs.device()).view([groups, shape[0] as i64 / groups, k]);
    no_grad(|| inputs.bmm(&weights.transpose(1, 2)))
}

/// A pass of the float network that takes rows.
struct Capture<'a> {
    float: &'a Folded,
    fisher: bool,
    rng: ChaCha8Rng,
    /// Passes before this one: each takes other places.
    passes: i64,
    inputs: Vec<Vec<Tensor>>,
    importance: Vec<Vec<Tensor>>,
    /// Outputs of this pass with the places that were taken.
    outputs: Vec<(usize, Tensor, Tensor)>,
}

impl<'a> Capture<'a> {
    fn new(float: &'a Folded, fisher: bool) -> Self {
        let none = || (0..float.stored().network.layers.len()).map(|_| Vec::new()).collect();
        let rng = Seed::new(0).child("fisher").rng();
        Self { float, fisher, rng, passes: 0, inputs: none(), importance: none(), outputs: Vec::new() }
    }

    /// A class for each image, drawn from what is predicted: the largest logit plus Gumbel noise.
    fn drawn(&mut self, logits: &Tensor) -> Tensor {
        let noise: Vec<f32> =
            (0..logits.numel()).map(|_| -(-self.rng.random_range(1e-9_f64..1.0).ln()).ln() as f32).collect();
        let noise = Tensor::from_slice(&noise).view_as(logits).to_device(logits.device());
        (logits.detach() + noise).argmax(-1, false)
    }

    fn run(&mut self, x: &Tensor) {
        let network = &self.float.stored().network;
        let input = self.float.input(x).set_requires_grad(self.fisher);
        let layers = 0..network.layers.len();
        if self.fisher {
            let logits = walk(network, layers, input, self);
            let loss = logits.cross_entropy_for_logits(&self.drawn(&logits)) * x.size()[0] as f64;
            let outputs = std::mem::take(&mut self.outputs);
            let tensors: Vec<&Tensor> = outputs.iter().map(|(_, y, _)| y).collect();
            let gradients = Tensor::run_backward(&[loss], &tensors, false, false);
            for ((index, _, places), gradient) in outputs.iter().zip(gradients) {
                let groups = groups(&network.layers[*index]);
                self.importance[*index].push(chosen(&flat(&gradient), places, groups).square());
            }
        } else {
            let _logits = no_grad(|| walk(network, layers, input, self));
        }
        self.passes += 1;
    }
}

impl Step for Capture<'_> {
    fn operate(&mut self, index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor {
        let y = self.float.operate(index, layer, x, second);
        if layer.weight.is_some() {
            let patches = no_grad(|| patches(layer, &x.detach()));
            let places = places(patches.size()[2], self.passes).to_device(x.device());
            self.inputs[index].push(chosen(&patches, &places, groups(layer)));
            if self.fisher {
                self.outputs.push((index, y.shallow_clone(), places));
            }
        }
        y
    }

    fn quantize(&mut self, index: usize, x: Tensor) -> Tensor {
        let point = self.float.stored().network.layers[index].point.as_ref();
        if point.is_some_and(|point| point.nonnegative) { x.relu() } else { x }
    }
}

fn groups(layer: &LayerSpec) -> i64 {
    match layer.op {
        Op::Conv(conv) => conv.groups as i64,
        _ => 1,
    }
}

/// The patches that a layer multiplies: `[n, inputs, places]`, an input channel's taps side by side.
fn patches(layer: &LayerSpec, x: &Tensor) -> Tensor {
    let Op::Conv(conv) = layer.op else { return flat(x) };
    let pair = |value: usize| [value as i64; 2];
    let end = conv.extra_end as i64;
    let x = if end > 0 { x.constant_pad_nd([0, end, 0, end]) } else { x.shallow_clone() };
    // The padding in front belongs to both ends; what is missing behind stands there already.
    x.contiguous().im2col(pair(conv.kernel), [1, 1], pair(conv.padding), pair(conv.stride))
}

/// `[n, c, h, w]` or `[n, c]` as `[n, c, places]`.
fn flat(x: &Tensor) -> Tensor {
    if x.dim() == 2 { x.unsqueeze(2) } else { x.flatten(2, -1) }
}

/// Some of `count` places, evenly spread, others in each pass.
fn places(count: i64, pass: i64) -> Tensor {
    let taken = count.min(PLACES);
    let places: Vec<i64> = (0..taken).map(|at| (at * count / taken + pass * 7919) % count).collect();
    Tensor::from_slice(&places)
}

/// Those places of `[n, c, places]` as rows, `[groups, n * places, c / groups]`.
fn chosen(x: &Tensor, places: &Tensor, groups: i64) -> Tensor {
    let part = x.index_select(2, places).permute([0, 2, 1]).contiguous();
    let [n, places, c] = part.size()[..] else { return part };
    part.view([n * places, groups, c / groups]).transpose(0, 1).contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Weights;
    use crate::network::{ModelSpec, build};
    use crate::quant::Ranges;
    use crate::seed::Seed;

    fn float(model: &str, side: usize) -> Folded {
        let spec = ModelSpec {
            resolution: Some(side),
            classes: Some(10),
            depth: None,
            ..ModelSpec::new(model.parse().unwrap())
        };
        let network = build(&spec).unwrap();
        Folded::new(&network, &Weights::initialised(&network, Seed::new(4), Device::Cpu), &Ranges::default())
    }

    #[test]
    fn rows_times_weights_are_the_layers_outputs() {
        for model in ["resnet8", "mobilenet_v2", "efficientnet_lite0"] {
            let folded = float(model, 32);
            let x = Tensor::randn([3, 3, 32, 32], (Kind::Float, Device::Cpu));
            let rows = Rows::of(&folded, &[&x], false);
            let network = &folded.stored().network;
            // The last layer reads one place, so that its rows are the images.
            let last = rows.last().and_then(Option::as_ref).unwrap();
            let bias = folded.stored().layers.last().and_then(Option::as_ref).map(|own| own.bias.clone()).unwrap();
            let logits = last.target.squeeze_dim(0) + Tensor::from_slice(&bias);
            assert!((logits - folded.logits(&x)).abs().max().double_value(&[]) < 1e-3, "{model}");
            for (layer, rows) in network.layers.iter().zip(&rows) {
                assert_eq!(layer.weight.is_some(), rows.is_some(), "{}", layer.name);
            }
            // The first layer's rows against a convolution that knows nothing of them.
            let first = rows[0].as_ref().unwrap();
            let own = folded.stored().layers[0].as_ref().unwrap();
            let y = folded.operate(0, &network.layers[0], &x, None)
                - tensor(&own.bias, &[1, own.bias.len(), 1, 1], Device::Cpu);
            let expected = chosen(&flat(&y), &places(flat(&y).size()[2], 0), 1);
            assert!((&first.target - expected).abs().max().double_value(&[]) < 1e-4, "{model}");
        }
    }

    #[test]
    fn importance_is_the_squared_gradient_of_a_class_that_the_network_may_predict() {
        let folded = float("resnet8", 16);
        let x = Tensor::randn([4, 3, 16, 16], (Kind::Float, Device::Cpu));
        let rows = Rows::of(&folded, &[&x], true);
        let found = rows.last().and_then(Option::as_ref).and_then(|rows| rows.importance.as_ref()).unwrap();
        // At the logits the gradient is softmax minus the drawn class: importance is its square, all times one number.
        let found: Vec<Vec<f64>> = Vec::try_from(found.squeeze_dim(0).to_kind(Kind::Double)).unwrap();
        let predicted: Vec<Vec<f64>> = Vec::try_from(folded.logits(&x).softmax(-1, Kind::Double)).unwrap();
        let ratio = |image: usize, class: usize| {
            let square = |at: usize| (predicted[image][at] - f64::from(at == class)).powi(2);
            let ratios = (0..10).map(|at| found[image][at] / square(at));
            let (low, high) = ratios.fold((f64::INFINITY, 0.0_f64), |(low, high), own| (low.min(own), high.max(own)));
            (high < 1.01 * low).then_some(low)
        };
        let of_image = |image: usize| (0..10).find_map(|class| ratio(image, class)).unwrap();
        let first = of_image(0);
        assert!((1..4).all(|image| (of_image(image) / first - 1.0).abs() < 0.01));
        assert!(rows[0].as_ref().unwrap().importance.is_some());
    }
}
