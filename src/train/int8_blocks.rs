//! Training in an INT8 data flow (Jetfire, Xi et al. 2024, arXiv 2403.12422): operators hand one another 8-bit blocks, and
//! only those are kept for the backward pass.
//!
//! An operator (convolution, linear layer, ...) and what follows it (norm, activation) are a step each. Forward, the result
//! of each step is rounded to INT8 in 32 x 32 blocks, and so are weights. Backward, from the last step to the first, the
//! gradient of a step's result is rounded by chance, the step is computed again from what was kept, and autograd gives the
//! gradients of its input and of its parameters. Weights, their gradients, statistics and the optimiser stay in float32, as
//! do the logits and the softmax of attention.
//!
//! Ours: a step is computed twice, because libtorch keeps float tensors of whatever it differentiates; and the residual
//! stream has no further copy in float.

use tch::{Kind, Tensor, no_grad};

use super::flow::Flow;
use super::tape::{Kept, SavedBytes, Tape, handed_on};
use super::trainer::STATISTICS;
use super::{Regime, StepReport, Trainer};
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::layers;
use crate::models::{Weights, operate};
use crate::network::{Act, LayerSpec, Network, Op, Source};
use crate::quant::{gradient_blocks, weight_blocks};
use crate::seed::Seed;

/// One network, trained in INT8 blocks.
#[derive(Debug)]
pub struct Int8Blocks {
    network: Network,
    seed: Seed,
    /// What the last step kept.
    pub saved: SavedBytes,
}

impl Int8Blocks {
    /// A training of `network`; `seed` draws the rounding of gradients.
    pub fn new(network: Network, seed: Seed) -> Self {
        Self { network, seed, saved: SavedBytes::default() }
    }

    /// Refuses a network with formats of its own.
    ///
    /// # Errors
    /// Names the first layer that is not in float32.
    pub fn check(network: &Network) -> Result<()> {
        let quantized = network.layers.iter().find(|layer| {
            let weight = layer.weight.is_some_and(|spec| spec.format != Format::Float32);
            weight || layer.point.as_ref().is_some_and(|point| point.spec.format != Format::Float32)
        });
        match quantized {
            None => Ok(()),
            Some(layer) => Err(Error::bad_value(
                "--flow",
                Flow::Int8Blocks,
                format!("trains networks in float32; {} has a format of its own", layer.name),
            )),
        }
    }

    /// The forward pass; running statistics follow the batch.
    fn forward(&self, weights: &Weights, x: &Tensor) -> Tape {
        let network = &self.network;
        let last = network.layers.len().saturating_sub(1);
        let (input, x) = handed_on(layers::channels_last(x), self.is_read(Source::Input));
        let mut values: Vec<Tensor> = Vec::with_capacity(network.layers.len());
        let mut kept = Vec::with_capacity(network.layers.len());
        let mut logits = Tensor::new();
        for (index, layer) in network.layers.iter().enumerate() {
            let read = |source: &Source| match *source {
                Source::Input => x.shallow_clone(),
                Source::Layer(from) => values[from].shallow_clone(),
            };
            let read: Vec<Tensor> = layer.inputs.iter().map(read).collect();
            let mut y = operated(layer, weights, &read[0], read.get(1));
            let mut middle = None;
            if has_rest(layer) {
                let (own, value) = handed_on(y, !is_masked_by_result(layer));
                middle = Some(own);
                y = rest(layer, weights, &value, STATISTICS);
            }
            if index == last {
                logits = y;
                kept.push((middle, Kept::Shape(Vec::new(), logits.device())));
                break;
            }
            let is_read = self.is_read(Source::Layer(index)) || is_masked_by_result(layer);
            let (own, value) = match layer.op {
                Op::AttentionScores { .. } => (Kept::Float(y.shallow_clone()), y),
                _ => handed_on(y, is_read),
            };
            kept.push((middle, own));
            values.push(value);
            self.drop_read(index, &mut values);
        }
        Tape { input, layers: kept, logits }
    }

