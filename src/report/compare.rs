//! Whether a search beats the uniform formats and random search: hypervolumes over seeds, paired.

use rand::Rng;

use crate::error::Error;
use crate::error::Result;
use crate::pareto::front;
use crate::pareto::front_hypervolume;
use crate::stats::Verdict;
use crate::stats::bootstrap_interval;
use crate::stats::mean;
use crate::stats::standard_error;
use crate::stats::verdict;

const RESAMPLES: usize = 10_000;

/// What one seed found: (cost, top-1 in percent) of each network. Dominated networks do no harm.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedFronts {
    /// Networks of the search.
    pub searched: Vec<(f64, f64)>,
    /// The uniform formats; they set the reference point.
    pub uniform: Vec<(f64, f64)>,
    /// Networks of a random search of equal budget.
    pub random: Vec<(f64, f64)>,
}

/// Hypervolumes of one seed, in points x doublings of cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hypervolumes {
    /// Of the search.
    pub searched: f64,
    /// Of the uniform formats.
    pub uniform: f64,
    /// Of random search.
    pub random: f64,
}

/// A paired difference over seeds, in points x doublings of cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// One a seed.
    pub per_seed: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Standard error of the mean; `None` for one seed.
    pub standard_error: Option<f64>,
    /// 95 % bootstrap interval of the mean; `None` for one seed.
    pub interval: Option<(f64, f64)>,
    /// Whether the search is greater.
    pub verdict: Verdict,
}

/// A search against the uniform formats and against random search.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// One a seed.
    pub hypervolumes: Vec<Hypervolumes>,
    /// Search minus uniform formats.
    pub over_uniform: Difference,
    /// Search minus random search.
    pub over_random: Difference,
}

impl Difference {
    /// Sums up paired differences, one a seed. `rng` draws the bootstrap.
    ///
    /// # Errors
    /// Without seeds.
    pub fn of(per_seed: Vec<f64>, rng: &mut impl Rng) -> Result<Self> {
        Ok(Self {
            mean: mean(&per_seed).ok_or_else(|| Error::bad_value("seeds", 0, "expected at least one"))?,
            standard_error: standard_error(&per_seed),
            interval: bootstrap_interval(&per_seed, RESAMPLES, rng),
            verdict: verdict(&per_seed),
            per_seed,
        })
    }
}

/// By how many points the best network of `a` within a cost is better than that of `b` within the same, on average over the
/// logarithm of the cost: from the least that both reach to the most that a front of either takes; where those are one cost, at
/// that. The points are (cost, top-1 in percent).
///
/// # Errors
/// An empty set, a NaN or a cost that is not positive.
pub fn gain_at_equal_cost(a: &[(f64, f64)], b: &[(f64, f64)]) -> Result<f64> {
    let of_front = |points: &[(f64, f64)]| -> Result<Vec<(f64, f64)>> {
        Ok(front(points)?.into_iter().map(|member| points[member]).collect())
    };
    let (a, b) = (of_front(a)?, of_front(b)?);
    let (Some(first_a), Some(last_a), Some(first_b), Some(last_b)) = (a.first(), a.last(), b.first(), b.last()) else {
        return Err(Error::bad_value("networks", "none", "expected at least one on either side"));
    };
    let (least, most) = (first_a.0.max(first_b.0), last_a.0.max(last_b.0));
    if least >= most {
        return Ok(last_a.1 - last_b.1);
    }
    let within = |points: &[(f64, f64)]| {
        let clipped: Vec<(f64, f64)> = points.iter().map(|&(cost, top1)| (cost.max(least), top1)).collect();
        front_hypervolume(&clipped, least, most)
    };
    Ok((within(&a)? - within(&b)?) / (most / least).log2())
}

/// Compares hypervolumes in (log2 cost, top-1). A seed's reference point is (largest uniform cost, 10 %) and its
/// doublings count from its smallest uniform cost. `rng` draws the bootstrap.
///
/// # Errors
/// Without seeds, for an empty set of networks, a NaN or a cost that is not positive; the message names the seed.
pub fn compare(seeds: &[SeedFronts], rng: &mut impl Rng) -> Result<Comparison> {
    let hypervolumes: Result<Vec<Hypervolumes>> =
        seeds.iter().enumerate().map(|(index, seed)| of_seed(index, seed)).collect();
    let hypervolumes = hypervolumes?;
    let mut difference = |baseline: fn(&Hypervolumes) -> f64| {
        Difference::of(hypervolumes.iter().map(|seed| seed.searched - baseline(seed)).collect(), rng)
    };
    let (over_uniform, over_random) = (difference(|seed| seed.uniform)?, difference(|seed| seed.random)?);
    Ok(Comparison { hypervolumes, over_uniform, over_random })
}

