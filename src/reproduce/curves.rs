//! Finished networks as lines over cost: each method's, means over seeds.

use std::collections::BTreeMap;

use super::cell::{Cell, FormatSet, Numbers, Purpose};
use super::claims::Point;
use crate::stats::{mean, standard_error};

/// Networks that differ only in their seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    /// Bit operations in 1e9: their mean.
    pub gbops: f64,
    /// In percent: their mean.
    pub top1: f64,
    /// Standard error of that mean; 0 for one network.
    pub error: f64,
}

/// The lines of one method.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The method: `FP uniform`, `INT L` (FLIQS-L in integers).
    pub name: String,
    /// By rising cost; none where no such network is known. Uniform formats have a line a width, from few bits to many;
    /// searches one over all widths and targets.
    pub lines: Vec<Vec<CurvePoint>>,
}

/// The methods that a picture compares: name, numbers, formats (none: uniform ones), what the networks are trained for.
const METHODS: [(&str, Numbers, Option<FormatSet>, Purpose); 7] = [
    ("INT uniform", Numbers::Int, None, Purpose::Uniform),
    ("INT S", Numbers::Int, Some(FormatSet::S), Purpose::Search),
    ("INT L", Numbers::Int, Some(FormatSet::L), Purpose::Search),
    ("FP uniform", Numbers::Fp, None, Purpose::Uniform),
    ("FP S", Numbers::Fp, Some(FormatSet::S), Purpose::Search),
    ("FP L", Numbers::Fp, Some(FormatSet::L), Purpose::Search),
    ("FP joint", Numbers::Fp, Some(FormatSet::L), Purpose::Joint),
];

/// The curves of all methods, in one order, so that each has the same colour in every picture. Networks that only some
/// claim needs are left out.
pub fn curves(points: &[Point]) -> Vec<Curve> {
    let curve = |(name, numbers, set, purpose): (&str, Numbers, Option<FormatSet>, Purpose)| {
        let own = |cell: &Cell| {
            let formats = set.map_or(matches!(cell.formats, FormatSet::Uniform(_)), |set| cell.formats == set);
            cell.numbers == numbers && cell.purpose == purpose && formats
        };
        let mut lines: BTreeMap<String, Vec<CurvePoint>> = BTreeMap::new();
        for (cell, point) in means(points).into_iter().filter(|(cell, _)| own(cell)) {
            let line = if set.is_none() { cell.width.to_string() } else { String::new() };
            lines.entry(line).or_default().push(point);
        }
        let mut lines: Vec<Vec<CurvePoint>> = lines.into_values().collect();
        lines.iter_mut().for_each(|line| line.sort_by(|a, b| a.gbops.total_cmp(&b.gbops)));
        Curve { name: name.to_owned(), lines }
    };
    METHODS.map(curve).into()
}

/// Points that differ only in their seed as one.
fn means(points: &[Point]) -> Vec<(Cell, CurvePoint)> {
    let mut seeds: BTreeMap<String, Vec<&Point>> = BTreeMap::new();
    for point in points {
        seeds.entry(Cell { seed: 0, ..point.cell }.name()).or_default().push(point);
    }
    let point = |own: Vec<&Point>| {
        let values = |value: fn(&Point) -> f64| own.iter().map(|point| value(point)).collect::<Vec<f64>>();
        let (gbops, top1) = (values(|point| point.gbops), values(|point| point.top1));
        let error = standard_error(&top1).unwrap_or_default();
        Some((own.first()?.cell, CurvePoint { gbops: mean(&gbops)?, top1: mean(&top1)?, error }))
    };
    seeds.into_values().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::published_points;

    #[test]
    fn published_curves_are_the_figures() {
        let curves = curves(&published_points("resnet18").unwrap());
        let counts = curves.iter().map(|curve| (curve.name.as_str(), curve.lines.len()));
        let (int, fp) =
            ([("INT uniform", 0), ("INT S", 0), ("INT L", 1)], [("FP uniform", 6), ("FP S", 1), ("FP L", 1)]);
        assert!(counts.eq(int.into_iter().chain(fp).chain([("FP joint", 0)])));
        let point = |gbops, top1| CurvePoint { gbops, top1, error: 0.0 };
        assert!(curves[3].lines.contains(&vec![point(29.23, 67.96), point(116.9, 70.56)]));
        assert_eq!(curves[5].lines[0].len(), 6);
    }

    #[test]
    fn seeds_are_averaged() {
        let point = |seed, gbops, top1| {
            let (formats, purpose) = (FormatSet::L, Purpose::Search);
            let cell = Cell { numbers: Numbers::Fp, formats, width: 1.0, purpose, target: Some(0.5), seed };
            Point { cell, gbops, top1 }
        };
        let scratch =
            Point { cell: Cell { purpose: Purpose::Scratch, ..point(0, 1.0, 1.0).cell }, gbops: 1.0, top1: 1.0 };
        let curves = curves(&[point(0, 1.0, 70.0), point(1, 2.0, 71.0), scratch]);
        assert_eq!(curves[5].lines, [[CurvePoint { gbops: 1.5, top1: 70.5, error: 0.5 }]]);
        assert!(curves.iter().enumerate().all(|(at, curve)| at == 5 || curve.lines.is_empty()));
    }
}
