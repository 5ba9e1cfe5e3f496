//! Block-wise reconstruction: each block's rounding, scales and biases are trained until it gives what it gives in float.
//!
//! Li et al. 2021 (BRECQ, arXiv 2102.05426): blocks in order, each on what the quantized blocks in front of it give; Wei et
//! al. 2022 (QDrop, arXiv 2203.05740): at random an activation stays in float.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::{Calibrated, Rounding, SoftWeight, trainable};
use crate::error::{Error, Result};
use crate::models::{Folded, Step, blocks, operate, tensor, walk};
use crate::network::{LayerSpec, Network};
use crate::optim::Adam;
use crate::quant;
use crate::seed::Seed;
use crate::stored::StoredNetwork;

/// What is trained, and how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refinement {
    /// Training steps a block.
    pub steps: usize,
    /// Images a step.
    pub batch: usize,
    /// How weights are rounded.
    pub rounding: Rounding,
    /// Share of the activations that stay in float.
    pub drop: f64,
    /// Whether the scales of activations are trained.
    pub scales: bool,
    /// Whether biases are trained.
    pub biases: bool,
    /// Learning rate of the gates.
    pub gate_rate: f64,
    /// Learning rate of a scale, as a share of it.
    pub scale_rate: f64,
    /// Learning rate of the biases.
    pub bias_rate: f64,
    /// Weight of what keeps gates from staying between.
    pub decide: f64,
    /// Root of all random numbers.
    pub seed: Seed,
}

impl Default for Refinement {
    fn default() -> Self {
        Self {
            steps: 200,
            batch: 32,
            rounding: Rounding::default(),
            drop: 0.5,
            scales: true,
            biases: true,
            gate_rate: 1e-1,
            scale_rate: 3e-2,
            bias_rate: 1e-3,
            decide: 0.01,
            seed: Seed::new(0),
        }
    }
}

/// Share of the steps in which gates may stay between.
const FREE: f64 = 0.2;

/// Exponent of the regulariser, at its beginning and end.
const SHARPNESS: [f64; 2] = [20.0, 2.0];

/// Images that a forward pass without gradient takes at once.
const PASS: i64 = 128;

/// Refines a quantized network on `images`, from its scales; `step` is told after each training step and may end it.
///
/// # Shapes
/// `images`: `[n, c, h, w]`, normalised.
///
/// # Errors
/// What `step` returns; a loss that is not finite.
pub fn reconstruct(
    calibrated: &Calibrated,
    mut stored: StoredNetwork,
    images: &Tensor,
    options: Refinement,
    step: &mut dyn FnMut() -> Result<()>,
) -> Result<StoredNetwork> {
    let device = images.device();
    let network = &stored.network.clone();
    let float = calibrated.exact(device);
    let ready = Folded::from_stored(stored.clone(), device);
    let mut quantized = in_parts(images, &|x| ready.input(x));
    let mut exact = in_parts(images, &|x| float.input(x));
    let dice = Dice::new(options.seed, options.drop, images.device());
    for (at, block) in blocks(network).into_iter().enumerate() {
        let target = in_parts(&exact, &|x| float.part(block.clone(), x));
        let seed = options.seed.child("block").at(at as u64);
        let mut trained = Block::new(calibrated, (network, &stored), block.clone(), options, &dice, (seed, device));
        if options.steps > 0 && trained.learns() {
            trained.train([&quantized, &exact, &target], step)?;
            trained.finish(&mut stored);
        }
        let ready = Folded::from_stored(stored.clone(), device);
        quantized = in_parts(&quantized, &|x| ready.part(block.clone(), x));
        exact = target;
    }
    stored.round_biases();
    Ok(stored)
}

/// The results of a pass over all images, some at a time, with the channels of a pixel side by side.
pub(super) fn in_parts(x: &Tensor, pass: &dyn Fn(&Tensor) -> Tensor) -> Tensor {
    let parts: Vec<Tensor> = x.split(PASS, 0).iter().map(|part| side_by_side(&pass(part))).collect();
    let whole = Tensor::cat(&parts, 0);
    if whole.dim() == 4 { whole.permute([0, 3, 1, 2]) } else { whole }
}

