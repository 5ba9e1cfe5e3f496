//! One number from a quality and its costs.
//!
//! `Abs` is TuNAS's absolute reward (Bender et al., CVPR 2020), which FLIQS uses; the others are the alternatives
//! in the FLIQS authors' code. There beta is positive and subtracted; TuNAS writes the same with a negative beta.

use serde::{Deserialize, Serialize};

use super::Evaluated;

/// How costs C against their targets T change the quality Q.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reward {
    /// Q - beta sum |1 - C/T|: meets the target from both sides.
    #[default]
    Abs,
    /// Q - beta sum |1 - max(1, C/T)|: no penalty below the target.
    OneSided,
    /// Q prod (C/T)^beta; beta must be negative to penalise.
    SoftExponential,
    /// Q prod max(1, C/T)^beta; beta must be negative to penalise.
    HardExponential,
}

impl Reward {
    /// Reward of `quality` (larger is better) with the cost ratios C/T.
    pub fn value(self, quality: f64, ratios: impl IntoIterator<Item = f64>, beta: f64) -> f64 {
        let ratios = ratios.into_iter();
        match self {
            Self::Abs => quality - beta * ratios.map(|r| (1.0 - r).abs()).sum::<f64>(),
            Self::OneSided => quality - beta * ratios.map(|r| (1.0 - r.max(1.0)).abs()).sum::<f64>(),
            Self::SoftExponential => quality * ratios.map(|r| r.powf(beta)).product::<f64>(),
            Self::HardExponential => quality * ratios.map(|r| r.max(1.0).powf(beta)).product::<f64>(),
        }
    }
}

/// What a search for a single network strives for. Without targets: top-1 alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Goal {
    /// Form of the reward.
    pub reward: Reward,
    /// Weight of the costs; 0.07 to 0.1 is TuNAS's scale for a quality in [0, 1].
    pub beta: f64,
    /// Target of each cost, in the run's order; costs beyond the list are ignored.
    pub targets: Vec<f64>,
}

impl Goal {
    /// The reward of a candidate: quality is top-1 as a share, 1 - objective 0 / 100.
    pub fn value(&self, candidate: &Evaluated) -> f64 {
        let mut objectives = candidate.objectives.iter();
        let quality = 1.0 - objectives.next().unwrap_or(&0.0) / 100.0;
        let ratios = objectives.zip(&self.targets).map(|(cost, target)| cost / target);
        self.reward.value(quality, ratios, self.beta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genome::Genome;

    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-12, "{value} against {expected}");
    }

    #[test]
    fn values_of_the_authors_unit_tests() {
        close(Reward::Abs.value(0.8, [15.0 / 5.0], 1.0), -1.2);
        close(Reward::Abs.value(0.9, [5.0 / 5.0], 1.0), 0.9);
        close(Reward::Abs.value(0.95, [3.0 / 5.0], 2.0), 0.15);
        close(Reward::OneSided.value(0.95, [3.0 / 5.0], 2.0), 0.95);
        close(Reward::OneSided.value(0.8, [15.0 / 5.0], 1.0), -1.2);
    }

    #[test]
    fn exponential_forms_by_hand() {
        // 0.8 * 4^-0.5 = 0.4; below the target only the soft form rewards: 0.8 * 0.25^-0.5 = 1.6.
        close(Reward::SoftExponential.value(0.8, [4.0], -0.5), 0.4);
        close(Reward::HardExponential.value(0.8, [4.0], -0.5), 0.4);
        close(Reward::SoftExponential.value(0.8, [0.25], -0.5), 1.6);
        close(Reward::HardExponential.value(0.8, [0.25], -0.5), 0.8);
    }

    #[test]
    fn several_costs_add_their_penalties() {
        // 0.9 - 0.1 * (0.5 + 1) = 0.75.
        close(Reward::Abs.value(0.9, [0.5, 2.0], 0.1), 0.75);
        close(Reward::OneSided.value(0.9, [0.5, 2.0], 0.1), 0.8);
    }

    #[test]
    fn a_goal_reads_quality_and_costs_from_the_objectives() {
        let candidate = Evaluated { id: 0, genome: Genome(vec![0]), objectives: vec![10.0, 6.0, 9.0], violation: 0.0 };
        close(Goal::default().value(&candidate), 0.9);
        let goal = Goal { reward: Reward::Abs, beta: 0.1, targets: vec![4.0] };
        close(goal.value(&candidate), 0.85);
    }
}