    /// Whether some layer's backward pass needs the values of a tensor.
    fn is_read(&self, source: Source) -> bool {
        self.network.layers.iter().any(|layer| layer.inputs.contains(&source) && needs_values(layer.op))
    }

    /// Drops the values that `index` was the last to read.
    fn drop_read(&self, index: usize, values: &mut [Tensor]) {
        for source in &self.network.layers[index].inputs {
            let later = self.network.layers[index + 1..].iter().any(|layer| layer.inputs.contains(source));
            if let (Source::Layer(from), false) = (*source, later) {
                values[from] = Tensor::new();
            }
        }
    }

    /// Gradients of all parameters, from that of the logits.
    fn backward(&self, weights: &Weights, mut tape: Tape, logits: Tensor, seed: Seed) {
        let count = self.network.layers.len();
        let mut gradients: Vec<Option<Tensor>> = (0..count).map(|_| None).collect();
        gradients[count - 1] = Some(logits);
        for (index, layer) in self.network.layers.iter().enumerate().rev() {
            let stream = |part: u64| seed.at(2 * index as u64 + part).number();
            let Some(gradient) = gradients[index].take() else { continue };
            let mut gradient = gradient_blocks(&gradient, stream(0));
            if let Some(middle) = tape.layers[index].0.take() {
                let read = if is_masked_by_result(layer) { &tape.layers[index].1 } else { &middle };
                let leaf = read.leaf();
                pull(&rest(layer, weights, &leaf, 0.0), &gradient);
                gradient = gradient_blocks(&leaf.grad(), stream(1));
            }
            // Nobody reads the result further back.
            tape.layers[index].1 = Kept::Shape(Vec::new(), gradient.device());
            for (source, own) in layer.inputs.iter().zip(self.pulled(index, weights, &tape, &gradient)) {
                if let (Source::Layer(from), Some(own)) = (*source, own) {
                    let sum = gradients[from].take().map_or_else(|| own.shallow_clone(), |known| known + &own);
                    gradients[from] = Some(sum);
                }
            }
        }
    }

    /// The gradients of what a layer's operator reads.
    fn pulled(&self, index: usize, weights: &Weights, tape: &Tape, gradient: &Tensor) -> Vec<Option<Tensor>> {
        let layer = &self.network.layers[index];
        if layer.op == Op::Add {
            return vec![Some(gradient.shallow_clone()), Some(gradient.shallow_clone())];
        }
        let leaf = |source: &Source| match *source {
            Source::Input => tape.input.value(),
            Source::Layer(from) => tape.layers[from].1.leaf(),
        };
        let leaves: Vec<Tensor> = layer.inputs.iter().map(leaf).collect();
        pull(&operated(layer, weights, &leaves[0], leaves.get(1)), gradient);
        leaves.iter().map(|leaf| leaf.requires_grad().then(|| leaf.grad())).collect()
    }
}

impl Regime for Int8Blocks {
    fn step(&mut self, trainer: &mut Trainer, x: &Tensor, y: &Tensor) -> Result<StepReport> {
        let mut tape = no_grad(|| self.forward(&trainer.weights, x));
        self.saved = tape.bytes();
        let logits = std::mem::take(&mut tape.logits).set_requires_grad(true);
        let (loss, value, top1) = trainer.loss(&logits, y)?;
        loss.backward();
        self.backward(&trainer.weights, tape, logits.grad(), self.seed.at(trainer.step as u64));
        trainer.update();
        Ok(StepReport { loss: value, top1 })
    }
}

/// Whether an operator's backward pass needs the values that it read; the others are linear in them.
fn needs_values(op: Op) -> bool {
    match op {
        Op::Add | Op::GlobalAvgPool | Op::PadShortcut { .. } | Op::ClassToken | Op::Activate | Op::Embed => false,
        Op::Conv(_) | Op::Linear { .. } | Op::Gate | Op::MaxPool { .. } | Op::LayerNorm => true,
        Op::AttentionScores { .. } | Op::AttentionValues { .. } => true,
    }
}

