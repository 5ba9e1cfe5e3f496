//! Named parameters and buffers, shared by all candidates of a supernet.

use std::collections::BTreeMap;

use rand::Rng;
use rand_distr::{Distribution, Normal, Uniform};
use tch::{Device, Kind, Tensor};

use crate::checkpoint::Array;
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::network::LayerSpec;
use crate::network::Network;
use crate::network::Op;
use crate::quant::Range;
use crate::quant::Ranges;
use crate::seed::Seed;

/// Parameters, batch-norm statistics and recorded ranges, by the names of the public checkpoints.
#[derive(Debug)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
    /// Recorded ranges of the quantization points.
    pub ranges: Ranges,
    device: Device,
}

/// Deviation of fresh class tokens and positions (timm).
const TOKEN_DEVIATION: f32 = 0.02;

/// Prefix of learned clips.
const CLIP: &str = "clip.";

/// Whether a name is a buffer: kept with the parameters but not trained.
fn is_buffer(name: &str) -> bool {
    name.ends_with("running_mean") || name.ends_with("running_var")
}

impl Weights {
    /// Freshly initialised weights: convolutions He-normal by fan-out (He et al. 2015), linear layers uniform within
    /// `1 / sqrt(fan_in)`, norms at gain 1, offset 0, mean 0, variance 1, class token and positions normal.
    pub fn initialised(network: &Network, seed: Seed, device: Device) -> Self {
        let linear: Vec<&str> = (network.layers.iter())
            .filter(|layer| matches!(layer.op, Op::Linear { .. }))
            .map(|layer| layer.name.as_str())
            .collect();
        let mut tensors = BTreeMap::new();
        for (name, shape) in network.parameters() {
            let mut rng = seed.child(&name).rng();
            let (layer, leaf) = name.rsplit_once('.').unwrap_or(("", &name));
            let values = match (leaf, linear.contains(&layer)) {
                (_, true) => uniform(&mut rng, &shape, fan_in(network, layer)),
                _ if name.ends_with("_token") || name == "pos_embed" => normal(&mut rng, &shape, TOKEN_DEVIATION),
                ("weight", false) if shape.len() == 4 => he_normal(&mut rng, &shape),
                ("weight" | "running_var", false) => vec![1.0; shape.iter().product()],
                _ => vec![0.0; shape.iter().product()],
            };
            tensors.insert(name, tensor(&values, &shape, device));
        }
        let mut weights = Self { tensors, ranges: Ranges::default(), device };
        weights.require_gradients();
        weights
    }

    /// Weights from named arrays; names the network does not have are left out, a missing one is an error.
    ///
    /// # Errors
    /// Names the first parameter that is missing or has another shape.
    pub fn from_arrays(network: &Network, arrays: &BTreeMap<String, Array>, device: Device) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (name, shape) in network.parameters() {
            let array = arrays
                .get(&name)
                .filter(|array| array.shape == shape)
                .and_then(Array::as_floats)
                .ok_or_else(|| Error::Failed(format!("no parameter {name} of shape {shape:?}")))?;
            tensors.insert(name, tensor(array, &shape, device));
        }
        let ranges = arrays
            .iter()
            .filter_map(|(name, array)| {
                let point = name.strip_prefix("range.")?;
                match array.as_floats() {
                    Some(&[max, rms]) => Some((point.to_owned(), Range { max, rms })),
                    _ => None,
                }
            })
            .collect();
        for (name, array) in arrays.iter().filter(|(name, _)| name.starts_with(CLIP)) {
            if let Some(values) = array.as_floats() {
                tensors.insert(name.clone(), tensor(values, &array.shape, device));
            }
        }
        let mut weights = Self { tensors, ranges, device };
        weights.require_gradients();
        Ok(weights)
    }

    /// These weights and those that only `more` has.
    #[must_use]
    pub fn with(mut self, more: Self) -> Self {
        for (name, tensor) in more.tensors {
            self.tensors.entry(name).or_insert(tensor);
        }
        self
    }

    /// Everything as named arrays, ranges under `range.<tensor>`.
    pub fn to_arrays(&self) -> BTreeMap<String, Array> {
        let mut arrays: BTreeMap<String, Array> = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            arrays.insert(name.clone(), array(tensor));
        }
        for (point, range) in self.ranges.iter() {
            arrays.insert(format!("range.{point}"), Array::floats([2], [range.max, range.rms]));
        }
        arrays
    }

    /// The tensor of a name.
    ///
    /// # Panics
    /// When the network these weights were made for has no such parameter.
    pub fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no parameter {name}"))
    }

    /// A layer's weights: its part of the shared ones, the middle of a kernel and the leading channels.
    pub fn weight(&self, layer: &LayerSpec) -> Tensor {
        let shape = layer.op.weight_shape().unwrap_or_default();
        part(self.get(&format!("{}.weight", layer.name)), &shape).contiguous()
    }

    /// A layer's own bias, likewise.
    pub fn bias(&self, layer: &LayerSpec) -> Tensor {
        part(self.get(&format!("{}.bias", layer.name)), &[layer.output.c])
    }

    /// Gain, offset, running mean and running variance of a batch normalisation's leading channels; the same memory.
    pub fn norm(&self, name: &str, channels: usize) -> [Tensor; 4] {
        let leaves = ["weight", "bias", "running_mean", "running_var"];
        leaves.map(|leaf| part(self.get(&format!("{name}.{leaf}")), &[channels]))
    }

    /// Trained parameters in the order of their names.
    pub fn trained(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().filter(|(name, _)| !is_buffer(name)).map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The learned clip of a tensor, where ranges are learned.
    pub fn clip(&self, tensor: &str) -> Option<&Tensor> {
        self.tensors.get(&format!("{CLIP}{tensor}"))
    }

    /// Makes the clip of every quantization point a trained parameter, from the ranges recorded so far: the clip that suits an
    /// integer of this many bits, as 4, the middle of many formats.
    pub fn learn_clips(&mut self, network: &Network, bits: u8) {
        let layers = network.layers.iter().filter_map(|layer| Some((layer.name.as_str(), layer.point.as_ref()?)));
        let layers = layers.filter(|(_, point)| !point.is_by_token());
        for (tensor, point) in layers.chain([("input", &network.input_point)]) {
            if self.clip(tensor).is_some() {
                continue;
            }
            let clip = self
                .ranges
                .get(tensor)
                .clip(if point.nonnegative { Format::Uint(bits) } else { Format::Int(bits) }, point.nonnegative);
            let clip = Tensor::from_slice(&[clip]).to_device(self.device).set_requires_grad(true);
            self.tensors.entry(format!("{CLIP}{tensor}")).or_insert(clip);
        }
    }

    /// The learned clips as ranges that every format takes as they are.
    pub fn learned_ranges(&self) -> Ranges {
        let learned = |(name, tensor): (&String, &Tensor)| {
            let max = tensor.double_value(&[0]) as f32;
            Some((name.strip_prefix(CLIP)?.to_owned(), Range { max, rms: f32::INFINITY }))
        };
        self.tensors.iter().filter(|(name, _)| name.starts_with(CLIP)).filter_map(learned).collect()
    }

    /// The device all tensors live on.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Further handles on the same tensors, for another thread.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        let same = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.shallow_clone());
        Self { tensors: self.tensors.iter().map(same).collect(), ranges: self.ranges.clone(), device: self.device }
    }

    /// Further handles on the same tensors whose gradients are their own.
    #[must_use]
    pub fn with_own_gradients(&self) -> Self {
        let mut same = self.shallow_clone();
        same.tensors.values_mut().for_each(|tensor| *tensor = tensor.detach());
        same.require_gradients();
        same
    }

    /// The gradient of a parameter, where it has one.
    pub fn gradient(&self, name: &str) -> Option<Tensor> {
        self.tensors.get(name).map(Tensor::grad).filter(Tensor::defined)
    }

    /// The same parameters with batch-norm statistics of its own, which may then move without touching these.
    pub fn with_own_statistics(&self) -> Self {
        let own = |(name, tensor): (&String, &Tensor)| {
            let tensor = if is_buffer(name) { tensor.copy() } else { tensor.shallow_clone() };
            (name.clone(), tensor)
        };
        Self { tensors: self.tensors.iter().map(own).collect(), ranges: self.ranges.clone(), device: self.device }
    }

    fn require_gradients(&mut self) {
        for (name, tensor) in &mut self.tensors {
            if !is_buffer(name) {
                *tensor = tensor.set_requires_grad(true);
            }
        }
    }
}

