//! Small statistics with stated definitions: median, spread, rank correlation, the verdict over seeds.

/// Middle value of a sample (mean of the two middle ones for an even count); `None` when empty.
pub fn median(sample: &[f64]) -> Option<f64> {
    quantile(sample, 0.5)
}

/// Linear-interpolated quantile `q` in `[0, 1]`; `None` when empty.
pub fn quantile(sample: &[f64], q: f64) -> Option<f64> {
    if sample.is_empty() {
        return None;
    }
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let low = position.floor() as usize;
    let high = position.ceil() as usize;
    Some(sorted[low] + (sorted[high] - sorted[low]) * (position - low as f64))
}

/// Arithmetic mean; `None` when empty.
pub fn mean(sample: &[f64]) -> Option<f64> {
    (!sample.is_empty()).then(|| sample.iter().sum::<f64>() / sample.len() as f64)
}

/// Standard error of the mean (sample deviation with n-1, over sqrt n); `None` below two values.
pub fn standard_error(sample: &[f64]) -> Option<f64> {
    let n = sample.len() as f64;
    let centre = mean(sample)?;
    (sample.len() > 1).then(|| (sample.iter().map(|x| (x - centre).powi(2)).sum::<f64>() / (n - 1.0) / n).sqrt())
}

/// Outcome of a claim "A is greater than B" over paired seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The mean difference exceeds two standard errors.
    Held,
    /// The mean difference lies below minus two standard errors.
    NotHeld,
    /// Anything between.
    Undecided,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Held => "held",
            Self::NotHeld => "not held",
            Self::Undecided => "undecided",
        })
    }
}

/// The verdict over paired differences (A minus B, one a seed); undecided below two pairs.
pub fn verdict(differences: &[f64]) -> Verdict {
    match (mean(differences), standard_error(differences)) {
        (Some(centre), Some(error)) if centre > 2.0 * error => Verdict::Held,
        (Some(centre), Some(error)) if centre < -2.0 * error => Verdict::NotHeld,
        _ => Verdict::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_by_hand() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(quantile(&[0.0, 10.0], 0.25), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn verdict_needs_two_standard_errors() {
        // mean 1, deviation 1, n 4: standard error 0.5, so 1 > 2 * 0.5 fails exactly at the boundary.
        let sample = [0.0, 2.0, 0.5, 1.5];
        let error = standard_error(&sample).unwrap();
        assert!((error - (2.5_f64 / 3.0 / 4.0).sqrt()).abs() < 1e-12);
        assert_eq!(verdict(&[1.0, 1.1, 0.9]), Verdict::Held);
        assert_eq!(verdict(&[-1.0, -1.1, -0.9]), Verdict::NotHeld);
        assert_eq!(verdict(&[1.0, -1.0]), Verdict::Undecided);
        assert_eq!(verdict(&[1.0]), Verdict::Undecided);
    }
}