/// Whether a norm or an activation follows the operator.
fn has_rest(layer: &LayerSpec) -> bool {
    layer.norm.is_some() || layer.act != Act::None
}

/// Whether the result tells all that the backward pass behind the operator needs: a ReLU lets the gradient through where its
/// result is positive.
fn is_masked_by_result(layer: &LayerSpec) -> bool {
    layer.norm.is_none() && layer.act == Act::Relu
}

/// A layer's operator on its weights in blocks.
fn operated(layer: &LayerSpec, weights: &Weights, x: &Tensor, second: Option<&Tensor>) -> Tensor {
    let parameters = match layer.op {
        Op::Conv(_) | Op::Linear { .. } => {
            let weight = weight_blocks(&weights.weight(layer));
            let none = || Tensor::zeros(weight.size()[0], (Kind::Float, weight.device()));
            let bias = if layer.bias { weights.bias(layer) } else { none() };
            Some((weight, bias))
        }
        Op::Embed => Some((weights.get(&layer.name).shallow_clone(), weights.get("cls_token").shallow_clone())),
        Op::LayerNorm => Some((weights.get(&format!("{}.weight", layer.name)).shallow_clone(), weights.bias(layer))),
        _ => None,
    };
    operate(layer, x, second, parameters.as_ref().map(|(weight, bias)| (weight, bias)))
}

/// What follows the operator: norm by the batch, whose running statistics follow at `rate`, and activation.
fn rest(layer: &LayerSpec, weights: &Weights, y: &Tensor, rate: f64) -> Tensor {
    let normed = layer.norm.as_ref().map(|norm| {
        let [gain, offset, mean, var] = weights.norm(norm, layer.output.c);
        layers::batch_norm(y, [&gain, &offset, &mean, &var], Some(rate), layer.norm_epsilon)
    });
    layers::activate(normed.as_ref().unwrap_or(y), layer.act)
}

