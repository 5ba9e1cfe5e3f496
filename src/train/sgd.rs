//! Stochastic gradient descent with Nesterov momentum whose state can be saved (tch's optimisers keep theirs hidden).

use std::collections::BTreeMap;

use tch::{Tensor, no_grad};

use crate::checkpoint::Array;
use crate::models::Weights;
use crate::models::array;

/// Prefix of the momentum in a snapshot.
const PREFIX: &str = "momentum.";

/// The optimiser: `v = m v + g`, `w -= lr (g + m v)` (Sutskever et al. 2013, as PyTorch writes it). Weight decay acts on
/// tensors of two dimensions and more, not on batch norm and biases.
#[derive(Debug)]
pub struct Sgd {
    momentum: f64,
    weight_decay: f64,
    velocity: BTreeMap<String, Tensor>,
}

impl Sgd {
    /// An optimiser at rest.
    pub fn new(momentum: f64, weight_decay: f64) -> Self {
        Self { momentum, weight_decay, velocity: BTreeMap::new() }
    }

    /// Applies the gradients of `weights` and of further handles on them, divided by `passes`, at this learning rate, and clears
    /// those of `weights`.
    pub fn step(&mut self, weights: &Weights, apart: &[Weights], learning_rate: f64, passes: f64) {
        no_grad(|| {
            for (name, parameter) in weights.trained() {
                let mut own = parameter.grad();
                let others = apart.iter().filter_map(|weights| weights.gradient(name));
                let mut gradient =
                    others.fold(own.shallow_clone(), |sum, other| if sum.defined() { sum + other } else { other });
                if !gradient.defined() {
                    // A parameter that trained before but took no part since this process began moves on all the same.
                    if !self.velocity.contains_key(name) {
                        continue;
                    }
                    gradient = parameter.zeros_like();
                }
                let mut step = &gradient / passes;
                if parameter.dim() > 1 {
                    step += parameter * self.weight_decay;
                }
                let velocity = self.velocity.entry(name.to_owned()).or_insert_with(|| parameter.zeros_like());
                *velocity *= self.momentum;
                *velocity += &step;
                step += &*velocity * self.momentum;
                let mut parameter = parameter.shallow_clone();
                parameter -= step * learning_rate;
                if own.defined() {
                    let _ = own.zero_();
                }
            }
        });
    }

    /// The momentum as named arrays.
    pub fn to_arrays(&self) -> impl Iterator<Item = (String, Array)> {
        self.velocity.iter().map(|(name, tensor)| (format!("{PREFIX}{name}"), array(tensor)))
    }

    /// Takes the momentum back from named arrays.
    pub fn restore(&mut self, weights: &Weights, arrays: &BTreeMap<String, Array>) {
        for (name, parameter) in weights.trained() {
            if let Some(values) = arrays.get(&format!("{PREFIX}{name}")).and_then(Array::as_floats) {
                let tensor = Tensor::from_slice(values).view_as(parameter).to_device(weights.device());
                self.velocity.insert(name.to_owned(), tensor);
            }
        }
    }
}
