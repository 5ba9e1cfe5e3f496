//! Finished networks as lines over cost: each method's, means over seeds.

use std::collections::BTreeMap;

use super::cell::{Cell, FormatSet, Numbers, Purpose};
use super::claims::Point;
use crate::stats::mean;

/// The lines of one method.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The method: `FP uniform`, `INT L` (FLIQS-L in integers).
    pub name: String,
    /// (GBOPs, top-1) by rising cost. Uniform formats have a line a width, from few bits to many; searches one over all
    /// widths and targets.
    pub lines: Vec<Vec<(f64, f64)>>,
}

/// The curves of the networks that a picture compares; those that only some claim needs are left out.
pub fn curves(points: &[Point]) -> Vec<Curve> {
    let methods = [Numbers::Int, Numbers::Fp].into_iter().flat_map(|numbers| {
        let sets = [("uniform", None), ("S", Some(FormatSet::S)), ("L", Some(FormatSet::L))];
        let searches = sets.map(|(name, set)| (name, set, Purpose::Search));
        searches.into_iter().chain([("joint", Some(FormatSet::L), Purpose::Joint)]).map(move |method| (numbers, method))
    });
    let means = means(points);
    let curve = |(numbers, (name, set, purpose)): (Numbers, (&str, Option<FormatSet>, Purpose))| {
        let own = means.iter().filter(|point| {
            let uniform = matches!(point.cell.formats, FormatSet::Uniform(_)) && set.is_none();
            let searched = Some(point.cell.formats) == set && point.cell.purpose == purpose;
            point.cell.numbers == numbers && (uniform || searched)
        });
        let mut lines: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for point in own {
            let line = if set.is_none() { point.cell.width.to_string() } else { String::new() };
            lines.entry(line).or_default().push((point.gbops, point.top1));
        }
        let mut lines: Vec<Vec<(f64, f64)>> = lines.into_values().collect();
        lines.iter_mut().for_each(|line| line.sort_by(|a, b| a.0.total_cmp(&b.0)));
        Curve { name: format!("{} {name}", numbers.to_string().to_uppercase()), lines }
    };
    methods.map(curve).filter(|curve| !curve.lines.is_empty()).collect()
}

/// Points that differ only in their seed as one, in the order they come.
fn means(points: &[Point]) -> Vec<Point> {
    let name = |point: &Point| Cell { seed: 0, ..point.cell }.name();
    let mut names: Vec<String> = Vec::new();
    for point in points {
        if !names.contains(&name(point)) {
            names.push(name(point));
        }
    }
    let of_name = |wanted: String| {
        let own: Vec<&Point> = points.iter().filter(|point| name(point) == wanted).collect();
        let average = |value: fn(&Point) -> f64| mean(&own.iter().map(|point| value(point)).collect::<Vec<_>>());
        Some(Point { cell: own.first()?.cell, gbops: average(|p| p.gbops)?, top1: average(|p| p.top1)? })
    };
    names.into_iter().filter_map(of_name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::published_points;

    #[test]
    fn published_curves_are_the_figures() {
        let curves = curves(&published_points("resnet18").unwrap());
        let names: Vec<&str> = curves.iter().map(|curve| curve.name.as_str()).collect();
        assert_eq!(names, ["INT L", "FP uniform", "FP S", "FP L"]);
        assert_eq!(curves[1].lines.len(), 6);
        assert!(curves[1].lines.contains(&vec![(29.23, 67.96), (116.9, 70.56)]));
        assert_eq!((curves[3].lines.len(), curves[3].lines[0].len()), (1, 6));
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
        assert_eq!(curves, [Curve { name: "FP L".into(), lines: vec![vec![(1.5, 70.5)]] }]);
    }
}
