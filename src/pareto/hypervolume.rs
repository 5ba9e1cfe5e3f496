//! Exact hypervolume by slicing objectives.
//!
//! Reference: While, Hingston, Barone, Huband, "A faster algorithm for calculating hypervolume", IEEE Transactions
//! on Evolutionary Computation 10(1), 2006 (slicing); two objectives are one sweep.

use super::Scored;
use super::dominance::check;
use crate::error::Error;
use crate::error::Result;

/// Volume that is dominated by `points` and bounded by `reference` (all objectives minimised). Points that are
/// not better than the reference in every objective add nothing. O(n log n) for two objectives, O(n^2 log n) for three.
///
/// # Errors
/// If a coordinate is NaN or the points differ from the reference in their number of objectives.
pub fn hypervolume(points: &[&[f64]], reference: &[f64]) -> Result<f64> {
    let everything: Vec<Scored> = std::iter::once(reference).chain(points.iter().copied()).map(Scored::free).collect();
    check(&everything)?;
    if reference.is_empty() {
        return Err(Error::bad_value("hypervolume reference", "[]", "expected at least one objective"));
    }
    let inside = |point: &&[f64]| point.iter().zip(reference).all(|(x, r)| x < r);
    Ok(slice(points.iter().copied().filter(inside).collect(), reference))
}

/// Hypervolume of points that are all inside the reference: sort by the last objective, and between two
/// neighbouring values the cross-section is the volume, one objective lower, of the points seen so far.
fn slice(mut points: Vec<&[f64]>, reference: &[f64]) -> f64 {
    let last = reference.len() - 1;
    points.sort_by(|a, b| a[last].total_cmp(&b[last]));
    if last == 0 {
        return points.first().map_or(0.0, |best| reference[0] - best[0]);
    }
    let mut volume = 0.0;
    let mut best = reference[0];
    for (index, point) in points.iter().enumerate() {
        best = best.min(point[0]);
        let until = points.get(index + 1).map_or(reference[last], |next| next[last]);
        let thickness = until - point[last];
        if thickness > 0.0 {
            let section = if last == 1 {
                reference[0] - best
            } else {
                slice(points[..=index].iter().map(|p| &p[..last]).collect(), &reference[..last])
            };
            volume += thickness * section;
        }
    }
    volume
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::seed::Seed;

    /// The union of boxes by inclusion and exclusion over all subsets: exact, independent of any sweep, 2^n.
    fn by_inclusion_exclusion(points: &[Vec<f64>], reference: &[f64]) -> f64 {
        (1_u32..1 << points.len())
            .map(|subset| {
                let members = || points.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1).map(|(_, p)| p);
                let side = |d: usize| (reference[d] - members().map(|p| p[d]).fold(f64::MIN, f64::max)).max(0.0);
                let sign = if subset.count_ones() % 2 == 1 { 1.0 } else { -1.0 };
                sign * (0..reference.len()).map(side).product::<f64>()
            })
            .sum()
    }

    fn volume(points: &[Vec<f64>], reference: &[f64]) -> f64 {
        hypervolume(&points.iter().map(Vec::as_slice).collect::<Vec<_>>(), reference).unwrap()
    }

    #[test]
    fn a_staircase_by_hand() {
        // Boxes (4-1)x(4-3) = 3, then (4-2)x(3-2) = 2, then (4-3)x(2-1) = 1.
        let points = [vec![1.0, 3.0], vec![2.0, 2.0], vec![3.0, 1.0]];
        assert!((volume(&points, &[4.0, 4.0]) - 6.0).abs() < 1e-12);
    }

    #[test]
    fn points_outside_dominated_or_repeated_add_nothing() {
        let one = volume(&[vec![1.0, 1.0]], &[3.0, 4.0]);
        assert!((one - 6.0).abs() < 1e-12);
        let more = [vec![1.0, 1.0], vec![2.0, 2.0], vec![1.0, 1.0], vec![0.0, 4.0], vec![9.0, 0.0]];
        assert!((volume(&more, &[3.0, 4.0]) - one).abs() < 1e-12);
        assert!(volume(&[], &[3.0, 4.0]).abs() < f64::EPSILON);
        assert!((volume(&[vec![1.0], vec![2.0]], &[4.0]) - 3.0).abs() < 1e-12);
    }

    #[test]
    fn random_sets_agree_with_inclusion_and_exclusion_in_two_to_four_objectives() {
        let mut rng = Seed::new(5).rng();
        for width in 2..=4 {
            for count in 1..=8 {
                // A coarse grid gives ties; 1.25 puts some points outside the reference.
                let coordinate = |_| f64::from(rng.random_range(0..6)) * 0.25;
                let points: Vec<Vec<f64>> =
                    (0..count * width).map(coordinate).collect::<Vec<_>>().chunks(width).map(<[f64]>::to_vec).collect();
                let reference = vec![1.0; width];
                let expected = by_inclusion_exclusion(&points, &reference);
                assert!((volume(&points, &reference) - expected).abs() < 1e-9, "{points:?}");
            }
        }
    }

    #[test]
    fn nan_and_wrong_widths_are_errors() {
        assert!(hypervolume(&[&[f64::NAN, 1.0]], &[2.0, 2.0]).is_err());
        assert!(hypervolume(&[&[1.0]], &[2.0, 2.0]).is_err());
        assert!(hypervolume(&[], &[]).is_err());
    }
}
