//! From the sum of a network's kernels to its time: what no kernel shows, fitted to whole networks.

use serde::{Deserialize, Serialize};

use super::regression::nonnegative_least_squares;

/// Factors on the sums of kernel times, and a time for every call.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overhead {
    /// Microseconds of every call.
    pub call_us: f64,
    /// On kernels in float32.
    pub float32: f64,
    /// On kernels in narrower formats.
    pub narrow: f64,
    /// On transitions.
    pub transitions: f64,
    /// Networks that these were fitted to.
    pub networks: usize,
}

impl Default for Overhead {
    fn default() -> Self {
        Self { call_us: 0.0, float32: 1.0, narrow: 1.0, transitions: 1.0, networks: 0 }
    }
}

/// Sums of kernel times of one network, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Features {
    /// Of kernels in float32.
    pub float32: f64,
    /// Of kernels in narrower formats.
    pub narrow: f64,
    /// Of transitions.
    pub transitions: f64,
}

/// How many networks the wish that factors be near 1 counts as.
const PRIOR: f64 = 0.05;

impl Overhead {
    /// Fits to measured networks, by relative errors.
    pub fn fit(networks: &[(Features, f64)]) -> Self {
        let row = |(features, us): &(Features, f64)| {
            [1.0, features.float32, features.narrow, features.transitions].map(|sum| sum / us)
        };
        let mut rows: Vec<[f64; 4]> = networks.iter().map(row).collect();
        let mut targets = vec![1.0; rows.len()];
        let mean = |term: usize| rows.iter().map(|row| row[term]).sum::<f64>() / rows.len().max(1) as f64;
        let means: [f64; 4] = std::array::from_fn(mean);
        // A factor that no network shows stays at 1.
        for term in 1..4 {
            let weight = (PRIOR * means[term].max(1e-3)).sqrt();
            let mut wish = [0.0; 4];
            wish[term] = weight;
            rows.push(wish);
            targets.push(weight);
        }
        let [call_us, float32, narrow, transitions] = nonnegative_least_squares(&rows, &targets);
        Self { call_us, float32, narrow, transitions, networks: networks.len() }
    }

    /// Time of a network in microseconds.
    pub fn time(&self, features: &Features) -> f64 {
        self.call_us
            + self.float32 * features.float32
            + self.narrow * features.narrow
            + self.transitions * features.transitions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_recovered_and_those_that_nothing_shows_stay_at_one() {
        let truth = Overhead { call_us: 12.0, float32: 0.95, narrow: 1.1, transitions: 1.0, networks: 6 };
        let features = |float32: f64, narrow: f64| Features { float32, narrow, transitions: 0.0 };
        let sums = [(100.0, 0.0), (900.0, 0.0), (0.0, 80.0), (0.0, 700.0), (300.0, 300.0), (60.0, 20.0)];
        let networks: Vec<_> = sums.map(|(a, b)| (features(a, b), truth.time(&features(a, b)))).into();
        let found = Overhead::fit(&networks);
        assert!((found.transitions - 1.0).abs() < 1e-6, "{found:?}");
        for (features, us) in &networks {
            assert!((found.time(features) / us - 1.0).abs() < 0.02, "{found:?}");
        }
    }
}
