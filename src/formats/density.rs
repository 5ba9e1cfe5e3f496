//! Partial moments of the densities that weights and activations are modelled by.

use std::f64::consts::{FRAC_PI_2, PI, SQRT_2};

/// A symmetric density with mean 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Density {
    /// Uniform on `[-1, 1]`.
    Uniform,
    /// Normal with deviation 1.
    Normal,
    /// Student's t with three degrees of freedom: heavy tails, variance 3.
    StudentT3,
}

/// `[m0, m1, m2]`: the integrals of `p`, `x p` and `x^2 p`.
pub type Moments = [f64; 3];

/// What a rounding error is expected under.
pub trait Distribution: Copy {
    /// Partial moments over `(low, high]`; either end may be infinite.
    fn moments(self, low: f64, high: f64) -> Moments;

    /// Root of the mean square, which is the standard deviation where the mean is 0.
    fn deviation(self) -> f64 {
        self.moments(f64::NEG_INFINITY, f64::INFINITY)[2].sqrt()
    }
}

impl Distribution for Density {
    fn moments(self, low: f64, high: f64) -> Moments {
        // m0 and m2 are odd in t, m1 is even.
        let signed = |t: f64| {
            let [m0, m1, m2] = self.zero_to(t.abs());
            [m0.copysign(t), m1, m2.copysign(t)]
        };
        let (below, above) = (signed(low), signed(high));
        [above[0] - below[0], above[1] - below[1], above[2] - below[2]]
    }

    fn deviation(self) -> f64 {
        match self {
            Self::Uniform => 1.0 / 3_f64.sqrt(),
            Self::Normal => 1.0,
            Self::StudentT3 => 3_f64.sqrt(),
        }
    }
}

impl Density {
    /// Partial moments over `[0, t]` for `t >= 0`, infinity included.
    ///
    /// From 0, not from minus infinity: the differences that an interval takes then lose fewer digits. Closed forms of
    /// Kuzmin et al., FP8 Quantization: The Power of the Exponent, 2022 (code), with the constant at 0 subtracted.
    fn zero_to(self, t: f64) -> Moments {
        let variance = self.deviation().powi(2);
        match self {
            Self::Uniform => {
                let t = t.min(1.0);
                [t / 2.0, t * t / 4.0, t * t * t / 6.0]
            }
            Self::Normal if t.is_infinite() => [0.5, 1.0 / (2.0 * PI).sqrt(), variance / 2.0],
            Self::Normal => {
                let half = libm::erf(t / SQRT_2) / 2.0;
                let phi0 = 1.0 / (2.0 * PI).sqrt();
                let phi = phi0 * (-t * t / 2.0).exp();
                [half, phi0 - phi, half - t * phi]
            }
            Self::StudentT3 => {
                let root3 = 3_f64.sqrt();
                let angle = if t.is_infinite() { FRAC_PI_2 } else { (t / root3).atan() };
                let ratio = if t.is_infinite() { 0.0 } else { t / (3.0 + t * t) };
                let tail = 3.0 * root3 / PI;
                let rest = if t.is_infinite() { 0.0 } else { tail / (3.0 + t * t) };
                [(angle + root3 * ratio) / PI, tail / 3.0 - rest, 3.0 / PI * angle - tail * ratio]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Density; 3] = [Density::Uniform, Density::Normal, Density::StudentT3];

    #[test]
    fn the_whole_line_has_mass_one_mean_zero_and_the_variance() {
        for density in ALL {
            let [mass, mean, square] = density.moments(f64::NEG_INFINITY, f64::INFINITY);
            assert!((mass - 1.0).abs() < 1e-15 && mean.abs() < 1e-15, "{density:?}");
            assert!((square - density.deviation().powi(2)).abs() < 1e-14, "{density:?}");
        }
    }

    #[test]
    fn closed_forms_equal_midpoint_sums() {
        let value = |density: Density, x: f64| match density {
            Density::Uniform => f64::from(u8::from(x.abs() <= 1.0)) / 2.0,
            Density::Normal => (-x * x / 2.0).exp() / (2.0 * PI).sqrt(),
            Density::StudentT3 => 6.0 * 3_f64.sqrt() / (PI * (3.0 + x * x).powi(2)),
        };
        let steps = 200_000;
        for density in ALL {
            for (low, high) in [(0.0, 0.7), (-0.4, 0.9), (-1.0, -0.25), (0.5, 1.0)] {
                let width = (high - low) / f64::from(steps);
                let mut sums = [0.0; 3];
                for i in 0..steps {
                    let x = low + (f64::from(i) + 0.5) * width;
                    let mass = value(density, x) * width;
                    sums = [sums[0] + mass, sums[1] + x * mass, sums[2] + x * x * mass];
                }
                let closed = density.moments(low, high);
                assert!(closed.iter().zip(sums).all(|(a, b)| (a - b).abs() < 1e-9), "{density:?} {closed:?} {sums:?}");
            }
        }
    }
}