/// `[n, c, h, w]` as `[n, h, w, c]` in memory; logits as they are.
fn side_by_side(x: &Tensor) -> Tensor {
    if x.dim() == 4 { x.permute([0, 2, 3, 1]).contiguous() } else { x.contiguous() }
}

/// Some of the images.
pub(super) fn taken(x: &Tensor, which: &Tensor) -> Tensor {
    let part = side_by_side(x).index_select(0, which);
    if part.dim() == 4 { part.permute([0, 3, 1, 2]) } else { part }
}

/// Which activations stay in float: windows of one long random draw.
struct Dice {
    kept: Option<Tensor>,
}

/// Length of the draw.
const DRAWN: i64 = 1 << 23;

impl Dice {
    fn new(seed: Seed, drop: f64, device: tch::Device) -> Self {
        if drop <= 0.0 {
            return Self { kept: None };
        }
        let mut rng = seed.child("drop").rng();
        let kept: Vec<bool> = (0..DRAWN).map(|_| rng.random_bool(drop.min(1.0))).collect();
        Self { kept: Some(Tensor::from_slice(&kept).to_device(device)) }
    }

    /// `exact` where the dice say so, else `quantized`.
    fn mixed(&self, quantized: &Tensor, exact: &Tensor, rng: &mut ChaCha8Rng) -> Tensor {
        let count = quantized.numel() as i64;
        let Some(kept) = self.kept.as_ref().filter(|_| count <= DRAWN) else { return quantized.shallow_clone() };
        let from = rng.random_range(0..=DRAWN - count);
        let size = quantized.size();
        let mask = kept.narrow(0, from, count);
        let mask = match size[..] {
            [n, c, h, w] => mask.view([n, h, w, c]).permute([0, 3, 1, 2]),
            _ => mask.view(size.as_slice()),
        };
        exact.where_self(&mask, quantized)
    }
}

/// A layer's trained parts.
struct Layer {
    index: usize,
    weight: SoftWeight,
    bias: Tensor,
}

/// A block in training.
struct Block<'a> {
    network: &'a Network,
    layers: Range<usize>,
    options: Refinement,
    dice: &'a Dice,
    rng: ChaCha8Rng,
    soft: Vec<Layer>,
    /// Weight and bias of each layer of the block for the current step; of layers that are not trained, for good.
    parameters: Vec<Option<(Tensor, Tensor)>>,
    /// The clip of each layer's quantization point.
    clips: Vec<Option<Tensor>>,
}