fn of_seed(index: usize, seed: &SeedFronts) -> Result<Hypervolumes> {
    let costs = || seed.uniform.iter().map(|point| point.0);
    let (smallest, largest) = (costs().fold(f64::INFINITY, f64::min), costs().fold(0.0, f64::max));
    let volume = |name: &str, points: &[(f64, f64)]| {
        let key = format!("{name} networks of seed {index}");
        if points.is_empty() {
            return Err(Error::bad_value(key, "none", "expected at least one"));
        }
        front_hypervolume(points, smallest, largest).map_err(|error| Error::bad_value(key, error, "cannot be compared"))
    };
    Ok(Hypervolumes {
        uniform: volume("uniform", &seed.uniform)?,
        searched: volume("searched", &seed.searched)?,
        random: volume("random", &seed.random)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    /// Uniform formats at 1, 2 and 8: the reference is (8, 10 %), three doublings from the cheapest.
    fn seed(searched: f64, random: f64) -> SeedFronts {
        SeedFronts {
            searched: vec![(1.0, searched), (4.0, 20.0)],
            uniform: vec![(8.0, 90.0), (1.0, 30.0), (2.0, 60.0)],
            random: vec![(2.0, random)],
        }
    }

    #[test]
    fn gains_at_equal_cost_by_hand() {
        // Common range 2 to 16, three doublings. a: 40 from 1 on, 70 from 8 on; b: 30 from 2 on, 60 from 4 on.
        let a = [(1.0, 40.0), (8.0, 70.0), (9.0, 65.0)];
        let b = [(2.0, 30.0), (4.0, 60.0), (16.0, 61.0)];
        let found = gain_at_equal_cost(&a, &b).unwrap();
        assert!((found - (10.0 - 20.0 + 10.0) / 3.0).abs() < 1e-9, "{found}");
        assert!((gain_at_equal_cost(&b, &a).unwrap() + found).abs() < 1e-9);
        assert!(gain_at_equal_cost(&a, &[]).is_err());
        // Nothing but one cost in common, 4: a has one network within it, b its best.
        let one = gain_at_equal_cost(&[(4.0, 70.0)], &b[..2]).unwrap();
        assert!((one - 10.0).abs() < 1e-9, "{one}");
    }

    #[test]
    fn hypervolumes_and_differences_by_hand() {
        // Uniform: 3 x 20 + 2 x 30 = 120 (the dearest lies on the reference). Searched: 3 x (top-1 - 10).
        // Random: 2 x (top-1 - 10).
        let seeds = [seed(60.0, 70.0), seed(70.0, 80.0), seed(80.0, 90.0)];
        let found = compare(&seeds, &mut Seed::new(1).rng()).unwrap();
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        for (seed, (searched, random)) in
            found.hypervolumes.iter().zip([(150.0, 120.0), (180.0, 140.0), (210.0, 160.0)])
        {
            close(seed.searched, searched);
            close(seed.uniform, 120.0);
            close(seed.random, random);
        }
        // 30, 60, 90: deviation 30, standard error 30 / sqrt 3 = 17.3; 60 is more than twice that.
        close(found.over_uniform.mean, 60.0);
        close(found.over_uniform.standard_error.unwrap(), 30.0 / 3.0_f64.sqrt());
        assert_eq!(found.over_uniform.verdict, Verdict::Held);
        let (low, high) = found.over_uniform.interval.unwrap();
        assert!((30.0..60.0).contains(&low) && high > 60.0 && high <= 90.0);
        for (found, expected) in found.over_random.per_seed.iter().zip([30.0, 40.0, 50.0]) {
            close(*found, expected);
        }
    }

    #[test]
    fn one_seed_is_undecided() {
        let found = compare(&[seed(60.0, 70.0)], &mut Seed::new(1).rng()).unwrap();
        assert_eq!(found.over_uniform.verdict, Verdict::Undecided);
        assert_eq!((found.over_uniform.standard_error, found.over_uniform.interval), (None, None));
    }

    #[test]
    fn what_cannot_be_compared_is_named() {
        let fails = |seeds: &[SeedFronts]| compare(seeds, &mut Seed::new(1).rng()).unwrap_err().to_string();
        assert!(fails(&[]).contains("seeds"));
        let message = fails(&[seed(60.0, 70.0), SeedFronts { random: vec![], ..seed(60.0, 70.0) }]);
        assert!(message.contains("random networks of seed 1"), "{message}");
        assert!(fails(&[SeedFronts { uniform: vec![], ..seed(1.0, 1.0) }]).contains("uniform networks of seed 0"));
        assert!(fails(&[SeedFronts { searched: vec![(-1.0, 2.0)], ..seed(1.0, 1.0) }]).contains("searched"));
        assert!(fails(&[SeedFronts { random: vec![(1.0, f64::NAN)], ..seed(1.0, 1.0) }]).contains("random"));
    }
}
