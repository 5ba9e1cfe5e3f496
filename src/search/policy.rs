//! The FLIQS controller: one row of logits a decision, trained by REINFORCE and an entropy penalty.
//!
//! Source: FLIQS (Dotzel et al., AutoML 2024), the authors' open code: independent categoricals, equal logits at the
//! start, Adam.
//!
//! The loss of one sampled genome `a` with advantage A and entropy weight B, where the means run over the n decisions
//! that have more than one option and H is in nats:
//!
//! ```text
//! L = -A mean_i log p_i[a_i] + B mean_i H(p_i),   p_i = softmax(z_i)
//! ```
//!
//! With d log p[a] / d z_j = [j = a] - p_j and d H / d z_j = -p_j (log p_j + H), its gradient is
//!
//! ```text
//! dL/dz_ij = ( -A ([j = a_i] - p_ij) - B p_ij (log p_ij + H_i) ) / n
//! ```

use rand::Rng;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::genome::Choices;
use crate::genome::Genome;

/// Adam's decay rates and guard (Kingma and Ba, ICLR 2015; PyTorch's defaults).
const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// A logit table with its optimizer. Its serde form holds the whole state: an exact resume needs nothing else
/// (RON keeps every bit of a number; serde_json does so only with its feature `float_roundtrip`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    learning_rate: f64,
    steps: i32,
    logits: Vec<Vec<f64>>,
    first_moment: Vec<Vec<f64>>,
    second_moment: Vec<Vec<f64>>,
}

impl Policy {
    /// A uniform policy over `choices`.
    pub fn new(choices: &Choices, learning_rate: f64) -> Self {
        let zeros: Vec<Vec<f64>> = choices.options().iter().map(|&n| vec![0.0; usize::from(n)]).collect();
        Self { learning_rate, steps: 0, logits: zeros.clone(), first_moment: zeros.clone(), second_moment: zeros }
    }

    /// Probability of each option of each decision.
    pub fn probabilities(&self) -> Vec<Vec<f64>> {
        self.logits.iter().map(|row| softmax(row)).collect()
    }

    /// A genome drawn from the policy.
    pub fn sample(&self, rng: &mut impl Rng) -> Genome {
        let draw = |row: &Vec<f64>| {
            let mut left: f64 = rng.random();
            let found = softmax(row).iter().position(|p| {
                left -= p;
                left < 0.0
            });
            found.unwrap_or(row.len() - 1) as u8
        };
        Genome(self.logits.iter().map(draw).collect())
    }

    /// The most probable option of each decision; the first of equals.
    pub fn argmax(&self) -> Genome {
        let best = |row: &Vec<f64>| (0..row.len()).fold(0, |best, j| if row[j] > row[best] { j } else { best }) as u8;
        Genome(self.logits.iter().map(best).collect())
    }

    /// Probability of the most probable option of each decision.
    pub fn max_probability(&self) -> Vec<f64> {
        self.logits.iter().map(|row| softmax(row).into_iter().fold(0.0, f64::max)).collect()
    }

    /// Mean entropy in nats over the decisions with more than one option; 0 if there is none.
    pub fn mean_entropy(&self) -> f64 {
        let free = self.logits.iter().filter(|row| row.len() > 1);
        free.map(|row| entropy(&softmax(row))).sum::<f64>() / self.free_decisions().max(1) as f64
    }

    /// The decisions, the most certain (largest top probability) first; in order where equal.
    pub fn by_certainty(&self) -> Vec<usize> {
        let certainty = self.max_probability();
        let mut order: Vec<usize> = (0..certainty.len()).collect();
        order.sort_by(|&a, &b| certainty[b].total_cmp(&certainty[a]));
        order
    }

    /// One Adam step down the loss of `sample`.
    ///
    /// # Panics
    /// If `sample` does not fit the choices the policy was made for.
    pub fn update(&mut self, sample: &Genome, advantage: f64, entropy_weight: f64) {
        let gradient = self.gradient(sample, advantage, entropy_weight);
        self.steps = self.steps.saturating_add(1);
        let correction1 = 1.0 - BETA1.powi(self.steps);
        let correction2 = 1.0 - BETA2.powi(self.steps);
        for (i, row) in gradient.iter().enumerate() {
            for (j, &g) in row.iter().enumerate() {
                let m = &mut self.first_moment[i][j];
                *m = BETA1 * *m + (1.0 - BETA1) * g;
                let v = &mut self.second_moment[i][j];
                *v = BETA2 * *v + (1.0 - BETA2) * g * g;
                self.logits[i][j] -= self.learning_rate * (*m / correction1) / ((*v / correction2).sqrt() + EPSILON);
            }
        }
    }

    fn gradient(&self, sample: &Genome, advantage: f64, entropy_weight: f64) -> Vec<Vec<f64>> {
        assert_eq!(sample.0.len(), self.logits.len(), "genome {sample} has another number of decisions");
        let n = self.free_decisions().max(1) as f64;
        let row_gradient = |(row, &chosen): (&Vec<f64>, &u8)| {
            assert!(usize::from(chosen) < row.len(), "genome {sample} has an option out of range");
            let p = softmax(row);
            let h = entropy(&p);
            let slope = |(j, &p): (usize, &f64)| {
                let hit = if j == usize::from(chosen) { 1.0 } else { 0.0 };
                (-advantage * (hit - p) - entropy_weight * p * (log(p) + h)) / n
            };
            p.iter().enumerate().map(slope).collect()
        };
        self.logits.iter().zip(&sample.0).map(row_gradient).collect()
    }

