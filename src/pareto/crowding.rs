//! Crowding distance (Deb et al. 2002, section III B): how lonely a candidate is within its front.

/// Crowding distance of each of `points` (one front): the sum over objectives of the gap between its two
/// neighbours, as a share of the objective's range. The two ends of every objective get infinity.
///
/// An objective whose values are all equal (or whose range is not finite) separates nobody and adds nothing, so
/// a front of three or more equal candidates is crowded everywhere (0). Up to two candidates are always ends.
pub fn crowding(points: &[&[f64]]) -> Vec<f64> {
    if points.len() <= 2 {
        return vec![f64::INFINITY; points.len()];
    }
    let mut distance = vec![0.0; points.len()];
    for objective in 0..points[0].len() {
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|&a, &b| points[a][objective].total_cmp(&points[b][objective]));
        let value = |rank: usize| points[order[rank]][objective];
        let last = order.len() - 1;
        let range = value(last) - value(0);
        if !(range.is_finite() && range > 0.0) {
            continue;
        }
        distance[order[0]] = f64::INFINITY;
        distance[order[last]] = f64::INFINITY;
        for rank in 1..last {
            distance[order[rank]] += (value(rank + 1) - value(rank - 1)) / range;
        }
    }
    distance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_by_hand() {
        // Ranges 10 and 10: the second point spans (4 - 0)/10 + (10 - 5)/10 = 0.9,
        // the third (10 - 1)/10 + (8 - 0)/10 = 1.7.
        let distance = crowding(&[&[0.0, 10.0], &[1.0, 8.0], &[4.0, 5.0], &[10.0, 0.0]]);
        assert!(distance[0].is_infinite() && distance[3].is_infinite());
        assert!((distance[1] - 0.9).abs() < 1e-12);
        assert!((distance[2] - 1.7).abs() < 1e-12);
    }

    #[test]
    fn small_fronts_are_all_ends() {
        assert!(crowding(&[]).is_empty());
        assert!(crowding(&[&[1.0, 2.0]]).iter().all(|d| d.is_infinite()));
        assert!(crowding(&[&[1.0, 2.0], &[1.0, 2.0]]).iter().all(|d| d.is_infinite()));
    }

    #[test]
    fn an_objective_without_range_adds_nothing() {
        let distance = crowding(&[&[0.0, 7.0], &[1.0, 7.0], &[4.0, 7.0]]);
        assert!(distance[0].is_infinite() && distance[2].is_infinite());
        assert!((distance[1] - 1.0).abs() < 1e-12);
        assert_eq!(crowding(&[&[7.0], &[7.0], &[7.0]]), [0.0; 3]);
    }

    #[test]
    fn a_duplicate_inside_the_front_is_more_crowded_than_its_neighbours() {
        // Points 1 and 2 are equal: each spans from its twin to the next point on one side only.
        let distance = crowding(&[&[0.0, 4.0], &[2.0, 2.0], &[2.0, 2.0], &[4.0, 0.0]]);
        assert!((distance[1] - 1.0).abs() < 1e-12);
        assert!((distance[2] - 1.0).abs() < 1e-12);
    }
}
