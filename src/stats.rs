//! Small statistics with stated definitions: median, spread, the verdict over seeds, the bootstrap.

use rand::Rng;
use rand::RngExt;

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

/// The straight line through some points by least squares: its value at 0, its slope, and the share of the variance that it
/// explains; `None` below two points or where all lie above one another.
pub fn line(points: &[(f64, f64)]) -> Option<(f64, f64, f64)> {
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let (middle_x, middle_y) = (mean(&x)?, mean(&y)?);
    let sum = |part: fn(f64, f64) -> f64| points.iter().map(|(x, y)| part(x - middle_x, y - middle_y)).sum::<f64>();
    let (xx, xy, yy) = (sum(|x, _| x * x), sum(|x, y| x * y), sum(|_, y| y * y));
    let slope = xy / xx;
    (points.len() > 1 && xx > 0.0)
        .then(|| (middle_y - slope * middle_x, slope, if yy > 0.0 { xy * slope / yy } else { 1.0 }))
}

/// Spearman's rank correlation of pairs (Pearson's of the ranks, equal values sharing their mean rank); `None` below two pairs or
/// where one side is all equal.
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (a, b) = (ranks(&a), ranks(&b));
    let (mean_a, mean_b) = (mean(&a)?, mean(&b)?);
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 { a.iter().zip(&b).map(|(x, y)| f(x - mean_a, y - mean_b)).sum() };
    let spread = (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt();
    (spread > 0.0).then(|| sum(&|x, y| x * y) / spread)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count() as f64;
        let equal = values.iter().filter(|other| other.total_cmp(value).is_eq()).count() as f64;
        below + (equal - 1.0) / 2.0
    };
    values.iter().map(rank).collect()
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

/// The verdict on "A is at least B" where `margin` less still counts, over paired differences (A minus B, one a seed).
pub fn verdict_at_least(differences: &[f64], margin: f64) -> Verdict {
    let raised: Vec<f64> = differences.iter().map(|difference| difference + margin).collect();
    verdict(&raised)
}

/// The verdict on "A equals B" within `margin`, over paired differences: held where mean +- 2 standard errors lies inside of
/// the margin, not held where it lies outside, undecided where it crosses it and below two pairs.
pub fn verdict_equal(differences: &[f64], margin: f64) -> Verdict {
    match (mean(differences), standard_error(differences)) {
        (Some(centre), Some(error)) if centre.abs() + 2.0 * error < margin => Verdict::Held,
        (Some(centre), Some(error)) if centre.abs() - 2.0 * error > margin => Verdict::NotHeld,
        _ => Verdict::Undecided,
    }
}

