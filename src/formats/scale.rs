//! From the largest magnitude of some elements to the scale they share.

use super::cast::{binade, power_of_two};
use super::{Format, ScaleKind};

/// How the power of two of a block is chosen (OCP Microscaling Formats 1.0, section 6.3; the modes of torchao).
///
/// `emax` is the exponent of the format's largest value: 2 for `float4_e2m1fn`, 8 for `float8_e4m3fn`, 6 for `int8`
/// (where the specification has 0 and divides the integers by 2^6; the product is the same).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BlockScaleRule {
    /// `floor(log2 absmax) - emax`, as the specification writes it; the largest values may clip.
    #[default]
    Floor,
    /// As `Floor`, after rounding absmax to the format's mantissa.
    Even,
    /// `ceil(log2 absmax) - emax`.
    Ceil,
    /// `ceil(log2(absmax / max))`: nothing clips (cuBLAS, Blackwell).
    Rceil,
}

impl BlockScaleRule {
    /// The power of two for elements of this largest magnitude, within the `[2^-127, 2^127]` of float8_e8m0fnu.
    /// 1 when all elements are zero; NaN when absmax is not finite, as the specification asks.
    pub fn scale(self, format: Format, absmax: f32) -> f32 {
        if absmax == 0.0 {
            return 1.0;
        }
        if !absmax.is_finite() {
            return f32::NAN;
        }
        let top = f64::from(absmax);
        let emax = binade(format.max());
        let exponent = match self {
            Self::Floor => binade(top) - emax,
            Self::Even => binade(round_mantissa_up_at_half(top, mantissa_bits(format))) - emax,
            Self::Ceil => ceil_log2(top) - emax,
            Self::Rceil => ceil_log2(top / format.max()),
        };
        power_of_two(exponent.clamp(-127, 127)) as f32
    }
}

/// Largest `float8_e4m3fn`: the range of a block's scale under the tensor's scale (NVFP4).
const E4M3_MAX: f64 = 448.0;
/// Smallest normal `float8_e4m3fn`; torchao floors block scales here.
const E4M3_TINY: f32 = 0.015_625;

impl Format {
    /// The scale that maps `absmax` to the largest value of this format (of an unsigned integer too; zero point 0).
    ///
    /// * `Float32`: `absmax / max`.
    /// * `PowerOfTwo`: that, rounded up to a power of two, so that nothing clips.
    /// * `E8m0`: [`BlockScaleRule::Floor`].
    /// * `E4m3`: [`Format::e4m3_scale`] under a tensor scale of 1.
    ///
    /// Never 0: 1 when `absmax` is 0, at least the smallest normal float32 otherwise. NaN when `absmax` is not finite,
    /// so that the failure shows. 1 for `float32`, `float16` and `bfloat16`, which take no scale.
    pub fn scale_for(self, absmax: f32, kind: ScaleKind) -> f32 {
        if !self.takes_scale() || absmax == 0.0 {
            return 1.0;
        }
        if !absmax.is_finite() {
            return f32::NAN;
        }
        match kind {
            ScaleKind::Float32 => ((f64::from(absmax) / self.max()) as f32).max(f32::MIN_POSITIVE),
            ScaleKind::PowerOfTwo => power_of_two(ceil_log2(f64::from(absmax) / self.max()).clamp(-126, 127)) as f32,
            ScaleKind::E8m0 => BlockScaleRule::Floor.scale(self, absmax),
            ScaleKind::E4m3 => self.e4m3_scale(absmax, 1.0),
        }
    }

    /// The float32 over all block scales of a tensor (NVFP4): `absmax / (448 max)`; 1 when `absmax` is 0, NaN when
    /// it is not finite.
    pub fn tensor_scale(self, absmax: f32) -> f32 {
        if absmax == 0.0 {
            1.0
        } else if absmax.is_finite() {
            ((f64::from(absmax) / (E4M3_MAX * self.max())) as f32).max(f32::MIN_POSITIVE)
        } else {
            f32::NAN
        }
    }

    /// A block's scale as a float8_e4m3fn value in `[2^-6, 448]`; its elements are scaled by this times
    /// `tensor_scale`. NaN when an argument is not finite.
    pub fn e4m3_scale(self, absmax: f32, tensor_scale: f32) -> f32 {
        if !absmax.is_finite() || !tensor_scale.is_finite() {
            return f32::NAN;
        }
        let wanted = absmax / self.max() as f32 / tensor_scale;
        if wanted <= E4M3_TINY { E4M3_TINY } else { E4M3.cast(wanted) }
    }

    /// Whether elements are divided by a scale: integers and floats of at most 8 bits.
    pub fn takes_scale(self) -> bool {
        self.bits() <= 8
    }
}

