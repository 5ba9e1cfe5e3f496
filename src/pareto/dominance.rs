//! Which of two candidates is better, with and without limits.

use crate::error::Error;
use crate::error::Result;

/// Whether `a` dominates `b`: nowhere larger, somewhere smaller (all objectives minimised).
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(x, y)| x <= y) && a.iter().zip(b).any(|(x, y)| x < y)
}

/// What a candidate is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// Objectives, all minimised.
    pub objectives: &'a [f64],
    /// By how much the hard limits are broken, summed; 0 when feasible.
    pub violation: f64,
}

impl<'a> Scored<'a> {
    /// A candidate without limits.
    pub fn free(objectives: &'a [f64]) -> Self {
        Self { objectives, violation: 0.0 }
    }

    /// Constrained dominance (Deb et al. 2002, section VI): a feasible candidate beats an infeasible one, of two
    /// infeasible ones the smaller violation wins, and two feasible ones are compared by their objectives.
    pub fn dominates(&self, other: &Self) -> bool {
        if self.violation > 0.0 || other.violation > 0.0 {
            return self.violation < other.violation;
        }
        dominates(self.objectives, other.objectives)
    }
}

/// Refuses candidates that cannot be compared.
pub(super) fn check(points: &[Scored]) -> Result<()> {
    let width = points.first().map_or(0, |point| point.objectives.len());
    for (index, point) in points.iter().enumerate() {
        if point.objectives.len() != width {
            let given = point.objectives.len();
            return Err(Error::bad_value(
                format!("objectives of candidate {index}"),
                given,
                format!("expected {width}"),
            ));
        }
        if point.violation.is_nan() || point.objectives.iter().any(|x| x.is_nan()) {
            return Err(Error::bad_value(format!("objectives of candidate {index}"), "NaN", "expected numbers"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dominance_needs_one_strictly_smaller_objective() {
        assert!(dominates(&[1.0, 2.0], &[1.0, 3.0]));
        assert!(!dominates(&[1.0, 2.0], &[1.0, 2.0]));
        assert!(!dominates(&[1.0, 3.0], &[2.0, 2.0]));
    }

    #[test]
    fn feasible_first_then_smaller_violation_then_objectives() {
        let good = Scored { objectives: &[9.0], violation: 0.0 };
        let better = Scored { objectives: &[1.0], violation: 0.0 };
        let broken = Scored { objectives: &[0.0], violation: 0.5 };
        let worse = Scored { objectives: &[0.0], violation: 0.6 };
        assert!(good.dominates(&broken) && !broken.dominates(&good));
        assert!(broken.dominates(&worse) && !worse.dominates(&broken));
        assert!(better.dominates(&good) && !good.dominates(&better));
        // Equal violations are a tie whatever the objectives say.
        assert!(!broken.dominates(&Scored { objectives: &[7.0], violation: 0.5 }));
    }

    #[test]
    fn nan_and_ragged_objectives_are_named() {
        let nan = check(&[Scored::free(&[1.0]), Scored::free(&[f64::NAN])]).unwrap_err();
        assert!(nan.to_string().contains("candidate 1"));
        assert!(check(&[Scored { objectives: &[1.0], violation: f64::NAN }]).is_err());
        assert!(check(&[Scored::free(&[1.0]), Scored::free(&[1.0, 2.0])]).is_err());
        assert!(check(&[]).is_ok());
    }
}