impl<'a> Block<'a> {
    fn new(
        calibrated: &Calibrated,
        (network, stored): (&'a Network, &StoredNetwork),
        layers: Range<usize>,
        options: Refinement,
        dice: &'a Dice,
        (seed, device): (Seed, tch::Device),
    ) -> Self {
        let (mut soft, mut parameters, mut clips) = (Vec::new(), Vec::new(), Vec::new());
        for index in layers.clone() {
            let layer = &network.layers[index];
            let own = stored.layers[index].as_ref();
            parameters.push(own.map(|own| trainable::parameters(own, device)));
            if let (Some(own), Some(exact)) = (own, &calibrated.float().layers[index])
                && layer.weight.is_some_and(|spec| spec.format.takes_scale())
            {
                let weight = SoftWeight::new(&exact.weight.values(), &own.weight, options.rounding, device);
                let bias = tensor(&exact.bias, &[exact.bias.len()], device).set_requires_grad(options.biases);
                soft.push(Layer { index, weight, bias });
            }
            clips.push(trainable::clip(stored, index, options.scales, device));
        }
        Self { network, layers, options, dice, rng: seed.rng(), soft, parameters, clips }
    }

    fn learns(&self) -> bool {
        !self.soft.is_empty() || self.clips.iter().flatten().any(Tensor::requires_grad)
    }

    /// Trains; the three hold for every image what the block reads quantized, what it reads in float, and what it gives in
    /// float.
    fn train(&mut self, [quantized, exact, target]: [&Tensor; 3], step: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let options = self.options;
        let mut adam = Adam::default();
        for layer in &self.soft {
            if options.rounding != Rounding::Nearest {
                adam.add(layer.weight.gate(), options.gate_rate);
            }
            if options.biases {
                adam.add(&layer.bias, options.bias_rate);
            }
        }
        for clip in self.clips.iter().flatten().filter(|clip| clip.requires_grad()) {
            adam.add(clip, options.scale_rate * clip.double_value(&[0]));
        }
        let images = quantized.size()[0];
        for at in 0..options.steps {
            let done = at as f64 / options.steps as f64;
            let which: Vec<i64> = (0..options.batch).map(|_| self.rng.random_range(0..images)).collect();
            let which = Tensor::from_slice(&which).to_device(quantized.device());
            let x = self.dice.mixed(&taken(quantized, &which), &taken(exact, &which), &mut self.rng);
            for layer in &self.soft {
                let weight = match options.rounding {
                    Rounding::Nearest => continue,
                    Rounding::Learned | Rounding::ScaleAware => layer.weight.soft(),
                };
                self.parameters[layer.index - self.layers.start] = Some((weight, layer.bias.shallow_clone()));
            }
            let y = walk(self.network, self.layers.clone(), x, self);
            let wanted = taken(target, &which);
            let mut loss = (y - &wanted).square().sum(Kind::Float) / (wanted.numel() as f64 / wanted.size()[1] as f64);
            if done >= FREE && options.rounding != Rounding::Nearest {
                let along = (done - FREE) / (1.0 - FREE);
                let beta =
                    SHARPNESS[1] + (SHARPNESS[0] - SHARPNESS[1]) * 0.5 * (1.0 + (std::f64::consts::PI * along).cos());
                for layer in &self.soft {
                    loss += layer.weight.undecided(beta) * options.decide;
                }
            }
            if !loss.double_value(&[]).is_finite() {
                let name = &self.network.layers[self.layers.end - 1].name;
                return Err(Error::Failed(format!("the refinement of the block that ends in {name} diverged")));
            }
            loss.backward();
            adam.step(0.5 * (1.0 + (std::f64::consts::PI * done).cos()));
            step()?;
        }
        Ok(())
    }

    /// Writes what was trained.
    fn finish(&self, stored: &mut StoredNetwork) {
        for layer in &self.soft {
            if let Some(own) = &mut stored.layers[layer.index] {
                if self.options.rounding != Rounding::Nearest {
                    own.weight = layer.weight.decided(&own.weight);
                }
                own.bias = trainable::floats(&layer.bias);
            }
        }
        for (index, clip) in self.layers.clone().zip(&self.clips) {
            if let (Some(clip), Some(point)) = (clip, &self.network.layers[index].point) {
                stored.scales[index] = Some(trainable::scale(clip, point));
            }
        }
    }
}

impl Step for Block<'_> {
    fn operate(&mut self, index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor {
        let own = self.parameters[index - self.layers.start].as_ref();
        operate(layer, x, second, own.map(|(weight, bias)| (weight, bias)))
    }

    fn quantize(&mut self, index: usize, x: Tensor) -> Tensor {
        let Some(point) = &self.network.layers[index].point else { return x };
        let Some(clip) = &self.clips[index - self.layers.start] else {
            return quant::activation(x, point, quant::Range::default());
        };
        let rounded = quant::learned_activation(&x * 1.0, point, clip);
        // What leaves the block is compared as it is.
        if index + 1 == self.layers.end {
            return rounded;
        }
        let exact = if point.nonnegative { x.relu() } else { x };
        self.dice.mixed(&rounded, &exact, &mut self.rng)
    }
}
