//! Rounding one number to a format: the exact reference that the fast loop of `fake_quantize` is tested against.
//!
//! The rule is saturate first, then round half to even. Libraries disagree on overflow (PyTorch 2.11 makes
//! `float8_e4m3fn` NaN where 2.13 saturates, ml_dtypes makes `float8_e5m2` infinite); after the clamp all agree.

use super::Format;

/// What rounding to a binary float takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FloatGrid {
    /// Mantissa bits M.
    pub(super) mantissa: u8,
    /// Exponent of the smallest normal number, `1 - bias`; the subnormals share its step.
    pub(super) min_exponent: i32,
    /// Largest finite magnitude.
    pub(super) max: f32,
}

impl Format {
    /// The number rounded to this format at scale 1: clamped to `[min, max]` (infinities too), then to the nearest
    /// value, ties to the even multiple of the step. NaN stays NaN; see [`Format::has_nan`].
    ///
    /// Floats keep the sign of zero; integers have one zero, as in ml_dtypes. `float32` changes nothing.
    ///
    /// ```
    /// # use bitfront::formats::Format;
    /// let fp4: Format = "float4_e2m1fn".parse()?;
    /// assert_eq!(fp4.cast(2.5), 2.0); // halfway between 2 and 3
    /// assert_eq!(fp4.cast(f32::INFINITY), 6.0);
    /// # Ok::<(), bitfront::error::Error>(())
    /// ```
    pub fn cast(self, x: f32) -> f32 {
        match (self, self.float_grid()) {
            (_, Some(grid)) => grid.round(x),
            (Self::Float32, None) => x,
            // Adding 0 turns the -0 of a small negative number into the one zero an integer has.
            (_, None) => x.clamp(self.min() as f32, self.max() as f32).round_ties_even() + 0.0,
        }
    }

    /// Whether a bit pattern of this format is NaN. Without one, NaN cannot be stored; [`Format::cast`] still hands
    /// it on, so that a caller sees it.
    pub fn has_nan(self) -> bool {
        match self {
            Self::Float32 | Self::Float16 | Self::BFloat16 => true,
            Self::Int(_) | Self::Uint(_) => false,
            Self::Mini(mini) => mini.reserved > 0,
        }
    }

    /// The rounding rule of a float narrower than float32.
    pub(super) fn float_grid(self) -> Option<FloatGrid> {
        let (mantissa, bias) = match self {
            Self::Float16 => (10, 15),
            Self::BFloat16 => (7, 127),
            Self::Mini(mini) => (mini.mantissa, i32::from(mini.bias)),
            Self::Float32 | Self::Int(_) | Self::Uint(_) => return None,
        };
        Some(FloatGrid { mantissa, min_exponent: 1 - bias, max: self.max() as f32 })
    }
}

impl FloatGrid {
    /// `a = min(|x|, max)`, `k = max(floor(log2 a), min_exponent)`, `sign(x) * rint(a / 2^(k-M)) * 2^(k-M)`.
    /// In f64 every step is exact.
    fn round(self, x: f32) -> f32 {
        if x.is_nan() {
            return x;
        }
        let magnitude = f64::from(x.abs().min(self.max));
        let step = power_of_two(binade(magnitude).max(self.min_exponent) - i32::from(self.mantissa));
        ((magnitude / step).round_ties_even() * step).copysign(f64::from(x)) as f32
    }
}

/// `floor(log2 x)` of a positive normal number from its exponent bits; far below any format's range for 0.
pub(super) fn binade(x: f64) -> i32 {
    ((x.to_bits() >> 52) & 0x7FF) as i32 - 1023
}

/// `2^exponent` for an exponent in `[-1022, 1023]`, exact.
pub(super) fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(name: &str) -> Format {
        name.parse().unwrap()
    }

    #[track_caller]
    fn casts(name: &str, pairs: &[(f32, f32)]) {
        for &(x, expected) in pairs {
            let got = format(name).cast(x);
            assert_eq!(got.to_bits(), expected.to_bits(), "{name}: {x} gave {got}, not {expected}");
        }
    }

    #[test]
    fn golden_vectors_of_ml_dtypes_hold() {
        casts(
            "float4_e2m1fn",
            &[(0.25, 0.0), (0.250_000_1, 0.5), (0.75, 1.0), (1.25, 1.0), (1.75, 2.0), (2.5, 2.0), (3.5, 4.0)],
        );
        casts("float4_e2m1fn", &[(5.0, 4.0), (5.0001, 6.0), (7.0, 6.0), (-0.2, -0.0), (-0.0, -0.0)]);
        let tiny = 2_f32.powi(-10);
        casts(
            "float8_e4m3fn",
            &[(tiny, 0.0), (1.0001 * tiny, 2.0 * tiny), (3.0 * tiny, 4.0 * tiny), (0.014_648_437_5, 2_f32.powi(-6))],
        );
        casts("float8_e4m3fn", &[(17.0, 16.0), (19.0, 20.0), (27.0, 28.0), (464.0, 448.0), (1e30, 448.0)]);
        casts(
            "float8_e5m2",
            &[(2_f32.powi(-17), 0.0), (9.0, 8.0), (11.0, 12.0), (61439.0, 57344.0), (61440.0, 57344.0)],
        );
        casts("float8_e3m4", &[(2_f32.powi(-7), 0.0), (15.74, 15.5), (15.75, 15.5), (-99.0, -15.5)]);
    }

    #[test]
    fn integers_round_half_to_even_then_saturate() {
        casts("int4", &[(0.5, 0.0), (1.5, 2.0), (-2.5, -2.0), (-0.4, 0.0), (-0.0, 0.0), (7.5, 7.0), (-8.6, -8.0)]);
        casts("uint2", &[(2.5, 2.0), (9.0, 3.0), (-1.0, 0.0), (f32::INFINITY, 3.0), (f32::NEG_INFINITY, 0.0)]);
        casts("int8", &[(127.5, 127.0), (-128.5, -128.0), (f32::NEG_INFINITY, -128.0)]);
    }

    #[test]
    fn half_and_bfloat16_agree_with_the_half_crate_inside_their_range() {
        for pattern in (0..u32::MAX - 4_000).step_by(3_989) {
            let x = f32::from_bits(pattern);
            if x.is_nan() {
                continue;
            }
            let half = half::f16::from_f32(x.clamp(-65504.0, 65504.0)).to_f32();
            let top = half::bf16::MAX.to_f32();
            let brain = half::bf16::from_f32(x.clamp(-top, top)).to_f32();
            assert_eq!(Format::Float16.cast(x).to_bits(), half.to_bits(), "{x}");
            assert_eq!(Format::BFloat16.cast(x).to_bits(), brain.to_bits(), "{x}");
        }
    }

    #[test]
    fn nan_is_handed_on_and_announced() {
        assert!(Format::all().iter().all(|format| format.cast(f32::NAN).is_nan()));
        let with_nan: Vec<&str> = Format::all().iter().filter(|f| f.has_nan()).map(|f| f.name()).collect();
        assert_eq!(with_nan, ["float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "float8_e3m4"]);
    }

    #[test]
    fn float32_is_left_alone() {
        casts("float32", &[(f32::INFINITY, f32::INFINITY), (-0.0, -0.0), (0.1, 0.1)]);
    }
}
