//! The front of a search in the plane (cost, top-1): its members, its hypervolume, its knee.

use super::Scored;
use super::fronts;
use super::hypervolume;
use crate::error::Error;
use crate::error::Result;

/// Top-1 of the hypervolume's reference point, in percent: chance level of ten classes.
pub const TOP1_REFERENCE: f64 = 10.0;

/// Indices of the points `(cost, top1)` that no other point dominates (cost down, top-1 up), cheapest first.
/// Points that are equal in both are all kept.
///
/// # Errors
/// If a value is NaN.
pub fn front(points: &[(f64, f64)]) -> Result<Vec<usize>> {
    let minimised: Vec<[f64; 2]> = points.iter().map(|&(cost, top1)| [cost, -top1]).collect();
    let scored: Vec<Scored> = minimised.iter().map(|point| Scored::free(point)).collect();
    let mut best = fronts(&scored)?.into_iter().next().unwrap_or_default();
    best.sort_by(|&a, &b| points[a].0.total_cmp(&points[b].0));
    Ok(best)
}

/// Hypervolume of points `(cost, top1)` in the plane x = log2(cost / `smallest_cost`), y = top-1 in points, with the
/// reference point (`largest_cost`, [`TOP1_REFERENCE`]). The two costs are those of the cheapest and the dearest
/// uniform format, so the unit is points x doublings of cost.
///
/// # Errors
/// If a value is NaN or a cost is not positive.
pub fn front_hypervolume(points: &[(f64, f64)], smallest_cost: f64, largest_cost: f64) -> Result<f64> {
    let doublings = |cost: f64| Ok(positive(cost)?.log2() - positive(smallest_cost)?.log2());
    let minimised: Result<Vec<[f64; 2]>> = points.iter().map(|&(cost, top1)| Ok([doublings(cost)?, -top1])).collect();
    let minimised = minimised?;
    let slices: Vec<&[f64]> = minimised.iter().map(<[f64; 2]>::as_slice).collect();
    hypervolume(&slices, &[doublings(largest_cost)?, -TOP1_REFERENCE])
}

/// Index of the knee: the member of the front farthest above the chord from its cheapest to its dearest member, in
/// the plane (log cost, top-1). Which member that is does not depend on the scale of either axis. A front that
/// nowhere rises above its chord (with one or two members none does) has its knee at the cheapest member. Without
/// points there is no knee.
///
/// # Errors
/// If a value is NaN or a cost is not positive.
pub fn knee(points: &[(f64, f64)]) -> Result<Option<usize>> {
    for &(cost, _) in points {
        positive(cost)?;
    }
    let members = front(points)?;
    let (Some(&first), Some(&last)) = (members.first(), members.last()) else {
        return Ok(None);
    };
    let place = |index: usize| (points[index].0.ln(), points[index].1);
    let (start, end) = (place(first), place(last));
    let above = |index: usize| {
        let (x, y) = place(index);
        // Twice the area of the triangle with the chord: its height times a constant.
        (end.0 - start.0) * (y - start.1) - (end.1 - start.1) * (x - start.0)
    };
    let mut knee = first;
    for &member in &members {
        if above(member) > above(knee) {
            knee = member;
        }
    }
    Ok(Some(knee))
}

/// A cost that has a logarithm.
fn positive(cost: f64) -> Result<f64> {
    if cost > 0.0 && cost.is_finite() { Ok(cost) } else { Err(Error::bad_value("cost", cost, "expected a number > 0")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_sorted_by_cost_and_keeps_twins() {
        let points = [(4.0, 90.0), (1.0, 70.0), (2.0, 60.0), (2.0, 80.0), (1.0, 70.0)];
        assert_eq!(front(&points).unwrap(), [1, 4, 3, 0]);
        assert!(front(&[]).unwrap().is_empty());
        assert!(front(&[(f64::NAN, 1.0)]).is_err());
    }

    #[test]
    fn hypervolume_counts_doublings_times_points() {
        // Reference (8, 10 %), smallest 1, so x ends at 3. (2, 60): 2 doublings x 50 points = 100.
        assert!((front_hypervolume(&[(2.0, 60.0)], 1.0, 8.0).unwrap() - 100.0).abs() < 1e-9);
        // (4, 80) adds 1 doubling x 20 points; (8, 99) lies on the reference and adds nothing.
        let points = [(2.0, 60.0), (4.0, 80.0), (8.0, 99.0)];
        assert!((front_hypervolume(&points, 1.0, 8.0).unwrap() - 120.0).abs() < 1e-9);
        // Cheaper than every uniform format: x is negative and counts in full.
        assert!((front_hypervolume(&[(0.5, 20.0)], 1.0, 8.0).unwrap() - 40.0).abs() < 1e-9);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(front_hypervolume(&[(bad, 50.0)], 1.0, 8.0).is_err(), "{bad}");
            assert!(front_hypervolume(&[], 1.0, bad).is_err(), "{bad}");
        }
        assert!(front_hypervolume(&[(1.0, f64::NAN)], 1.0, 8.0).is_err());
    }

    #[test]
    fn the_knee_bulges_most_above_the_chord() {
        // In doublings: (0, 50), (1, 80), (2, 85), (3, 90). The chord passes 63.3 and 76.7: heights 16.7 and 8.3.
        let points = [(8.0, 90.0), (1.0, 50.0), (4.0, 85.0), (2.0, 80.0), (4.0, 20.0)];
        assert_eq!(knee(&points).unwrap(), Some(3));
        // Scaling an axis does not move it.
        let scaled: Vec<(f64, f64)> = points.iter().map(|(c, t)| (c * 1e6, t / 100.0)).collect();
        assert_eq!(knee(&scaled).unwrap(), Some(3));
    }

    #[test]
    fn fronts_without_a_bulge_have_their_knee_at_the_cheapest_member() {
        assert_eq!(knee(&[]).unwrap(), None);
        assert_eq!(knee(&[(3.0, 40.0)]).unwrap(), Some(0));
        assert_eq!(knee(&[(3.0, 40.0), (1.0, 30.0)]).unwrap(), Some(1));
        // A dent at cost 2 (the chord passes 70) is no knee.
        assert_eq!(knee(&[(1.0, 50.0), (2.0, 51.0), (4.0, 90.0)]).unwrap(), Some(0));
        assert!(knee(&[(0.0, 1.0)]).is_err());
    }
}
