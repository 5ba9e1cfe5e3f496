//! Switching error: how much the outputs of layers change when the formats of a network are drawn anew, weights and images
//! fixed. A layer's input shifts when the layers in front of it change their formats; a search that settles should shift it
//! less and less (Dotzel et al. 2023, arXiv 2308.03290, claim so; the definition is ours):
//!
//! ```text
//! error = mean over pairs (i, j) and layers of  mean |y_i - y_j| / (mean |y_i| + mean |y_j|) * 2
//! ```

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, no_grad};

use crate::genome::Genome;
use crate::models::Pass;
use crate::models::Statistics;
use crate::models::Weights;
use crate::models::layer_outputs;
use crate::space::Space;

/// The switching error at the end of an epoch: a row of `switching.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switching {
    /// Number of the training in its run.
    pub id: usize,
    /// Epochs done.
    pub epoch: usize,
    /// Mean entropy of the policy's decisions, in nats.
    pub mean_entropy: f64,
    /// Error between networks drawn from the policy.
    pub policy_pairs: f64,
    /// Error between networks drawn evenly, on the same weights.
    pub even_pairs: f64,
}

/// The switching error over pairs of genomes of one space, whose operators are fixed. Weights, their running statistics and
/// ranges are left as they are; statistics are those of the batch, as in training.
///
/// # Shapes
/// `x`: `[n, c, h, w]`, normalised images.
pub fn switching_error(space: &Space, weights: &Weights, x: &Tensor, pairs: &[(Genome, Genome)]) -> f64 {
    let errors: Vec<f64> = pairs
        .iter()
        .flat_map(|(a, b)| changes(&outputs(space, weights, x, a), &outputs(space, weights, x, b)))
        .collect();
    errors.iter().sum::<f64>() / errors.len().max(1) as f64
}

/// What the layers with weights give.
fn outputs(space: &Space, weights: &Weights, x: &Tensor, genome: &Genome) -> Vec<Tensor> {
    let network = space.network(&genome.0);
    let pass = Pass { statistics: Statistics::Batch(0.0), follow: None, taps: None };
    let all = no_grad(|| layer_outputs(&network, weights, &mut weights.ranges.clone(), x, pass));
    network.weighted().into_iter().map(|layer| all[layer].shallow_clone()).collect()
}

/// Relative change of each layer's output.
fn changes(a: &[Tensor], b: &[Tensor]) -> Vec<f64> {
    let size = |y: &Tensor| y.abs().mean(Kind::Double).double_value(&[]);
    let change = |(a, b): (&Tensor, &Tensor)| 2.0 * size(&(a - b)) / (size(a) + size(b)).max(f64::MIN_POSITIVE);
    a.iter().zip(b).map(change).collect()
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::seed::Seed;
    use crate::space::SpaceFile;

    #[test]
    fn equal_formats_switch_nothing_and_far_ones_more_than_near_ones() {
        let space = Space::new(SpaceFile::demo().unwrap()).unwrap();
        let weights = Weights::initialised(&space.network(&space.widest().0), Seed::new(1), Device::Cpu);
        let x = Tensor::arange(8 * 28 * 28, (Kind::Float, Device::Cpu)).reshape([8, 1, 28, 28]).sin();
        let uniform = |name: &str| Genome(space.uniform(name.parse().unwrap()).unwrap());
        let error = |a: &str, b: &str| switching_error(&space, &weights, &x, &[(uniform(a), uniform(b))]);
        assert!(error("int4", "int4").abs() < 1e-12);
        let (near, far) = (error("int6", "int8"), error("int2", "int8"));
        assert!(0.0 < near && 2.0 * near < far && far < 2.0, "{near} {far}");
    }

    #[test]
    fn changes_by_hand() {
        // |1 - 3| and |2 - 2| have mean 1; mean |a| = 1.5, mean |b| = 2.5.
        let found = changes(&[Tensor::from_slice(&[1.0, 2.0])], &[Tensor::from_slice(&[3.0, 2.0])]);
        assert!((found[0] - 2.0 / 4.0).abs() < 1e-12);
        assert!(
            changes(
                &[Tensor::zeros([2], (Kind::Float, Device::Cpu))],
                &[Tensor::zeros([2], (Kind::Float, Device::Cpu))]
            )[0]
            .abs()
                < 1e-12
        );
    }
}
