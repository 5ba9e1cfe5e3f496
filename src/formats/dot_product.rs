//! The expected error of a product from the errors of its factors, in closed form.
//!
//! Van Baalen et al. 2023, "FP8 versus INT8 for efficient deep learning inference" (arXiv 2303.17951) and the authors'
//! `quant_error_estimator.py`. A dot product of independent terms has the ratio of signal to noise of one term.

use super::error_theory::cells;
use super::{Distribution, Format, best_scale};

/// What rounding does to one factor `x` of a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factor {
    /// `E[x^2]`.
    pub power: f64,
    /// `R = E[(Q(x) - x)^2]`.
    pub error: f64,
    /// `c = E[x (Q(x) - x)]`: 0 where errors do not depend on the value, below where values are clipped.
    pub shrinkage: f64,
}

impl Factor {
    /// A factor that is not rounded.
    pub fn exact(distribution: impl Distribution) -> Self {
        Self { power: distribution.deviation().powi(2), error: 0.0, shrinkage: 0.0 }
    }

    /// A factor that is rounded to `scale * grid`; `grid` is ascending and not empty, `scale` positive.
    pub fn rounded(distribution: impl Distribution, grid: &[f64], scale: f64) -> Self {
        let mut found = Self::exact(distribution);
        for (g, low, high) in cells(grid, scale) {
            let [m0, m1, m2] = distribution.moments(low, high);
            found.error += m2 - 2.0 * g * m1 + g * g * m0;
            found.shrinkage += g * m1 - m2;
        }
        found
    }

    /// A factor in a format under the scale with the smallest expected error; formats of 16 bits take none.
    pub fn in_format(distribution: impl Distribution, format: Format) -> Self {
        if format == Format::Float32 {
            return Self::exact(distribution);
        }
        let grid = format.grid();
        let scale = if format.takes_scale() { best_scale(&grid, distribution) } else { 1.0 };
        Self::rounded(distribution, &grid, scale)
    }

    /// Signal to noise of the factor itself, in decibels; infinite where it is exact.
    pub fn sqnr_db(self) -> f64 {
        decibels(self.power, self.error)
    }

    /// `E[(Q(x) Q(y) - x y)^2]` for independent factors.
    pub fn product_error(self, other: Self) -> f64 {
        let (x, y) = (self, other);
        x.error * y.power
            + y.error * x.power
            + x.error * y.error
            + 2.0 * (x.shrinkage * y.shrinkage + x.error * y.shrinkage + y.error * x.shrinkage)
    }

    /// Signal to noise of the product, in decibels; infinite where both factors are exact.
    pub fn product_sqnr_db(self, other: Self) -> f64 {
        decibels(self.power * other.power, self.product_error(other))
    }
}

/// Ten times the logarithm of signal over noise.
fn decibels(signal: f64, noise: f64) -> f64 {
    if noise > 0.0 { 10.0 * (signal / noise).log10() } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use rand_distr::{Distribution as _, StandardNormal};

    use super::*;
    use crate::formats::{Density, Histogram, expected_mse, fake_quantize};
    use crate::seed::Seed;

    #[test]
    fn the_identity_holds_on_four_million_products() {
        // Clipped hard, so that no term of the identity is idle.
        let (mut rng, count) = (Seed::new(11).rng(), 4_000_000);
        let x: Vec<f32> = StandardNormal.sample_iter(&mut rng).take(count).collect();
        let y: Vec<f32> = (0..count).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect();
        let formats: [(Format, f32); 2] = [(Format::Int(3), 0.4), ("fp4".parse().unwrap(), 0.11)];
        let rounded = |values: &[f32], (format, scale): (Format, f32)| {
            let mut values = values.to_vec();
            fake_quantize(format, &mut values, scale);
            values
        };
        let (qx, qy) = (rounded(&x, formats[0]), rounded(&y, formats[1]));
        let error = |at: usize| (f64::from(qx[at]) * f64::from(qy[at]) - f64::from(x[at]) * f64::from(y[at])).powi(2);
        let empirical = (0..count).map(error).sum::<f64>() / count as f64;
        let factor =
            |density, (format, scale): (Format, f32)| Factor::rounded(density, &format.grid(), f64::from(scale));
        let (fx, fy) = (factor(Density::Normal, formats[0]), factor(Density::Uniform, formats[1]));
        let formula = fx.product_error(fy);
        assert!((empirical / formula - 1.0).abs() < 0.005, "{empirical} {formula}");
        let without = fx.error * fy.power + fy.error * fx.power + fx.error * fy.error;
        assert!((empirical / without - 1.0).abs() > 0.02, "the cross terms do nothing here: {without}");
    }

    #[test]
    fn one_exact_factor_leaves_the_ratio_of_the_other() {
        let rounded = Factor::in_format(Density::Normal, Format::Int(4));
        let exact = Factor::exact(Density::StudentT3);
        assert!((rounded.product_sqnr_db(exact) - rounded.sqnr_db()).abs() < 1e-9);
        assert!(exact.product_sqnr_db(Factor::in_format(Density::Normal, Format::Float32)).is_infinite());
        // Both in int4: twice the noise and its square.
        let loss = rounded.sqnr_db() - rounded.product_sqnr_db(rounded);
        assert!((2.5..3.1).contains(&loss), "{loss}");
    }

    #[test]
    fn the_best_scale_makes_the_error_orthogonal_to_what_is_kept() {
        // At the best scale E[Q (Q - x)] = 0, so c = -R.
        for format in [Format::Int(4), "fp4".parse().unwrap(), Format::Int(2)] {
            let found = Factor::in_format(Density::Normal, format);
            assert!((found.shrinkage / found.error + 1.0).abs() < 1e-3, "{format}: {found:?}");
        }
        let values: Vec<f32> = StandardNormal.sample_iter(Seed::new(1).rng()).take(50_000).collect();
        let histogram = Histogram::of(&values).unwrap();
        let grid = Format::Int(4).grid();
        let mse = expected_mse(&grid, &histogram, best_scale(&grid, &histogram));
        assert!((Factor::in_format(&histogram, Format::Int(4)).error / mse - 1.0).abs() < 1e-12);
    }
}
