//! Fake quantization of a slice with one scale: the hot loop of training on a CPU.
//!
//! `v <- cast(v / scale) * scale`, bit for bit what [`Format::cast`] gives, but without branches, so that the
//! compiler uses vector instructions (AVX2 or wider where the processor has it, chosen when the program runs).
//! Adding and subtracting a large number rounds half to even: in `[2^23 s, 2^24 s)` neighbouring floats are `s` apart.

use multiversion::multiversion;

use super::Format;

/// Rounds every value to the format's grid under one scale, in place.
///
/// `scale` is positive and finite. `float16` and `bfloat16` round at scale 1, `float32` changes nothing.
/// NaN stays NaN. The slice is worked on by one thread; the caller splits large ones.
pub fn fake_quantize(format: Format, values: &mut [f32], scale: f32) {
    match format {
        Format::Float32 => {}
        Format::BFloat16 => bfloats(values),
        Format::Int(_) | Format::Uint(_) => integers(values, scale, format.min() as f32, format.max() as f32),
        Format::Float16 => floats(values, 1.0, Steps::of(format)),
        Format::Mini(_) => floats(values, scale, Steps::of(format)),
    }
}

/// Rounds values that are already divided by their scale, in place: [`Format::cast`] of each.
pub fn round_to_grid(format: Format, values: &mut [f32]) {
    fake_quantize(format, values, 1.0);
}

/// The largest magnitude; NaN if a value is NaN, 0 for an empty slice.
#[multiversion(targets("x86_64+avx2+avx512f+avx512vl", "x86_64+avx2"))]
pub fn absmax(values: &[f32]) -> f32 {
    // As integers, the bits of magnitudes keep their order, and NaN lies above infinity.
    f32::from_bits(values.iter().fold(0, |top: u32, v| top.max(v.to_bits() & 0x7FFF_FFFF)))
}

/// What the loop over floats needs, made once.
#[derive(Clone, Copy)]
struct Steps {
    max: f32,
    min_normal: f32,
    /// Added to the bits of `2^k`, gives `2^23` steps of the binade `k`: `(23 - M) << 23`.
    to_magic: u32,
}

impl Steps {
    fn of(format: Format) -> Self {
        let grid = format.float_grid().map_or((0, 0, 0.0), |g| (g.mantissa, g.min_exponent, g.max));
        Self {
            max: grid.2,
            min_normal: super::cast::power_of_two(grid.1) as f32,
            to_magic: (23 - u32::from(grid.0)) << 23,
        }
    }
}

#[multiversion(targets("x86_64+avx2+avx512f+avx512vl", "x86_64+avx2"))]
fn integers(values: &mut [f32], scale: f32, low: f32, high: f32) {
    // 1.5 * 2^23: the sum stays in one binade on both sides of zero.
    const MAGIC: f32 = 12_582_912.0;
    for v in values {
        *v = (((*v / scale).clamp(low, high) + MAGIC) - MAGIC) * scale;
    }
}

#[multiversion(targets("x86_64+avx2+avx512f+avx512vl", "x86_64+avx2"))]
fn floats(values: &mut [f32], scale: f32, steps: Steps) {
    for v in values {
        let x = *v / scale;
        let magnitude = x.abs();
        // Written as comparisons, not `min`, which would drop NaN.
        let magnitude = if magnitude > steps.max { steps.max } else { magnitude };
        let at_least_normal = if magnitude > steps.min_normal { magnitude } else { steps.min_normal };
        let magic = f32::from_bits((at_least_normal.to_bits() & 0x7F80_0000) + steps.to_magic);
        *v = ((magnitude + magic) - magic).copysign(x) * scale;
    }
}

/// `bfloat16` is the upper half of the bits; magic numbers would overflow at its top.
#[multiversion(targets("x86_64+avx2+avx512f+avx512vl", "x86_64+avx2"))]
fn bfloats(values: &mut [f32]) {
    const LARGEST: u32 = 0x7F7F_0000;
    const INFINITY: u32 = 0x7F80_0000;
    for v in values {
        let bits = v.to_bits();
        let magnitude = bits & 0x7FFF_FFFF;
        let rounded = ((magnitude + 0x7FFF + ((magnitude >> 16) & 1)) & 0xFFFF_0000).min(LARGEST);
        let rounded = if magnitude > INFINITY { magnitude } else { rounded };
        *v = f32::from_bits(rounded | (bits & 0x8000_0000));
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "rounding is exact, so the values are too")]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::seed::Seed;

    /// Every exponent with a few mantissas, the neighbours of every grid point and of every midpoint, and the
    /// special values, all times `scale`; then random bit patterns.
    fn inputs(format: Format, scale: f32) -> Vec<f32> {
        let mut values = vec![0.0, f32::INFINITY, f32::NAN, f32::MIN_POSITIVE, f32::from_bits(1), f32::MAX];
        values.extend(
            (0..255_u32).flat_map(|e| [0, 1, 0x3F_FFFF, 0x40_0000, 0x7F_FFFF].map(|m| f32::from_bits((e << 23) | m))),
        );
        if format.bits() <= 8 {
            let grid = format.grid();
            let near = |x: f64| {
                let x = x as f32 * scale;
                [x.next_down(), x, x.next_up()]
            };
            values.extend(grid.windows(2).flat_map(|pair| near(f64::midpoint(pair[0], pair[1]))));
            values.extend(grid.iter().flat_map(|&x| near(x)));
        }
        let mut rng = Seed::new(1).rng();
        values.extend((0..100_000).map(|_| f32::from_bits(rng.random())));
        values.extend((0..100_000).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * format.max().min(1e30) as f32 * scale));
        let negated: Vec<f32> = values.iter().map(|x| -x).collect();
        values.extend(negated);
        values
    }

    fn same(a: f32, b: f32) -> bool {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
    }

    #[test]
    fn the_fast_loop_equals_the_reference_bit_for_bit() {
        for format in Format::all() {
            for scale in [1.0, 0.1, 3e-4, 7.3, 2_f32.powi(-127), 1e30] {
                let values = inputs(format, scale);
                let mut fast = values.clone();
                fake_quantize(format, &mut fast, scale);
                for (&x, &got) in values.iter().zip(&fast) {
                    let unscaled = !(format.is_integer() || format.bits() <= 8);
                    let expected = if unscaled { format.cast(x) } else { format.cast(x / scale) * scale };
                    assert!(same(got, expected), "{format} scale {scale}: {x:e} gave {got:e}, not {expected:e}");
                }
            }
        }
    }

    #[test]
    fn every_length_is_worked_to_its_end() {
        let int4 = Format::Int(4);
        for length in 0..40 {
            let mut values = vec![2.6; length];
            round_to_grid(int4, &mut values);
            assert_eq!(values, vec![3.0; length]);
        }
    }

    #[test]
    fn absmax_sees_negative_values_infinity_and_nan() {
        assert_eq!(absmax(&[]).to_bits(), 0);
        assert_eq!(absmax(&[1.0, -3.0, 2.0]), 3.0);
        assert_eq!(absmax(&[f32::NEG_INFINITY, 5.0]), f32::INFINITY);
        assert!(absmax(&[f32::INFINITY, f32::NAN, 0.0]).is_nan());
    }
}
