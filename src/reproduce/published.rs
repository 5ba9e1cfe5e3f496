//! The published figures, and what our cost model makes of the networks that they determine.

use serde::Deserialize;

use super::cell::{Cell, FormatSet, Numbers, Purpose};
use super::claims::Point;
use crate::cost::{Convention, Costs};
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::network::{ModelName, ModelSpec, build};

const FLIQS: (&str, &str) = ("data/published/fliqs.csv", include_str!("../../data/published/fliqs.csv"));
const HAWQ_V3: (&str, &str) = ("data/published/hawq_v3.csv", include_str!("../../data/published/hawq_v3.csv"));

/// Features of DeiT-S; the published widths of DeiT are counted in features.
const DEIT_FEATURES: f64 = 384.0;

/// A point of FLIQS's figures.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedPoint {
    /// The model, as `--model` names it where we have it.
    pub model: String,
    /// Which of its sizes: factor on the widths, features of DeiT, size of EfficientNet.
    pub network: String,
    /// Integers or floats.
    pub numbers: Numbers,
    /// Which formats.
    pub formats: FormatSet,
    /// In percent, on ImageNet.
    pub top1: f64,
    /// Bit operations in 1e9, in the published digits.
    pub gbops: String,
}

/// A row of HAWQ-V3's table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HawqPoint {
    /// The model, as `--model` names it.
    pub model: String,
    /// `FP32`, `W8A8`, `W4A4` or one of its mixed networks.
    pub scheme: String,
    /// Size of the weights in 2^20 bytes.
    pub size_mib: f64,
    /// Bit operations in 1e9, in the published digits.
    pub gbops: String,
    /// In percent, on ImageNet.
    pub top1: f64,
}

/// A published cost beside ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Recomputed {
    /// The model.
    pub model: String,
    /// Which of its sizes.
    pub network: String,
    /// The one format of the whole network.
    pub format: Format,
    /// Bit operations in 1e9, in the published digits.
    pub published: String,
    /// Ours.
    pub ours: f64,
}

impl Recomputed {
    /// Ours with as many decimals as published.
    pub fn rounded(&self) -> String {
        format!("{:.1$}", self.ours, self.decimals())
    }

    /// Distance in units of the last published digit; at most 0.5 where ours rounds to it.
    pub fn units_off(&self) -> f64 {
        let published = self.published.parse::<f64>().unwrap_or(f64::NAN);
        (published - self.ours).abs() * 10_f64.powi(self.decimals() as i32)
    }

    fn decimals(&self) -> usize {
        self.published.split_once('.').map_or(0, |(_, fraction)| fraction.len())
    }
}

fn rows<T: for<'a> Deserialize<'a>>((name, text): (&str, &str)) -> Result<Vec<T>> {
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    reader.deserialize().collect::<csv::Result<_>>().map_err(|error| Error::bad_file(name, error.to_string()))
}

/// Every point of FLIQS's figures.
///
/// # Errors
/// None in a program whose tests pass: the text is part of it.
pub fn fliqs() -> Result<Vec<PublishedPoint>> {
    rows(FLIQS)
}

/// Every row of HAWQ-V3's table.
///
/// # Errors
/// As [`fliqs`].
pub fn hawq_v3() -> Result<Vec<HawqPoint>> {
    rows(HAWQ_V3)
}

impl PublishedPoint {
    /// Factor on the widths of the model; `None` for networks that we do not have.
    pub fn width(&self) -> Option<f64> {
        self.model.parse::<ModelName>().ok()?;
        let size: f64 = self.network.parse().ok()?;
        Some(if self.model == "deit_small" { size / DEIT_FEATURES } else { size })
    }

    fn cost(&self) -> Result<f64> {
        let hint = "a number, as in data/published/fliqs.csv";
        self.gbops.parse().map_err(|_| Error::bad_value("gbops", &self.gbops, hint))
    }
}

/// The published cost of FLIQS-L in floats at this width.
///
/// # Errors
/// As [`fliqs`].
pub fn fliqs_cost(model: &str, width: f64) -> Result<Option<f64>> {
    let fits = |point: &&PublishedPoint| {
        let same = point.width().is_some_and(|own| (own - width).abs() < 1e-9);
        same && point.model == model && (point.numbers, point.formats) == (Numbers::Fp, FormatSet::L)
    };
    fliqs()?.iter().find(fits).map(PublishedPoint::cost).transpose()
}

