//! Random problems like those that networks give, for measuring the solver.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Knapsack, Limit};

/// How the numbers of a random problem hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As formats of layers do: the loss falls fourfold a bit, bit operations grow with the square of the bits, size and
    /// memory with the bits, each with the layer's own size; latency grows with the bits, with noise. No two layers or
    /// formats are alike.
    Formats,
    /// Every number drawn evenly by itself.
    Independent,
}

/// Fewest bits of an option; each further one of eight has one or less more.
const LEAST_BITS: f64 = 2.0;
/// Range of bits over the options of a part.
const BITS: f64 = 6.0;

/// A random problem of `parts` parts with `options` options each under `limits` limits, which stand at shares of 0.3 to 0.6
/// of the way from the least that each can be to the most.
pub fn random_problem(kind: Kind, (parts, options, limits): (usize, usize, usize), rng: &mut ChaCha8Rng) -> Knapsack {
    let mut losses = Vec::with_capacity(parts);
    let mut weights = vec![Vec::with_capacity(parts); limits];
    for _ in 0..parts {
        let sensitivity = 100_f64.powf(rng.random());
        let sizes: Vec<f64> = (0..limits).map(|_| 30_f64.powf(rng.random())).collect();
        let bits: Vec<f64> = (0..options)
            .map(|at| LEAST_BITS + BITS * (at as f64 + rng.random_range(-0.3..0.3)) / (options.max(2) - 1) as f64)
            .collect();
        losses.push(match kind {
            Kind::Formats => {
                bits.iter().map(|bits| sensitivity * 0.25_f64.powf(*bits) * rng.random_range(0.5..2.0)).collect()
            }
            Kind::Independent => (0..options).map(|_| rng.random()).collect::<Vec<f64>>(),
        });
        for (at, own) in weights.iter_mut().enumerate() {
            let weight = |bits: &f64| match (kind, at % 4) {
                (Kind::Independent, _) => rng.random(),
                (Kind::Formats, 0) => sizes[at] * bits * bits,
                (Kind::Formats, 3) => sizes[at] * bits * rng.random_range(0.7..1.4),
                (Kind::Formats, _) => sizes[at] * bits,
            };
            own.push(bits.iter().map(weight).collect::<Vec<f64>>());
        }
    }
    let limits = weights.into_iter().map(|weights| {
        let end = |pick: fn(f64, f64) -> f64, from: f64| -> f64 {
            weights.iter().map(|own| own.iter().copied().fold(from, pick)).sum()
        };
        let (least, most) = (end(f64::min, f64::INFINITY), end(f64::max, 0.0));
        Limit { most: least + rng.random_range(0.3..0.6) * (most - least), weights }
    });
    Knapsack { losses, limits: limits.collect() }
}