/// Sends a gradient of `y` back to the leaves that it was computed from.
fn pull(y: &Tensor, gradient: &Tensor) {
    if y.requires_grad() {
        (y * gradient).sum(Kind::Float).backward();
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::formats::QuantSpec;
    use crate::network::{ModelSpec, build};
    use crate::train::TrainConfig;

    fn small(model: &str) -> Network {
        let spec = ModelSpec { resolution: Some(16), ..ModelSpec::new(model.parse().unwrap()) };
        in_formats(build(&spec).unwrap(), Format::Float32)
    }

    fn in_formats(mut network: Network, format: Format) -> Network {
        let specs = vec![QuantSpec::per_tensor(format); network.weighted().len()];
        network.assign(&specs, &specs);
        network
    }

    fn batch(network: &Network) -> (Tensor, Tensor) {
        tch::manual_seed(3);
        let (c, h, w) = (network.input.c as i64, network.input.h as i64, network.input.w as i64);
        (
            Tensor::randn([16, c, h, w], (Kind::Float, Device::Cpu)),
            Tensor::arange(16, (Kind::Int64, Device::Cpu)).remainder(10),
        )
    }

    fn trainer(network: &Network) -> Trainer {
        Trainer::new(Weights::initialised(network, Seed::new(1), Device::Cpu), TrainConfig::default(), 10)
    }

    /// Gradients of all parameters after a pass in float32, by name.
    fn exact(network: &Network) -> Vec<(String, Tensor)> {
        let mut trainer = trainer(network);
        let (x, y) = batch(network);
        trainer.pass(network, (&x, &y), true).unwrap();
        trainer.weights.trained().map(|(name, tensor)| (name.to_owned(), tensor.grad().copy())).collect()
    }

    /// The same in INT8 blocks.
    fn in_blocks(network: &Network, draw: u64) -> (Vec<(String, Tensor)>, SavedBytes) {
        let trainer = trainer(network);
        let (x, y) = batch(network);
        let flow = Int8Blocks::new(network.clone(), Seed::new(0));
        let mut tape = no_grad(|| flow.forward(&trainer.weights, &x));
        let saved = tape.bytes();
        let logits = std::mem::take(&mut tape.logits).set_requires_grad(true);
        trainer.loss(&logits, &y).unwrap().0.backward();
        flow.backward(&trainer.weights, tape, logits.grad(), Seed::new(draw));
        let own = trainer.weights.trained().map(|(name, tensor)| (name.to_owned(), tensor.grad().copy()));
        (own.collect(), saved)
    }

    fn cosine(a: &Tensor, b: &Tensor) -> f64 {
        let dot = |a: &Tensor, b: &Tensor| (a * b).sum(Kind::Double).double_value(&[]);
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    #[test]
    fn gradients_point_where_those_in_float_do() {
        for model in ["resnet8", "vit_tiny"] {
            let network = small(model);
            let (exact, (found, saved)) = (exact(&network), in_blocks(&network, 0));
            assert_eq!(exact.len(), found.len());
            for ((name, exact), (_, found)) in exact.iter().zip(&found) {
                assert!(found.defined(), "{model} {name}: no gradient");
                // What a softmax or a norm behind it cancels has no gradient but rounding.
                if exact.abs().max().double_value(&[]) > 1e-6 {
                    assert!(cosine(exact, found) > 0.9, "{model} {name}: {}", cosine(exact, found));
                }
            }
            // Codes, scales and, of transformers, the scores of attention.
            let ratio = saved.float32 as f64 / saved.kept as f64;
            assert!(ratio > if model == "resnet8" { 3.9 } else { 2.5 }, "{model}: {ratio}");
        }
    }

    #[test]
    fn rounding_follows_the_draw() {
        let network = small("resnet8");
        let weight = |draw| in_blocks(&network, draw).0.into_iter().find(|(name, _)| name == "conv1.weight").unwrap().1;
        assert_eq!(weight(1), weight(1));
        assert_ne!(weight(1), weight(2));
        // The mean over draws lies nearer to what rounding to nearest would leave out of chance.
        let draws: Vec<Tensor> = (0..16).map(weight).collect();
        let mean = Tensor::stack(&draws, 0).mean_dim([0_i64].as_slice(), false, Kind::Float);
        let far = |x: &Tensor, from: &Tensor| (x - from).square().mean(Kind::Double).double_value(&[]);
        let alone: f64 = draws[..8].iter().map(|x| far(x, &mean)).sum::<f64>() / 8.0;
        let half = |part: &[Tensor]| Tensor::stack(part, 0).mean_dim([0_i64].as_slice(), false, Kind::Float);
        assert!(far(&half(&draws[..8]), &half(&draws[8..])) < 0.6 * alone);
    }

    #[test]
    fn training_in_blocks_learns_and_repeats() {
        let network = small("resnet8");
        let (x, y) = batch(&network);
        let losses = || {
            let mut trainer = trainer(&network);
            let mut flow = Int8Blocks::new(network.clone(), Seed::new(0));
            (0..8).map(|_| flow.step(&mut trainer, &x, &y).unwrap().loss).collect::<Vec<f64>>()
        };
        let found = losses();
        assert!(found[7] < 0.6 * found[0], "{found:?}");
        assert_eq!(found, losses());
    }

    #[test]
    fn a_network_with_formats_of_its_own_is_refused() {
        let network = small("resnet8");
        assert!(Int8Blocks::check(&network).is_ok());
        let network = in_formats(network, Format::Int(8));
        assert!(Int8Blocks::check(&network).unwrap_err().to_string().contains("conv1"));
    }
}