/// The part of a shared tensor that has this shape: leading channels; of a kernel, whose sides are axes 2 and 3, the middle.
fn part(tensor: &Tensor, shape: &[usize]) -> Tensor {
    let mut part = tensor.shallow_clone();
    for (axis, &wanted) in shape.iter().enumerate() {
        let (axis, wanted) = (axis as i64, wanted as i64);
        let more = part.size()[axis as usize] - wanted;
        if more > 0 {
            part = part.narrow(axis, if axis < 2 { 0 } else { more / 2 }, wanted);
        }
    }
    part
}

/// The part of a supernet's array that a network's parameter of this shape shares.
pub fn shared_part(whole: &Array, shape: &[usize]) -> Array {
    match whole.as_floats() {
        Some(values) if whole.shape.len() == shape.len() => {
            array(&part(&tensor(values, &whole.shape, Device::Cpu), shape))
        }
        _ => whole.clone(),
    }
}

/// A tensor's elements as an array.
pub fn array(tensor: &Tensor) -> Array {
    let flat = tensor.detach().to_device(Device::Cpu).contiguous().view([-1]);
    let values = Vec::<f32>::try_from(&flat).unwrap_or_default();
    let shape: Vec<usize> = tensor.size().iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect();
    Array::floats(shape, values)
}

/// A tensor of these values.
///
/// # Panics
/// When they do not fill the shape.
pub fn tensor(values: &[f32], shape: &[usize], device: Device) -> Tensor {
    let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    Tensor::from_slice(values).to_kind(Kind::Float).view(shape.as_slice()).to_device(device)
}

fn fan_in(network: &Network, layer: &str) -> usize {
    let spec = network.layers.iter().find(|spec| spec.name == layer);
    match spec.map(|spec| spec.op) {
        Some(Op::Linear { c_in, .. }) => c_in,
        _ => 1,
    }
}

fn uniform(rng: &mut impl Rng, shape: &[usize], fan_in: usize) -> Vec<f32> {
    let bound = 1.0 / (fan_in as f32).sqrt();
    match Uniform::new_inclusive(-bound, bound) {
        Ok(law) => law.sample_iter(rng).take(shape.iter().product()).collect(),
        Err(_) => vec![0.0; shape.iter().product()],
    }
}

fn he_normal(rng: &mut impl Rng, shape: &[usize]) -> Vec<f32> {
    let fan_out = shape[0] * shape[2] * shape[3];
    normal(rng, shape, (2.0 / fan_out as f32).sqrt())
}

fn normal(rng: &mut impl Rng, shape: &[usize], deviation: f32) -> Vec<f32> {
    match Normal::new(0.0, deviation) {
        Ok(law) => law.sample_iter(rng).take(shape.iter().product()).collect(),
        Err(_) => vec![0.0; shape.iter().product()],
    }
}
