//! Fast non-dominated sorting (Deb et al. 2002, section III A): O(objectives x n^2).

use super::Scored;
use super::dominance::check;
use crate::error::Result;

/// The fronts, best first, each as ascending indices into `points`: no member of a front is dominated by a
/// candidate outside earlier fronts. Equal candidates share a front.
///
/// # Errors
/// If an objective or violation is NaN, or the candidates differ in their number of objectives.
pub fn fronts(points: &[Scored]) -> Result<Vec<Vec<usize>>> {
    check(points)?;
    let mut beaten_by = vec![0_usize; points.len()];
    let mut beats: Vec<Vec<usize>> = vec![Vec::new(); points.len()];
    for (i, a) in points.iter().enumerate() {
        for (j, b) in points.iter().enumerate().skip(i + 1) {
            if a.dominates(b) {
                beats[i].push(j);
                beaten_by[j] += 1;
            } else if b.dominates(a) {
                beats[j].push(i);
                beaten_by[i] += 1;
            }
        }
    }
    let mut fronts = Vec::new();
    let mut current: Vec<usize> = (0..points.len()).filter(|&i| beaten_by[i] == 0).collect();
    while !current.is_empty() {
        let mut next = Vec::new();
        for &winner in &current {
            for &loser in &beats[winner] {
                beaten_by[loser] -= 1;
                if beaten_by[loser] == 0 {
                    next.push(loser);
                }
            }
        }
        next.sort_unstable();
        fronts.push(std::mem::replace(&mut current, next));
    }
    Ok(fronts)
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::seed::Seed;

    /// The readable definition: peel off, again and again, everything that nothing left dominates.
    fn peel(points: &[Scored]) -> Vec<Vec<usize>> {
        let mut left: Vec<usize> = (0..points.len()).collect();
        let mut fronts = Vec::new();
        while !left.is_empty() {
            let free = |&i: &usize| !left.iter().any(|&j| points[j].dominates(&points[i]));
            let front: Vec<usize> = left.iter().copied().filter(free).collect();
            left.retain(|i| !front.contains(i));
            fronts.push(front);
        }
        fronts
    }

    fn sorted(points: &[Vec<f64>]) -> Vec<Vec<usize>> {
        let scored: Vec<Scored> = points.iter().map(|p| Scored::free(p)).collect();
        let result = fronts(&scored).unwrap();
        assert_eq!(result, peel(&scored));
        result
    }

    #[test]
    fn nothing_has_no_front() {
        assert!(sorted(&[]).is_empty());
    }

    #[test]
    fn a_single_candidate_is_the_front() {
        assert_eq!(sorted(&[vec![3.0, 4.0]]), [[0]]);
    }

    #[test]
    fn duplicates_share_a_front() {
        let points = [vec![1.0, 1.0], vec![2.0, 2.0], vec![1.0, 1.0], vec![2.0, 2.0]];
        assert_eq!(sorted(&points), [[0, 2], [1, 3]]);
    }

    #[test]
    fn a_staircase_is_one_front() {
        let points: Vec<Vec<f64>> = (0..9).map(|i| vec![f64::from(i), f64::from(-i)]).collect();
        assert_eq!(sorted(&points), [[0, 1, 2, 3, 4, 5, 6, 7, 8]]);
    }

    #[test]
    fn a_chain_is_one_front_a_candidate() {
        let points: Vec<Vec<f64>> = (0..5).rev().map(|i| vec![f64::from(i), f64::from(i)]).collect();
        assert_eq!(sorted(&points), [[4], [3], [2], [1], [0]]);
    }

    #[test]
    fn equal_columns_do_not_separate() {
        assert_eq!(sorted(&[vec![1.0, 5.0], vec![1.0, 4.0], vec![1.0, 5.0]]), vec![vec![1], vec![0, 2]]);
    }

    #[test]
    fn random_candidates_agree_with_peeling_in_two_to_five_objectives() {
        let mut rng = Seed::new(3).rng();
        for width in 2..=5 {
            for _ in 0..20 {
                // Few levels, so that ties and duplicates occur.
                let points: Vec<Vec<f64>> =
                    (0..40).map(|_| (0..width).map(|_| f64::from(rng.random_range(0..6))).collect()).collect();
                assert_eq!(sorted(&points).iter().map(Vec::len).sum::<usize>(), 40);
            }
        }
    }

    #[test]
    fn random_limits_agree_with_peeling() {
        let mut rng = Seed::new(4).rng();
        for _ in 0..50 {
            let points: Vec<[f64; 2]> = (0..30).map(|_| [rng.random(), rng.random()]).collect();
            let violation = |_: usize| f64::from(rng.random_range(0..3));
            let violations: Vec<f64> = (0..30).map(violation).collect();
            let scored: Vec<Scored> = points
                .iter()
                .zip(&violations)
                .map(|(objectives, &violation)| Scored { objectives, violation })
                .collect();
            assert_eq!(fronts(&scored).unwrap(), peel(&scored));
        }
    }
}
