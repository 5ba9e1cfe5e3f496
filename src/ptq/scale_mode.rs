//! Scales of weights whose ratios are powers of two, so that one channel's weights become another's by an exponent shift
//! (Wu et al. 2023, ZeroQuant-FP, arXiv 2307.09782, M1 and M2).
//!
//! The paper's wording of both was not at hand: that an exponent goes either way, whichever leaves the smaller squared error,
//! and that M2 tries several largest scales, M1's among them, is ours. So M2 is never worse than M1 on the weights.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::clip::squared_distance;
use crate::error::{Error, Result};
use crate::formats::{Format, MiniFloat, QuantSpec, Runs, ScaleKind, Scales, absmax, fake_quantize};

/// What the scales of a weight tensor may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScaleMode {
    /// Any numbers.
    #[default]
    Float,
    /// Powers of two.
    M1,
    /// Any number for one of them, the others that times powers of two.
    M2,
}

const NAMES: [(ScaleMode, &str); 3] = [(ScaleMode::Float, "float"), (ScaleMode::M1, "m1"), (ScaleMode::M2, "m2")];

impl fmt::Display for ScaleMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(NAMES.iter().find(|(mode, _)| mode == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for ScaleMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = NAMES.iter().find(|(_, name)| *name == text).map(|(mode, _)| *mode);
        found.ok_or_else(|| Error::unknown_name("--scale-mode", text, NAMES.iter().map(|(_, name)| *name)))
    }
}

/// Phases of the largest scale that M2 tries within an octave.
const PHASES: i32 = 8;

impl ScaleMode {
    /// The scales of this mode nearest to `scales` in what they do to `values`. Those of other kinds than float32 stay.
    ///
    /// # Panics
    /// When `values` or `scales` does not fit `shape`.
    pub fn constrained(self, values: &[f32], shape: &[usize], spec: &QuantSpec, scales: Scales) -> Scales {
        if self == Self::Float || !spec.format.takes_scale() || spec.scale != ScaleKind::Float32 {
            return scales;
        }
        assert_eq!(scales.runs.len(), spec.granularity.scale_count(shape), "one scale a run");
        let Runs { row, run } = spec.granularity.runs(shape);
        let runs = values.chunks(row).flat_map(|row| row.chunks(run)).zip(scales.runs.iter().copied()).collect();
        let shifted = Shifted { format: spec.format, runs };
        let m1 = shifted.of(1.0);
        if self == Self::M1 {
            return Scales { runs: m1.0, tensor: 1.0 };
        }
        let largest = shifted.largest();
        let bases = (0..PHASES).map(|phase| largest * (phase as f32 / PHASES as f32).exp2());
        let best = bases.map(|base| shifted.of(base)).fold(m1, |best, own| if own.1 < best.1 { own } else { best });
        Scales { runs: best.0, tensor: 1.0 }
    }
}

/// The largest ratio of two scales, as an exponent, where one matters: values of `float4_e2m1fn` times `2^-k` are
/// values of `float8_e4m3fn` up to k = 8 (and of `float8_e5m2` up to 15).
pub(super) fn largest_shift(format: Format) -> Option<i32> {
    (format == Format::Mini(MiniFloat::E2M1FN)).then_some(8)
}

/// The runs of a tensor with the scales that they would have.
struct Shifted<'a> {
    format: Format,
    runs: Vec<(&'a [f32], f32)>,
}

impl Shifted<'_> {
    fn largest(&self) -> f32 {
        let of_values = self.runs.iter().filter(|(values, _)| absmax(values) > 0.0).map(|(_, scale)| *scale);
        Some(of_values.fold(0.0, f32::max)).filter(|scale| *scale > 0.0).unwrap_or(1.0)
    }

    /// `base` times the power of two that suits each run best, and the squared error that this leaves.
    fn of(&self, base: f32) -> (Vec<f32>, f64) {
        let exponents: Vec<Option<i32>> =
            self.runs.iter().map(|(values, scale)| self.exponent(values, *scale, base)).collect();
        let top = exponents.iter().flatten().copied().max().unwrap_or(0);
        // Runs of zeros say nothing.
        let least = largest_shift(self.format).map_or(i32::MIN, |shift| top - shift);
        let scales = exponents.iter().map(|exponent| base * (exponent.unwrap_or(top).max(least) as f32).exp2());
        let scales: Vec<f32> = scales.collect();
        let error = self.runs.iter().zip(&scales).map(|((values, _), scale)| self.error(values, *scale)).sum();
        (scales, error)
    }

    fn exponent(&self, values: &[f32], scale: f32, base: f32) -> Option<i32> {
        if absmax(values) == 0.0 {
            return None;
        }
        let wanted = (scale / base).log2();
        let error = |exponent: f32| self.error(values, base * exponent.exp2());
        let (down, up) = (wanted.floor(), wanted.ceil());
        Some(if error(down) < error(up) { down } else { up } as i32)
    }

    fn error(&self, values: &[f32], scale: f32) -> f64 {
        let mut rounded = values.to_vec();
        fake_quantize(self.format, &mut rounded, scale);
        squared_distance(&rounded, values)
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "powers of two are exact")]
mod tests {
    use rand_distr::{Distribution, LogNormal, StandardNormal};