/// 95 % percentile bootstrap interval of the mean (Efron, "Bootstrap methods: another look at the jackknife", Annals
/// of Statistics 7(1), 1979): the 2.5 % and 97.5 % quantiles of the means of `resamples` samples, drawn from the sample
/// with replacement and as large as it. Too narrow for few values: of five normal ones it covers the mean 84 times in
/// 100, of three 75 times.
///
/// `None` below two values, which have no spread to draw from, and without resamples.
pub fn bootstrap_interval(sample: &[f64], resamples: usize, rng: &mut impl Rng) -> Option<(f64, f64)> {
    if sample.len() < 2 {
        return None;
    }
    let mut resampled_mean =
        |_| (0..sample.len()).map(|_| sample[rng.random_range(0..sample.len())]).sum::<f64>() / sample.len() as f64;
    let means: Vec<f64> = (0..resamples).map(&mut resampled_mean).collect();
    Some((quantile(&means, 0.025)?, quantile(&means, 0.975)?))
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use rand_distr::Distribution;
    use rand_distr::StandardNormal;

    use super::*;

    #[test]
    fn a_line_is_found_again_and_noise_is_not_explained() {
        let (at_zero, slope, share) = line(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]).unwrap();
        assert!((at_zero - 3.0).abs() < 1e-12 && (slope - 2.0).abs() < 1e-12 && (share - 1.0).abs() < 1e-12);
        // By hand: means 1 and 1, sums of squares 2 and 2, products 1: slope 1/2, a quarter of the variance.
        let (at_zero, slope, share) = line(&[(0.0, 0.0), (1.0, 2.0), (2.0, 1.0)]).unwrap();
        assert!((at_zero - 0.5).abs() < 1e-12 && (slope - 0.5).abs() < 1e-12 && (share - 0.25).abs() < 1e-12);
        assert!(line(&[(1.0, 2.0)]).is_none() && line(&[(1.0, 2.0), (1.0, 3.0)]).is_none());
    }

    #[test]
    fn bootstrap_means_of_coin_flips_are_binomial() {
        // 50 ones in 100: 100 x mean is Binomial(100, 1/2), with P(X <= 39) = 0.0176 and P(X <= 40) = 0.0284, so its
        // 2.5 % quantile is 40 and, by symmetry, its 97.5 % quantile 60.
        let sample: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        let (low, high) = bootstrap_interval(&sample, 20_000, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        assert!((low - 0.4).abs() < 1e-9 && (high - 0.6).abs() < 1e-9, "{low} {high}");
    }

    #[test]
    fn bootstrap_intervals_cover_the_true_mean() {
        // Percentile intervals of 30 normal values cover near 93.5 %; 400 trials have a deviation of 1.2 points, so a
        // false alarm on [89, 98] is a matter of 3.6 deviations.
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let covered = (0..400)
            .filter(|_| {
                let sample: Vec<f64> =
                    (0..30).map(|_| 5.0 + Distribution::<f64>::sample(&StandardNormal, &mut rng)).collect();
                let (low, high) = bootstrap_interval(&sample, 500, &mut rng).unwrap();
                low <= 5.0 && 5.0 <= high
            })
            .count();
        assert!((356..=392).contains(&covered), "{covered} of 400");
    }

    #[test]
    fn bootstrap_of_few_or_equal_values() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        assert_eq!(bootstrap_interval(&[], 100, &mut rng), None);
        assert_eq!(bootstrap_interval(&[1.0], 100, &mut rng), None);
        assert_eq!(bootstrap_interval(&[1.0, 2.0], 0, &mut rng), None);
        assert_eq!(bootstrap_interval(&[2.5; 4], 100, &mut rng), Some((2.5, 2.5)));
    }

    #[test]
    fn quantiles_by_hand() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(quantile(&[0.0, 10.0], 0.25), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn rank_correlation_by_hand() {
        let of = |pairs: &[(f64, f64)]| spearman(pairs);
        assert!((of(&[(1.0, 10.0), (2.0, 100.0), (3.0, 1000.0)]).unwrap() - 1.0).abs() < 1e-12);
        assert!((of(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]).unwrap() + 1.0).abs() < 1e-12);
        // Without ties 1 - 6 sum d^2 / (n (n^2 - 1)): d = 1, 1, 0, 0 gives 1 - 12 / 60.
        assert!((of(&[(1.0, 2.0), (2.0, 1.0), (3.0, 3.0), (4.0, 4.0)]).unwrap() - 0.8).abs() < 1e-12);
        assert_eq!((of(&[(1.0, 1.0)]), of(&[(1.0, 1.0), (1.0, 2.0)])), (None, None));
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

    #[test]
    fn verdicts_with_a_margin_by_hand() {
        // mean -0.2, deviation 0.1, n 4: standard error 0.05, so mean +- 2 of them is [-0.3, -0.1].
        let lower = [-0.3, -0.1, -0.3, -0.1].map(|x: f64| -0.2 + (x + 0.2) * 3.0_f64.sqrt() / 2.0);
        assert!((standard_error(&lower).unwrap() - 0.05).abs() < 1e-12);
        assert_eq!(verdict(&lower), Verdict::NotHeld);
        assert_eq!(verdict_at_least(&lower, 0.31), Verdict::Held);
        assert_eq!(verdict_at_least(&lower, 0.2), Verdict::Undecided);
        assert_eq!(verdict_at_least(&lower, 0.05), Verdict::NotHeld);
        assert_eq!(verdict_equal(&lower, 0.31), Verdict::Held);
        assert_eq!(verdict_equal(&lower, 0.2), Verdict::Undecided);
        assert_eq!(verdict_equal(&lower, 0.05), Verdict::NotHeld);
        assert_eq!(verdict_equal(&[0.0], 1.0), Verdict::Undecided);
    }
}