    fn free_decisions(&self) -> usize {
        self.logits.iter().filter(|row| row.len() > 1).count()
    }
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let top = row.iter().copied().fold(f64::MIN, f64::max);
    let powers: Vec<f64> = row.iter().map(|z| (z - top).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// The logarithm, kept finite where a probability underflows to 0 (its product with p is then 0, as in the limit).
fn log(p: f64) -> f64 {
    p.max(f64::MIN_POSITIVE).ln()
}

fn entropy(p: &[f64]) -> f64 {
    -p.iter().map(|&p| p * log(p)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    fn ragged() -> Policy {
        let mut policy = Policy::new(&Choices::new(vec![3, 1, 2, 5]).unwrap(), 0.05);
        policy.logits = vec![vec![0.3, -1.0, 2.0], vec![0.7], vec![0.0, 0.5], vec![1.0, 0.2, -0.3, 0.0, 0.9]];
        policy
    }

    /// The loss as the module's documentation states it.
    fn loss(policy: &Policy, sample: &Genome, advantage: f64, weight: f64) -> f64 {
        let p = policy.probabilities();
        let free = || p.iter().zip(&sample.0).filter(|(row, _)| row.len() > 1);
        let n = free().count() as f64;
        let likelihood: f64 = free().map(|(row, &a)| row[usize::from(a)].ln()).sum();
        let entropy: f64 = free().map(|(row, _)| -row.iter().map(|p| p * p.ln()).sum::<f64>()).sum();
        (-advantage * likelihood + weight * entropy) / n
    }

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        let policy = ragged();
        let sample = Genome(vec![1, 0, 1, 4]);
        for (advantage, weight) in [(0.7, 0.0), (0.0, 0.5), (-1.3, 0.4)] {
            let gradient = policy.gradient(&sample, advantage, weight);
            for (i, row) in gradient.iter().enumerate() {
                for (j, &g) in row.iter().enumerate() {
                    let moved = |step: f64| {
                        let mut other = policy.clone();
                        other.logits[i][j] += step;
                        loss(&other, &sample, advantage, weight)
                    };
                    // Central difference: error of order 1e-5 squared.
                    let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    assert!((g - slope).abs() < 1e-8, "({i}, {j}): {g} against {slope}");
                }
            }
        }
    }

    #[test]
    fn a_new_policy_is_uniform() {
        let policy = Policy::new(&Choices::new(vec![4, 1, 2]).unwrap(), 0.1);
        assert_eq!(policy.max_probability(), [0.25, 1.0, 0.5]);
        assert_eq!(policy.by_certainty(), [1, 2, 0]);
        assert_eq!(policy.argmax(), Genome(vec![0, 0, 0]));
        // Mean over the two free decisions of ln 4 and ln 2.
        assert!((policy.mean_entropy() - 1.5 * 2.0_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn the_first_adam_step_moves_every_logit_by_the_learning_rate() {
        // Corrected moments of the first step are g and g^2: the step is lr * sign(g), but for epsilon.
        let mut policy = Policy::new(&Choices::new(vec![2, 1]).unwrap(), 0.1);
        policy.update(&Genome(vec![1, 0]), 1.0, 0.0);
        assert!((policy.logits[0][1] - 0.1).abs() < 1e-6 && (policy.logits[0][0] + 0.1).abs() < 1e-6);
        assert!(policy.logits[1][0].abs() < 1e-12);
    }

    #[test]
    fn samples_follow_the_probabilities() {
        let policy = ragged();
        let mut rng = Seed::new(0).rng();
        let hits = (0..20_000).filter(|_| policy.sample(&mut rng).0[2] == 1).count() as f64 / 20_000.0;
        // Deviation of the share: below sqrt(0.25 / 20000) = 0.0035; 5 of them.
        assert!((hits - policy.probabilities()[2][1]).abs() < 0.0177);
    }

    #[test]
    fn a_planted_best_option_is_found() {
        let choices = Choices::new(vec![3, 5, 2, 4]).unwrap();
        let planted = Genome(vec![2, 3, 0, 1]);
        let mut policy = Policy::new(&choices, 0.05);
        let mut baseline = crate::search::Baseline::new(0.99);
        let mut rng = Seed::new(1).rng();
        for _ in 0..1500 {
            let sample = policy.sample(&mut rng);
            let reward = sample.0.iter().zip(&planted.0).filter(|(a, b)| a == b).count() as f64;
            let advantage = baseline.advantage(reward);
            policy.update(&sample, advantage, 0.0);
        }
        assert_eq!(policy.argmax(), planted);
        assert!(policy.max_probability().iter().all(|&p| p > 0.95));
    }

    #[test]
    fn the_entropy_weight_alone_makes_the_policy_certain() {
        let mut policy = ragged();
        let before = policy.mean_entropy();
        for _ in 0..500 {
            policy.update(&Genome(vec![0; 4]), 0.0, 0.5);
        }
        assert!(before > 0.5 && policy.mean_entropy() < 0.01);
    }

    #[test]
    fn state_survives_ron_bit_by_bit() {
        let mut policy = ragged();
        policy.update(&Genome(vec![1, 0, 1, 4]), 0.3, 0.1);
        let text = ron::to_string(&policy).unwrap();
        let mut copy: Policy = ron::from_str(&text).unwrap();
        assert_eq!(copy, policy);
        copy.update(&Genome(vec![0, 0, 0, 0]), 0.3, 0.1);
        policy.update(&Genome(vec![0, 0, 0, 0]), 0.3, 0.1);
        assert_eq!(copy, policy);
    }
}