    use super::*;
    use crate::formats::min_max_scales;
    use crate::seed::Seed;

    const COLUMNS: usize = 256;

    /// Normal rows of different sizes.
    fn rows(count: usize, seed: u64) -> Vec<f32> {
        let mut rng = Seed::new(seed).rng();
        let sizes = LogNormal::new(0.0_f32, 0.5).unwrap();
        let row = |_| {
            let size: f32 = sizes.sample(&mut rng);
            (0..COLUMNS)
                .map(|_| size * <StandardNormal as Distribution<f32>>::sample(&StandardNormal, &mut rng))
                .collect::<Vec<f32>>()
        };
        (0..count).flat_map(row).collect()
    }

    fn found(mode: ScaleMode, values: &[f32], format: &str) -> Scales {
        let spec = QuantSpec::per_channel(format.parse().unwrap());
        let shape = [values.len() / COLUMNS, COLUMNS];
        mode.constrained(values, &shape, &spec, min_max_scales(values, &shape, &spec))
    }

    fn error(values: &[f32], format: &str, scales: &Scales) -> f64 {
        let mut rounded = values.to_vec();
        let spec = QuantSpec::per_channel(format.parse().unwrap());
        crate::formats::fake_quantize_with(&mut rounded, &[values.len() / COLUMNS, COLUMNS], &spec, scales);
        squared_distance(&rounded, values)
    }

    fn is_power_of_two(x: f32) -> bool {
        x.is_normal() && x.to_bits() << 9 == 0
    }

    #[test]
    fn ratios_are_powers_of_two_and_m1s_scales_themselves() {
        for format in ["fp4", "int4", "int8", "e4m3"] {
            let values = rows(32, 1);
            let [m1, m2] = [ScaleMode::M1, ScaleMode::M2].map(|mode| found(mode, &values, format).runs);
            assert!(m1.iter().all(|&scale| is_power_of_two(scale)), "{format} {m1:?}");
            assert!(m2.iter().all(|&scale| is_power_of_two(scale / m2[0])), "{format} {m2:?}");
            assert!(m2.iter().any(|&scale| scale != m2[0]), "{format}");
        }
    }

    #[test]
    fn m2_is_never_worse_than_m1_and_neither_better_than_free_scales_by_much() {
        for count in [1, 4, 32, 128] {
            for seed in 0..5 {
                let values = rows(count, seed);
                let errors = [ScaleMode::Float, ScaleMode::M1, ScaleMode::M2]
                    .map(|mode| error(&values, "fp4", &found(mode, &values, "fp4")));
                assert!(errors[2] <= errors[1], "{count} rows: {errors:?}");
                if count == 1 {
                    assert!(errors[2] <= errors[0], "one row keeps its scale or finds a better one: {errors:?}");
                }
            }
        }
    }

    #[test]
    fn a_small_channel_stays_within_reach_of_an_exact_cast_and_zeros_say_nothing() {
        let mut values = rows(3, 2);
        values[..COLUMNS].iter_mut().for_each(|value| *value *= 1e-5);
        values[COLUMNS..2 * COLUMNS].fill(0.0);
        for mode in [ScaleMode::M1, ScaleMode::M2] {
            let scales = found(mode, &values, "fp4").runs;
            assert_eq!(scales[2] / scales[0], 256.0, "{mode}: {scales:?}");
            assert_eq!(scales[1], scales[2], "{mode}");
            let free = found(mode, &values, "int4").runs;
            assert!(free[2] / free[0] > 1e4, "{mode}: {free:?}");
        }
    }

    #[test]
    fn shifted_fp4_values_are_fp8_values_as_far_as_it_says() {
        let [fp4, e4m3, e5m2] = ["fp4", "e4m3", "e5m2"].map(|name| name.parse::<Format>().unwrap());
        let exact = |format: Format, shift: i32| {
            fp4.grid().iter().all(|&value| {
                let shifted = value as f32 * (-shift as f32).exp2();
                format.cast(shifted) == shifted
            })
        };
        assert!((0..=13).all(|shift| exact(e5m2, shift)));
        let most = largest_shift(fp4).unwrap();
        assert!((0..=most).all(|shift| exact(e4m3, shift)) && !exact(e4m3, most + 1));
        assert!(exact(e5m2, 15) && !exact(e5m2, 16));
    }

    #[test]
    fn other_kinds_of_scales_stay() {
        let values = rows(4, 3);
        let spec: QuantSpec = "mxfp4".parse().unwrap();
        let scales = min_max_scales(&values, &[4, COLUMNS], &spec);
        assert_eq!(ScaleMode::M2.constrained(&values, &[4, COLUMNS], &spec, scales.clone()), scales);
        assert!("m3".parse::<ScaleMode>().unwrap_err().to_string().contains("--scale-mode"));
    }
}
