//! Sums of products as a microcontroller's two-lane binary16 kernels make them.

use crate::formats::Format;

/// A dot product whose factors, products and sums are all binary16, in two interleaved sums that are added at the end
/// (pulp-trainlib's `v2f16` kernels; Nadalini et al. 2023, arXiv 2305.19167).
///
/// Against exact arithmetic it is off by at most about `K 2^-11` of the sum of `|x y|`, for `K` terms: each of a lane's `K / 2`
/// additions rounds once.
pub fn half_dot(x: &[f32], y: &[f32]) -> f32 {
    let half = |value: f32| Format::Float16.cast(value);
    let mut lanes = [0_f32; 2];
    for (at, (x, y)) in x.iter().zip(y).enumerate() {
        lanes[at % 2] = half(lanes[at % 2] + half(half(*x) * half(*y)));
    }
    half(lanes[0] + lanes[1])
}

/// By how much [`half_dot`] is off, as a share of the sum of `|x y|`; 0 where all products are 0.
pub fn half_dot_error(x: &[f32], y: &[f32]) -> f64 {
    let product = |(x, y): (&f32, &f32)| f64::from(*x) * f64::from(*y);
    let exact: f64 = x.iter().zip(y).map(product).sum();
    let size: f64 = x.iter().zip(y).map(|pair| product(pair).abs()).sum();
    if size > 0.0 { (f64::from(half_dot(x, y)) - exact).abs() / size } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::seed::Seed;

    #[test]
    fn the_error_stays_within_the_terms_times_an_ulp_and_grows_with_them() {
        let normal = |stream: u64, count: usize| -> Vec<f32> {
            StandardNormal.sample_iter(Seed::new(4).at(stream).rng()).take(count).collect()
        };
        let mut mean = Vec::new();
        for terms in [16_usize, 64, 256, 1024, 4096] {
            let errors: Vec<f64> = (0..50)
                .flat_map(|at| {
                    let (x, y) = (normal(at, terms), normal(at + 1000, terms));
                    // One sign makes long sums, which round most.
                    let sizes: Vec<f32> = x.iter().map(|x| x.abs()).collect();
                    let positive: Vec<f32> = y.iter().map(|y| y.abs()).collect();
                    [half_dot_error(&x, &y), half_dot_error(&sizes, &positive)]
                })
                .collect();
            let worst = errors.iter().copied().fold(0.0, f64::max);
            assert!(worst > 0.0 && worst <= terms as f64 * 2_f64.powi(-11), "{terms} terms: {worst}");
            mean.push(errors.iter().sum::<f64>() / errors.len() as f64);
        }
        assert!(mean[4] > 2.0 * mean[0], "{mean:?}");
    }

    #[test]
    fn lanes_interleave_and_round() {
        // 2048 + 1 is no binary16, so a lane at 2048 stands still: the ones in the other lane count.
        let (x, ones) = ([2048.0, 1.0, 1.0, 1.0, 1.0, 1.0], [1.0_f32; 6]);
        assert!((half_dot(&x, &ones) - 2052.0).abs() < 1e-6, "{}", half_dot(&x, &ones));
        assert!((half_dot_error(&x, &ones) - 1.0 / 2053.0).abs() < 1e-9);
        assert!(half_dot_error(&[0.0], &[0.0]).abs() < 1e-12);
    }
}
