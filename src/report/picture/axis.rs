//! From values to pixels, and where the ticks stand.

/// A straight map from values to pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    values: (f64, f64),
    pixels: (i32, i32),
}

impl Axis {
    /// The axis whose first value lies on the first pixel and whose second on the second.
    pub(super) fn new(values: (f64, f64), pixels: (i32, i32)) -> Self {
        Self { values, pixels }
    }

    /// The nearest pixel; values outside the axis stop at its ends.
    pub(super) fn place(&self, value: f64) -> i32 {
        let share = ((value - self.values.0) / (self.values.1 - self.values.0)).clamp(0.0, 1.0);
        let (from, to) = (f64::from(self.pixels.0), f64::from(self.pixels.1));
        (from + share * (to - from)).round() as i32
    }

    /// The values at both ends.
    pub(super) fn values(&self) -> (f64, f64) {
        self.values
    }

    /// Whether the axis ends above `value`.
    pub(super) fn is_below(&self, value: f64) -> bool {
        value < self.values.0
    }
}

/// The range of `values`, wider by `margin` of its span at both ends, and at least `least` wide before that.
pub(super) fn widened(values: (f64, f64), margin: f64, least: f64) -> (f64, f64) {
    let missing = (least - (values.1 - values.0)).max(0.0) / 2.0;
    let (low, high) = (values.0 - missing, values.1 + missing);
    (low - margin * (high - low), high + margin * (high - low))
}

/// Ticks at round values, at most `most`, with their labels.
pub(super) fn even_ticks(range: (f64, f64), most: usize) -> Vec<(f64, String)> {
    let least_step = (range.1 - range.0) / most as f64;
    let power = least_step.log10().floor() as i32;
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * 10_f64.powi(power));
    let step = steps.into_iter().find(|step| *step >= least_step).unwrap_or(steps[3]);
    let decimals = usize::try_from(-(step.log10() + 1e-9).floor() as i32).unwrap_or(0);
    let counts = (range.0 / step).ceil() as i64..=(range.1 / step).floor() as i64;
    counts.map(|count| count as f64 * step).map(|value| (value, format!("{value:.decimals$}"))).collect()
}

/// First digits of ticks on a logarithmic axis, from many to few.
const DIGITS: [&[f64]; 5] = [
    &[1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0],
    &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
    &[1.0, 2.0, 3.0, 5.0, 7.0],
    &[1.0, 2.0, 5.0],
    &[1.0],
];

/// Ticks at round values of a logarithmic axis over `range` (both ends > 0), at most `most`, with plain labels.
pub(super) fn log_ticks(range: (f64, f64), most: usize) -> Vec<(f64, String)> {
    let decades = range.0.log10().floor() as i32..=range.1.log10().ceil() as i32;
    let at = |digits: &[f64]| -> Vec<f64> {
        let ticks = decades.clone().flat_map(|decade| digits.iter().map(move |digit| digit * 10_f64.powi(decade)));
        ticks.filter(|tick| (range.0..=range.1).contains(tick)).collect()
    };
    let ticks = DIGITS.iter().map(|digits| at(digits)).find(|ticks| ticks.len() <= most);
    let ticks = ticks.unwrap_or_else(|| {
        let all = at(DIGITS[4]);
        let every = all.len().div_ceil(most);
        all.into_iter().step_by(every).collect()
    });
    // Over a narrow range a logarithmic axis is nearly an even one.
    if ticks.len() < 3 {
        return even_ticks(range, most);
    }
    ticks.into_iter().map(|tick| (tick, plain(tick))).collect()
}

/// A number of at most two digits, without the noise of binary fractions and without zeros behind it.
fn plain(value: f64) -> String {
    let decimals = usize::try_from(1 - value.log10().floor() as i32).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[(f64, String)]) -> Vec<&str> {
        ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn values_are_placed_between_the_ends() {
        let axis = Axis::new((60.0, 90.0), (500, 80));
        assert_eq!([60.0, 75.0, 90.0, 10.0, 99.0].map(|value| axis.place(value)), [500, 290, 80, 500, 80]);
        assert!(axis.is_below(59.9) && !axis.is_below(60.0));
    }

    #[test]
    fn a_range_gets_margins_and_a_least_width() {
        assert_eq!(widened((10.0, 20.0), 0.1, 1.0), (9.0, 21.0));
        assert_eq!(widened((5.0, 5.0), 0.25, 2.0), (3.5, 6.5));
    }

    #[test]
    fn even_ticks_are_round_and_few() {
        assert_eq!(labels(&even_ticks((58.5, 86.5), 8)), ["60", "65", "70", "75", "80", "85"]);
        assert_eq!(labels(&even_ticks((84.03, 84.31), 8)), ["84.05", "84.10", "84.15", "84.20", "84.25", "84.30"]);
        assert_eq!(
            labels(&even_ticks((0.0, 100.0), 10)),
            ["0", "10", "20", "30", "40", "50", "60", "70", "80", "90", "100"]
        );
    }

    #[test]
    fn log_ticks_have_plain_labels_over_any_range() {
        assert_eq!(
            labels(&log_ticks((0.035, 0.66), 9)),
            ["0.04", "0.05", "0.07", "0.1", "0.15", "0.2", "0.3", "0.4", "0.5"]
        );
        assert_eq!(
            labels(&log_ticks((0.7, 1200.0), 10)),
            ["1", "2", "5", "10", "20", "50", "100", "200", "500", "1000"]
        );
        assert_eq!(labels(&log_ticks((1e-6, 1e9), 8)).len(), 8);
        assert_eq!(
            labels(&log_ticks((2.11, 2.19), 9)),
            ["2.11", "2.12", "2.13", "2.14", "2.15", "2.16", "2.17", "2.18", "2.19"]
        );
        for (low, high) in [(0.01, 0.013), (3.0, 3.3), (0.5, 5e4), (40.0, 41.0)] {
            let ticks = log_ticks((low, high), 9);
            assert!((3..=10).contains(&ticks.len()), "{ticks:?}");
            for (value, label) in &ticks {
                assert!((label.parse::<f64>().unwrap() / value - 1.0).abs() < 1e-9, "{value} {label}");
            }
        }
    }
}
