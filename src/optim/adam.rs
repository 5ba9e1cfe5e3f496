//! Adam (Kingma and Ba 2015) over a few tensors, each with its own learning rate.

use tch::{Tensor, no_grad};

/// Decay of the first and second moment.
const BETAS: [f64; 2] = [0.9, 0.999];

/// Keeps the step finite.
const EPSILON: f64 = 1e-8;

/// The optimiser.
#[derive(Debug, Default)]
pub struct Adam {
    parameters: Vec<(Tensor, f64, Tensor, Tensor)>,
    steps: i32,
    /// Sums of the parameters over some steps, and how many.
    sums: Vec<Tensor>,
    summed: u32,
}

impl Adam {
    /// Adds a parameter at a learning rate.
    pub fn add(&mut self, parameter: &Tensor, rate: f64) {
        let rest = || parameter.detach().zeros_like();
        self.parameters.push((parameter.shallow_clone(), rate, rest(), rest()));
    }

    /// Applies the gradients, at `share` of the learning rates, and clears them.
    pub fn step(&mut self, share: f64) {
        self.steps += 1;
        let [first, second] = BETAS.map(|beta| 1.0 - beta.powi(self.steps));
        no_grad(|| {
            for (parameter, rate, mean, square) in &mut self.parameters {
                let mut gradient = parameter.grad();
                if !gradient.defined() {
                    continue;
                }
                *mean *= BETAS[0];
                *mean += &gradient * (1.0 - BETAS[0]);
                *square *= BETAS[1];
                *square += gradient.square() * (1.0 - BETAS[1]);
                let scale = (&*square / second).sqrt() + EPSILON;
                *parameter -= &*mean * (*rate * share / first) / scale;
                let _ = gradient.zero_();
            }
        });
    }

    /// Counts the parameters as they are for their average.
    pub fn remember(&mut self) {
        if self.sums.is_empty() {
            self.sums = self.parameters.iter().map(|(parameter, ..)| parameter.detach().zeros_like()).collect();
        }
        no_grad(|| self.sums.iter_mut().zip(&self.parameters).for_each(|(sum, (parameter, ..))| *sum += parameter));
        self.summed += 1;
    }

    /// Sets the parameters to the average of what was remembered (Polyak and Juditsky 1992): the noise of single steps
    /// averages out.
    pub fn settle(&mut self) {
        let count = f64::from(self.summed.max(1));
        no_grad(|| {
            for (sum, (parameter, ..)) in self.sums.iter().zip(&mut self.parameters) {
                parameter.copy_(&(sum / count));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn the_first_step_is_the_rate_and_a_bowl_is_descended() {
        let x = Tensor::from_slice(&[3.0_f32, -40.0]).set_requires_grad(true);
        let mut adam = Adam::default();
        adam.add(&x, 0.5);
        x.square().sum(Kind::Float).backward();
        adam.step(1.0);
        // mean / (1 - b1) over the root of square / (1 - b2) is the gradient's sign.
        assert!((x.double_value(&[0]) - 2.5).abs() < 1e-5 && (x.double_value(&[1]) + 39.5).abs() < 1e-5);
        for _ in 0..400 {
            x.square().sum(Kind::Float).backward();
            adam.step(1.0);
        }
        assert!(x.abs().max().double_value(&[]) < 0.1, "{x:?}");
    }

    #[test]
    fn the_average_is_of_what_was_remembered() {
        let x = Tensor::from_slice(&[0.0_f32]).set_requires_grad(true);
        let mut adam = Adam::default();
        adam.add(&x, 1.0);
        for value in [1.0, 2.0, 6.0] {
            let _ = no_grad(|| x.shallow_clone().fill_(value));
            adam.remember();
        }
        adam.settle();
        assert!((x.double_value(&[0]) - 3.0).abs() < 1e-6);
    }
}
