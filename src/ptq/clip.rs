//! How far a quantizer reaches: rules that find the clip of a tensor from its values.

use std::fmt;
use std::str::FromStr;

use multiversion::multiversion;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::formats::{Format, QuantSpec, Runs, ScaleKind, Scales, absmax, fake_quantize, min_max_scales};

/// A rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ClipRule {
    /// The largest magnitude.
    MinMax,
    /// The magnitude that this share of the values, in percent, does not pass.
    Percentile(f64),
    /// The clip with the smallest squared error, among candidates in even steps of an octave's twentieth (additive in the
    /// exponent, so that it works at any scale: Liu et al. 2023, arXiv 2310.16836, searched by factors of the bias).
    #[default]
    Mse,
}

impl fmt::Display for ClipRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MinMax => f.write_str("min-max"),
            Self::Percentile(share) => write!(f, "percentile:{share}"),
            Self::Mse => f.write_str("mse"),
        }
    }
}

impl FromStr for ClipRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(share) = text.strip_prefix("percentile:") {
            let share = share.parse::<f64>().ok().filter(|share| (50.0..=100.0).contains(share));
            let expected = "percentile:P with P from 50 to 100";
            return share.map(Self::Percentile).ok_or_else(|| Error::bad_value("clip", text, expected));
        }
        match text {
            "min-max" => Ok(Self::MinMax),
            "mse" => Ok(Self::Mse),
            _ => Err(Error::unknown_name("clip", text, ["min-max", "mse", "percentile:99.9"])),
        }
    }
}

impl TryFrom<String> for ClipRule {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ClipRule> for String {
    fn from(rule: ClipRule) -> Self {
        rule.to_string()
    }
}

/// Octaves below (and a little above) the largest magnitude that [`ClipRule::Mse`] tries.
const TRIED: std::ops::RangeInclusive<i32> = -6..=60;

/// Steps an octave.
const STEPS: f32 = 20.0;

impl ClipRule {
    /// The scale of some values in `format`; 1 for formats that take none.
    pub fn scale(self, format: Format, kind: ScaleKind, values: &[f32]) -> f32 {
        let largest = absmax(values);
        if !format.takes_scale() || largest == 0.0 || !largest.is_finite() {
            return format.scale_for(largest, kind);
        }
        match self {
            Self::MinMax => format.scale_for(largest, kind),
            Self::Percentile(share) => {
                let mut magnitudes: Vec<f32> = values.iter().map(|value| value.abs()).collect();
                let at = ((magnitudes.len() - 1) as f64 * share / 100.0).round() as usize;
                let (_, clip, _) = magnitudes.select_nth_unstable_by(at, f32::total_cmp);
                format.scale_for(if *clip > 0.0 { *clip } else { largest }, kind)
            }
            Self::Mse => {
                let mut rounded = values.to_vec();
                let mut error = |scale: f32| {
                    rounded.copy_from_slice(values);
                    fake_quantize(format, &mut rounded, scale);
                    squared_distance(&rounded, values)
                };
                let scales = TRIED.map(|step| format.scale_for(largest * (-step as f32 / STEPS).exp2(), kind));
                let best = scales.map(|scale| (error(scale), scale)).min_by(|a, b| a.0.total_cmp(&b.0));
                best.map_or(1.0, |(_, scale)| scale)
            }
        }
    }

    /// The scales of a weight tensor: each run's own. Scales in 8 bits (MX, NVFP4) are the largest magnitude's.
    ///
    /// # Panics
    /// When `values` does not fill `shape`.
    pub fn scales(self, values: &[f32], shape: &[usize], spec: &QuantSpec) -> Scales {
        if self == Self::MinMax || matches!(spec.scale, ScaleKind::E8m0 | ScaleKind::E4m3) {
            return min_max_scales(values, shape, spec);
        }
        let Runs { row, run } = spec.granularity.runs(shape);
        let runs: Vec<&[f32]> = values.chunks(row).flat_map(|row| row.chunks(run)).collect();
        Scales { runs: runs.into_par_iter().map(|run| self.scale(spec.format, spec.scale, run)).collect(), tensor: 1.0 }
    }
}

/// Sum of the squared differences; eight partial sums, so that it vectorises.
#[multiversion(targets("x86_64+avx2+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0_f32; 8];
    let mut total = 0.0;
    for (a, b) in a.chunks(4096).zip(b.chunks(4096)) {
        for (a, b) in a.chunks(8).zip(b.chunks(8)) {
            for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
                *lane += (a - b) * (a - b);
            }
        }
        total += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
        lanes = [0.0; 8];
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaussian(count: usize) -> Vec<f32> {
        use rand_distr::{Distribution, StandardNormal};
        StandardNormal.sample_iter(crate::seed::Seed::new(5).rng()).take(count).collect()
    }

    #[test]
    fn rules_read_as_they_print() {
        for text in ["min-max", "mse", "percentile:99.9"] {
            assert_eq!(text.parse::<ClipRule>().unwrap().to_string(), text);
        }
        assert!("percentile:12".parse::<ClipRule>().is_err() && "msee".parse::<ClipRule>().is_err());
    }

    #[test]
    fn the_best_clip_of_a_gaussian_is_the_closed_forms() {
        let values = gaussian(200_000);
        for name in ["int4", "int8", "float4_e2m1fn", "float8_e4m3fn", "int3"] {
            let format: Format = name.parse().unwrap();
            let found = ClipRule::Mse.scale(format, ScaleKind::Float32, &values);
            let mse = |scale: f32| {
                let mut rounded = values.clone();
                fake_quantize(format, &mut rounded, scale);
                squared_distance(&rounded, &values)
            };
            let best = crate::formats::best_scale(&format.grid(), crate::formats::Density::Normal) as f32;
            assert!(mse(found) < 1.01 * mse(best), "{name}: {} at {found}, {} at {best}", mse(found), mse(best));
        }
    }

    #[test]
    fn the_search_works_at_any_scale() {
        // LLM-FP4 multiplies the bias log2(12 / max), which is 0 at a largest magnitude of 12 and negative beyond.
        let format: Format = "fp4".parse().unwrap();
        let values = gaussian(4096);
        let unit = ClipRule::Mse.scale(format, ScaleKind::Float32, &values);
        for factor in [12.0 / absmax(&values), 4096.0, 1.0 / 4096.0] {
            let scaled: Vec<f32> = values.iter().map(|value| value * factor).collect();
            let found = ClipRule::Mse.scale(format, ScaleKind::Float32, &scaled);
            assert!((found / factor / unit - 1.0).abs() < 1e-3, "{found} {unit} {factor}");
        }
    }

    #[test]
    fn a_percentile_leaves_out_the_outlier() {
        let mut values: Vec<f32> = (0..1000).map(|value| value as f32 / 999.0).collect();
        values[500] = 1e6;
        let scale = ClipRule::Percentile(99.0).scale(Format::Int(8), ScaleKind::Float32, &values);
        assert!((scale * 127.0 - 0.99).abs() < 0.01, "{scale}");
    }
}