/// The format of NVFP4's block scales.
const E4M3: Format = Format::Mini(super::MiniFloat::E4M3FN);

/// `ceil(log2 x)` for positive `x`, exact.
fn ceil_log2(x: f64) -> i32 {
    binade(x) + i32::from(x > power_of_two(binade(x)))
}

/// Mantissa bits of the highest binade: those of a float, `b - 2` for a signed and `b - 1` for an unsigned integer.
fn mantissa_bits(format: Format) -> u32 {
    match format {
        Format::Int(bits) => u32::from(bits) - 2,
        Format::Uint(bits) => u32::from(bits) - 1,
        _ => format.float_grid().map_or(23, |grid| u32::from(grid.mantissa)),
    }
}

/// Adds half a step of an `M`-bit mantissa; only the exponent of the result is of use.
fn round_mantissa_up_at_half(x: f64, mantissa: u32) -> f64 {
    x + power_of_two(binade(x) - mantissa as i32 - 1)
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "rounding is exact, so the values are too")]
mod tests {
    use super::*;

    const FP4: Format = Format::Mini(crate::formats::MiniFloat::E2M1FN);

    #[test]
    fn float_scale_maps_absmax_to_the_largest_value() {
        assert_eq!(Format::Int(8).scale_for(254.0, ScaleKind::Float32), 2.0);
        assert_eq!(Format::Uint(4).scale_for(30.0, ScaleKind::Float32), 2.0);
        assert_eq!(FP4.scale_for(3.0, ScaleKind::Float32), 0.5);
        assert_eq!(Format::Float16.scale_for(3.0, ScaleKind::Float32), 1.0);
    }

    #[test]
    fn a_scale_is_never_zero_and_shows_what_is_not_finite() {
        for kind in [ScaleKind::Float32, ScaleKind::PowerOfTwo, ScaleKind::E8m0, ScaleKind::E4m3] {
            for format in Format::all().into_iter().filter(|f| f.takes_scale()) {
                assert_eq!(format.scale_for(0.0, kind), 1.0);
                assert!(format.scale_for(f32::from_bits(1), kind) > 0.0, "{format}");
                assert!(format.scale_for(f32::NAN, kind).is_nan() && format.scale_for(f32::INFINITY, kind).is_nan());
            }
        }
    }

    #[test]
    fn power_of_two_scales_round_up_so_nothing_clips() {
        // 127 * 2^3 fits exactly; one float more needs 2^4.
        assert_eq!(Format::Int(8).scale_for(1016.0, ScaleKind::PowerOfTwo), 8.0);
        assert_eq!(Format::Int(8).scale_for(1016_f32.next_up(), ScaleKind::PowerOfTwo), 16.0);
        assert_eq!(FP4.scale_for(6.0, ScaleKind::PowerOfTwo), 1.0);
        assert_eq!(FP4.scale_for(0.8, ScaleKind::PowerOfTwo), 0.25);
    }

    #[test]
    fn block_rules_differ_where_torchao_says_they_do() {
        use BlockScaleRule::{Ceil, Even, Floor, Rceil};
        // e2m1: max 6 = 1.5 * 2^2. Mantissa 1.75 of absmax makes EVEN take the next exponent.
        let scales = |absmax: f32| [Floor, Even, Ceil, Rceil].map(|rule| rule.scale(FP4, absmax));
        assert_eq!(scales(4.0), [1.0, 1.0, 1.0, 1.0]);
        assert_eq!(scales(5.0), [1.0, 1.0, 2.0, 1.0]);
        assert_eq!(scales(6.1), [1.0, 1.0, 2.0, 2.0]);
        assert_eq!(scales(7.0), [1.0, 2.0, 2.0, 2.0]);
        let e4m3 = "e4m3".parse::<Format>().unwrap();
        assert_eq!([Floor, Rceil].map(|rule| rule.scale(e4m3, 449.0)), [1.0, 2.0]);
        assert_eq!(Floor.scale(Format::Int(8), 127.9), 1.0);
        assert_eq!(Floor.scale(FP4, f32::from_bits(1)), power_of_two(-127) as f32);
    }

    #[test]
    fn nvfp4_scales_stay_inside_e4m3() {
        let tensor = FP4.tensor_scale(2688.0);
        assert_eq!(tensor, 1.0);
        assert_eq!(FP4.e4m3_scale(2688.0, tensor), 448.0);
        assert_eq!(FP4.e4m3_scale(6.0 * 17.0, tensor), 16.0, "17 is halfway between 16 and 18");
        assert_eq!(FP4.e4m3_scale(0.0, tensor), 0.015_625);
        assert_eq!(FP4.tensor_scale(0.0), 1.0);
    }
}
