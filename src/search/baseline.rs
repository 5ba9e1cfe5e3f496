//! The moving average that a reward is compared with.

use serde::{Deserialize, Serialize};

/// Exponential moving average of rewards; FLIQS keeps 0.99 of the old value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    keep: f64,
    mean: Option<f64>,
}

impl Baseline {
    /// A baseline that keeps the share `keep` of its old value at each step.
    pub fn new(keep: f64) -> Self {
        Self { keep, mean: None }
    }

    /// Takes a reward in and returns its advantage, reward - baseline. The first reward *sets* the baseline, and the
    /// baseline already includes the reward that it is compared with (as in the authors' code).
    pub fn advantage(&mut self, reward: f64) -> f64 {
        let mean = self.mean.map_or(reward, |mean| self.keep * mean + (1.0 - self.keep) * reward);
        self.mean = Some(mean);
        reward - mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reward_sets_it_and_later_ones_count_one_percent() {
        let mut baseline = Baseline::new(0.99);
        assert!(baseline.advantage(5.0).abs() < 1e-12);
        // New mean 0.99 * 5 + 0.01 * 7 = 5.02.
        assert!((baseline.advantage(7.0) - 1.98).abs() < 1e-12);
        // 0.99 * 5.02 + 0.01 * 5.02 = 5.02.
        assert!(baseline.advantage(5.02).abs() < 1e-12);
    }
}
