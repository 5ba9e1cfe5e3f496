//! How a search space is sampled and scored.

use crate::error::{Error, Result};

/// How a space is sampled and scored; the defaults are the paper's.
#[derive(Clone, Debug, PartialEq)]
pub struct QtSettings {
    /// Latency budgets in ms.
    pub budgets_ms: Vec<f32>,
    /// Sampled networks of a space.
    pub samples: usize,
    /// Networks in a row that share a resolution.
    pub batch: usize,
    /// Networks whose mean loss counts.
    pub top: usize,
    /// Share of networks in the budget below which a space is punished, t.
    pub share: f64,
    /// Power of the punishment, a.
    pub power: f64,
}

impl Default for QtSettings {
    fn default() -> Self {
        Self { budgets_ms: Vec::new(), samples: 100_000, batch: 500, top: 50, share: 0.08, power: 0.01 }
    }
}

impl QtSettings {
    /// Refuses values out of range, by their option.
    ///
    /// # Errors
    /// The first such value.
    pub fn check(&self) -> Result<()> {
        if self.budgets_ms.is_empty() {
            return Err(Error::missing_option("--budget-ms", "give at least one latency in ms"));
        }
        if let Some(budget) = self.budgets_ms.iter().find(|budget| !(**budget > 0.0 && budget.is_finite())) {
            return Err(Error::bad_value("--budget-ms", budget, "a latency in ms above 0"));
        }
        for (option, value, most) in [
            ("--samples", self.samples, 10_000_000),
            ("--batch", self.batch, self.samples),
            ("--top", self.top, self.samples),
        ] {
            if !(1..=most).contains(&value) {
                return Err(Error::bad_value(option, value, format!("1 to {most}")));
            }
        }
        for (option, value) in [("--share", self.share), ("--power", self.power)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::bad_value(option, value, "0 to 1"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused_by_their_option() {
        let message = |change: fn(&mut QtSettings)| {
            let mut settings =
                QtSettings { budgets_ms: vec![1.0], samples: 100, batch: 7, top: 20, ..QtSettings::default() };
            change(&mut settings);
            settings.check().map_or_else(|error| error.to_string(), |()| String::new())
        };
        assert_eq!(message(|_| ()), "");
        assert!(message(|s| s.budgets_ms.clear()).contains("--budget-ms: give at least one"));
        assert!(message(|s| s.budgets_ms.push(-1.0)).contains("--budget-ms `-1`"));
        assert!(message(|s| s.budgets_ms.push(f32::NAN)).contains("--budget-ms `NaN`"));
        assert!(message(|s| s.top = 101).contains("--top `101`: 1 to 100"));
        assert!(message(|s| s.batch = 0).contains("--batch `0`"));
        assert!(message(|s| s.samples = 0).contains("--samples `0`"));
        assert!(message(|s| s.share = 1.5).contains("--share `1.5`"));
        assert!(message(|s| s.power = f64::NAN).contains("--power `NaN`"));
    }
}
