//! The weight of the policy's entropy over a search: explore first, be nearly certain at the end.
//!
//! Source: the FLIQS authors' code (Dotzel et al., AutoML 2024). The weight *penalises* entropy, so the last phase
//! trains one configuration and no retraining is needed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::error::Result;

/// How the weight grows from 0 to its end value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntropyShape {
    /// 0.5 end (1 - cos(pi s)), where s runs from 0 at the delay to 1 at the end.
    #[default]
    Cosine,
    /// end s.
    Linear,
    /// end, from the first step on.
    Constant,
    /// 0 in the first half of all steps, then end.
    Heaviside,
    /// Always 0.
    None,
}

/// The shapes by name.
const SHAPES: [(EntropyShape, &str); 5] = [
    (EntropyShape::Cosine, "cosine"),
    (EntropyShape::Linear, "linear"),
    (EntropyShape::Constant, "constant"),
    (EntropyShape::Heaviside, "heaviside"),
    (EntropyShape::None, "none"),
];

impl fmt::Display for EntropyShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(SHAPES.iter().find(|(shape, _)| shape == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for EntropyShape {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = SHAPES.iter().find(|(_, name)| *name == text).map(|(shape, _)| *shape);
        found.ok_or_else(|| Error::unknown_name("--entropy", text, SHAPES.iter().map(|(_, name)| *name)))
    }
}

/// The entropy weight of each step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntropySchedule {
    /// Form of the growth.
    pub shape: EntropyShape,
    /// Final weight; FLIQS uses 0.5.
    pub end: f64,
    /// Steps during which the policy is not trained.
    pub delay: usize,
    /// Steps of the whole search.
    pub total: usize,
}

impl EntropySchedule {
    /// The weight at `step` (from 0).
    pub fn weight(&self, step: usize) -> f64 {
        let span = self.total.saturating_sub(self.delay).max(1);
        let share = (step.saturating_sub(self.delay) as f64 / span as f64).min(1.0);
        match self.shape {
            EntropyShape::Cosine => 0.5 * self.end * (1.0 - (std::f64::consts::PI * share).cos()),
            EntropyShape::Linear => self.end * share,
            EntropyShape::Constant => self.end,
            EntropyShape::Heaviside if 2 * step < self.total => 0.0,
            EntropyShape::Heaviside => self.end,
            EntropyShape::None => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(shape: EntropyShape, steps: &[usize]) -> Vec<f64> {
        let schedule = EntropySchedule { shape, end: 0.5, delay: 100, total: 500 };
        steps.iter().map(|&step| (schedule.weight(step) * 1e4).round() / 1e4).collect()
    }

    #[test]
    fn cosine_has_the_published_values_at_the_quarters() {
        let steps = [0, 100, 200, 300, 400, 500, 900];
        assert_eq!(weights(EntropyShape::Cosine, &steps), [0.0, 0.0, 0.0732, 0.25, 0.4268, 0.5, 0.5]);
    }

    #[test]
    fn the_other_shapes_by_hand() {
        assert_eq!(weights(EntropyShape::Linear, &[99, 200, 500, 501]), [0.0, 0.125, 0.5, 0.5]);
        assert_eq!(weights(EntropyShape::Constant, &[0, 500]), [0.5, 0.5]);
        assert_eq!(weights(EntropyShape::Heaviside, &[249, 250]), [0.0, 0.5]);
        assert_eq!(weights(EntropyShape::None, &[0, 500]), [0.0, 0.0]);
    }

    #[test]
    fn a_delay_as_long_as_the_search_is_no_division_by_zero() {
        let schedule = EntropySchedule { shape: EntropyShape::Cosine, end: 0.5, delay: 10, total: 10 };
        assert!(schedule.weight(9).abs() < 1e-12 && (schedule.weight(11) - 0.5).abs() < 1e-12);
    }
}
