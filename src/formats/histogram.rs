//! The distribution of a tensor's own values, as a histogram with the partial moments that error theory asks for.

use super::{Distribution, Moments, absmax};

/// Equal bins over the range of the values.
const BINS: usize = 4096;

/// Values in equal bins, even within each; exact zeros, of which a ReLU leaves many, stand apart, for every grid has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Largest magnitude: the bins span `[-reach, reach]`.
    reach: f64,
    /// Share of each bin.
    shares: Vec<f64>,
    /// Moments of all that is below each bin.
    below: Vec<Moments>,
    /// Share of exact zeros.
    zeros: f64,
}

impl Histogram {
    /// The histogram of some values; `None` where none differs from 0 or one is not finite.
    pub fn of(values: &[f32]) -> Option<Self> {
        Self::of_runs(values, values.len())
    }

    /// The histogram of values that are scaled by runs of `run` elements, as weights are by output channels: every run is
    /// divided by its largest magnitude, and weighs by the square of that, so that shares of squared error keep their
    /// meaning for the whole tensor.
    pub fn of_runs(values: &[f32], run: usize) -> Option<Self> {
        let (mut shares, mut zeros) = (vec![0.0; BINS], 0.0);
        let single = run >= values.len();
        let reach = if single { f64::from(absmax(values)) } else { 1.0 };
        for run in values.chunks(run.max(1)) {
            let top = f64::from(absmax(run));
            if !top.is_finite() {
                return None;
            }
            let (unit, weight) = if single { (1.0, 1.0) } else { (top, top * top) };
            for &value in run.iter().filter(|_| top > 0.0) {
                if value == 0.0 {
                    zeros += weight;
                } else {
                    let place = (f64::from(value) / unit / reach + 1.0) / 2.0 * BINS as f64;
                    shares[(place as usize).min(BINS - 1)] += weight;
                }
            }
        }
        let total = shares.iter().sum::<f64>() + zeros;
        if shares.iter().all(|&share| share <= 0.0) {
            return None;
        }
        shares.iter_mut().for_each(|share| *share /= total);
        let mut found = Self { reach, shares, below: Vec::with_capacity(BINS), zeros: zeros / total };
        let mut sum = [0.0; 3];
        for bin in 0..BINS {
            found.below.push(sum);
            let own = found.within(bin, found.edge(bin + 1));
            sum = [sum[0] + own[0], sum[1] + own[1], sum[2] + own[2]];
        }
        Some(found)
    }

    /// Lower end of a bin.
    fn edge(&self, bin: usize) -> f64 {
        self.reach * (2.0 * bin as f64 / BINS as f64 - 1.0)
    }

    /// Moments of a bin's part up to `t`.
    fn within(&self, bin: usize, t: f64) -> Moments {
        let low = self.edge(bin);
        let density = self.shares[bin] / (self.edge(bin + 1) - low);
        [t - low, (t * t - low * low) / 2.0, (t.powi(3) - low.powi(3)) / 3.0].map(|moment| density * moment)
    }

    /// Moments of all up to `t`, zeros left out.
    fn up_to(&self, t: f64) -> Moments {
        if t <= -self.reach {
            return [0.0; 3];
        }
        let t = t.min(self.reach);
        let bin = (((t / self.reach + 1.0) / 2.0 * BINS as f64) as usize).min(BINS - 1);
        let (below, own) = (self.below[bin], self.within(bin, t));
        [below[0] + own[0], below[1] + own[1], below[2] + own[2]]
    }
}

impl Distribution for &Histogram {
    fn moments(self, low: f64, high: f64) -> Moments {
        let (below, above) = (self.up_to(low), self.up_to(high));
        let zeros = if low < 0.0 && high >= 0.0 { self.zeros } else { 0.0 };
        [above[0] - below[0] + zeros, above[1] - below[1], above[2] - below[2]]
    }
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution as _, StandardNormal};

    use super::*;
    use crate::formats::{Density, Format, expected_mse, fake_quantize};

    fn gaussian(count: usize) -> Vec<f32> {
        StandardNormal.sample_iter(crate::seed::Seed::new(3).rng()).take(count).collect()
    }

    #[test]
    fn moments_are_those_of_the_values() {
        let values = [gaussian(100_000), vec![0.0; 50_000]].concat();
        let histogram = Histogram::of(&values).unwrap();
        let [mass, mean, square] = histogram.moments(f64::NEG_INFINITY, f64::INFINITY);
        let sum = |power: i32| values.iter().map(|&x| f64::from(x).powi(power)).sum::<f64>() / values.len() as f64;
        assert!((mass - 1.0).abs() < 1e-12 && (mean - sum(1)).abs() < 1e-4 && (square / sum(2) - 1.0).abs() < 1e-4);
        // A third is exactly 0, and no part of an interval beside it.
        assert!((histogram.moments(-1e-12, 0.0)[0] - 1.0 / 3.0).abs() < 1e-9);
        assert!(histogram.moments(0.0, 1e-9)[0] < 1e-6);
        let (low, high) = (-0.3, 1.1);
        let share = values.iter().filter(|&&x| low < f64::from(x) && f64::from(x) <= high).count() as f64;
        assert!((histogram.moments(low, high)[0] - share / values.len() as f64).abs() < 1e-3);
    }

    #[test]
    fn the_expected_error_is_what_rounding_the_values_gives() {
        let values = gaussian(200_000);
        let histogram = Histogram::of(&values).unwrap();
        for (name, scale) in
            [("int8", 0.03_f32), ("int4", 0.4), ("fp4", 0.5), ("e4m3", 0.01), ("e5m2", 1e-4), ("int2", 1.0)]
        {
            let format: Format = name.parse().unwrap();
            let mut rounded = values.clone();
            fake_quantize(format, &mut rounded, scale);
            let measured = values.iter().zip(&rounded).map(|(x, q)| f64::from(x - q).powi(2)).sum::<f64>() / 2e5;
            let expected = expected_mse(&format.grid(), &histogram, f64::from(scale));
            let density = expected_mse(&format.grid(), Density::Normal, f64::from(scale));
            assert!((expected / measured - 1.0).abs() < 0.01, "{name}: {expected}, measured {measured}");
            // The density's own clipping error differs from that of the few samples out there.
            assert!((expected / density - 1.0).abs() < 0.05, "{name}: {expected}, density {density}");
        }
    }

    #[test]
    fn runs_weigh_by_their_size() {
        // Two channels alike but for their size: each is rounded under its own scale, the larger one makes the error.
        let one = gaussian(4096);
        let both: Vec<f32> = one.iter().copied().chain(one.iter().map(|x| x * 100.0)).collect();
        let relative = |histogram: &Histogram| {
            let scale = histogram.reach / 127.0;
            expected_mse(&Format::Int(8).grid(), histogram, scale) / histogram.deviation().powi(2)
        };
        let (alone, runs) = (Histogram::of(&one).unwrap(), Histogram::of_runs(&both, 4096).unwrap());
        assert!((relative(&alone) / relative(&runs) - 1.0).abs() < 1e-3);
        assert!(Histogram::of(&both).map(|whole| relative(&whole)).unwrap() > 0.9 * relative(&alone));
    }

    #[test]
    fn what_has_no_distribution_is_none() {
        assert_eq!(Histogram::of(&[]), None);
        assert_eq!(Histogram::of(&[0.0; 9]), None);
        assert_eq!(Histogram::of(&[1.0, f32::NAN]), None);
        assert!(Histogram::of_runs(&[0.0, 0.0, 1.0, -2.0], 2).is_some());
    }
}