/// The published points of a model as claims compare them, but for 16 bits.
///
/// # Errors
/// As [`fliqs`].
pub fn published_points(model: &str) -> Result<Vec<Point>> {
    let mut points = Vec::new();
    for point in fliqs()?.iter().filter(|point| point.model == model && point.formats != FormatSet::Uniform(16)) {
        let uniform = matches!(point.formats, FormatSet::Uniform(_));
        let cell = Cell {
            numbers: point.numbers,
            formats: point.formats,
            width: point.width().unwrap_or(1.0),
            purpose: if uniform { Purpose::Uniform } else { Purpose::Search },
            target: None,
            seed: 0,
        };
        points.push(Point { cell, gbops: point.cost()?, top1: point.top1 });
    }
    Ok(points)
}

/// The uniform networks of a model in FLIQS's figures with our costs of them, under the convention `fliqs`.
///
/// # Errors
/// As [`fliqs`].
pub fn recomputed(model: &str) -> Result<Vec<Recomputed>> {
    let points = fliqs()?;
    let own = points.into_iter().filter(|point| point.model == model);
    let ours = |point: PublishedPoint| -> Option<Result<Recomputed>> {
        let (FormatSet::Uniform(bits), Some(width)) = (point.formats, point.width()) else { return None };
        let ours = point
            .numbers
            .format(bits)
            .and_then(|format| Ok((format, uniform_gbops(&point.model, width, format, Convention::Fliqs)?)));
        Some(ours.map(|(format, ours)| Recomputed {
            model: point.model,
            network: point.network,
            format,
            published: point.gbops,
            ours,
        }))
    };
    own.filter_map(ours).collect()
}

/// The uniform networks of HAWQ-V3's table with our costs of them, under the convention `full`.
///
/// # Errors
/// As [`hawq_v3`].
pub fn recomputed_hawq() -> Result<Vec<Recomputed>> {
    let ours = |point: HawqPoint| -> Option<Result<Recomputed>> {
        let format = match point.scheme.as_str() {
            "FP32" => Format::Float32,
            "W8A8" => Format::Int(8),
            _ => return None,
        };
        let ours = uniform_gbops(&point.model, 1.0, format, Convention::Full);
        let network = "1.0".to_owned();
        Some(ours.map(|ours| Recomputed { model: point.model, network, format, published: point.gbops, ours }))
    };
    hawq_v3()?.into_iter().filter_map(ours).collect()
}

fn uniform_gbops(model: &str, width: f64, format: Format, convention: Convention) -> Result<f64> {
    let network = build(&ModelSpec { width, ..ModelSpec::new(model.parse()?) })?;
    Ok(Costs::of(&network.uniform(format), convention).gbops)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residual_networks_cost_what_is_published_to_rounding() {
        for model in ["resnet18", "resnet50"] {
            let rows = recomputed(model).unwrap();
            assert_eq!(rows.len(), 18, "{model}: E2M1, E4M3 and BF16 at six widths");
            for row in rows {
                assert!(row.units_off() <= 0.5 && row.rounded() == row.published, "{row:?}");
            }
        }
        for row in recomputed_hawq().unwrap() {
            assert_eq!(row.rounded(), row.published, "{row:?}");
        }
    }

    #[test]
    fn mobile_networks_lie_within_a_unit_of_the_last_digit_and_transformers_within_two_permille() {
        let mobile = recomputed("mobilenet_v2").unwrap();
        assert_eq!(mobile.len(), 12);
        assert!(mobile.iter().all(|row| row.units_off() < 1.0), "{mobile:?}");
        // Three of them do not round to what is printed: the authors' counts of widths 0.5 and 1.4 are a little smaller.
        assert_eq!(mobile.iter().filter(|row| row.units_off() <= 0.5).count(), 9, "{mobile:?}");
        let transformers = recomputed("deit_small").unwrap();
        assert_eq!(transformers.len(), 10);
        for row in transformers {
            let published: f64 = row.published.parse().unwrap();
            assert!((published / row.ours - 1.0).abs() < 0.002, "{row:?}");
        }
    }

    #[test]
    fn all_tables_are_there() {
        let points = fliqs().unwrap();
        // 6 methods at 6 widths twice; MobileNetV2 4 + 4 * 4 + 4, Inception 6 * 5, DeiT 5 * 5, EfficientNet 3 * 5 + 3 * 3.
        assert_eq!(points.len(), 36 + 36 + 24 + 30 + 25 + 24);
        assert_eq!(hawq_v3().unwrap().len(), 18);
        assert_eq!(published_points("resnet18").unwrap().len(), 30, "without BF16");
        assert!(published_points("efficientnet").unwrap().iter().all(|point| point.gbops > 0.0));
    }

    #[test]
    fn targets_are_published_costs() {
        let of = |model, width| fliqs_cost(model, width).unwrap();
        assert!((of("resnet18", 1.0).unwrap() - 32.78).abs() < 1e-9);
        assert!((of("deit_small", 0.75).unwrap() - 39.4).abs() < 1e-9);
        assert_eq!(of("resnet18", 3.0), None);
    }
}
