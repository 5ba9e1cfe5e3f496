//! The inner loops of the Q-T score, for vector units.

use multiversion::multiversion;

/// Samples that are added up before they are looked at: two sums of 4 KiB stay in the first-level cache.
pub(super) const CHUNK: usize = 1024;

/// Samples that are compared before any is picked out.
const GROUP: usize = 32;

/// Adds a column to sums of the same length.
#[multiversion(targets("x86_64+avx2+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn add(sums: &mut [f32], column: &[f32]) {
    for (sum, value) in sums.iter_mut().zip(column) {
        *sum += value;
    }
}

/// Number of values that do not exceed the limit.
#[multiversion(targets("x86_64+avx2+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn count_within(values: &[f32], limit: f32) -> usize {
    values.iter().map(|&value| u32::from(value <= limit)).sum::<u32>() as usize
}

/// Appends the losses below a bound of samples whose latency does not exceed a limit; most groups have none.
#[multiversion(targets("x86_64+avx2+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn below(latency: &[f32], loss: &[f32], (limit, bound): (f32, f32), found: &mut Vec<f32>) {
    for (latency, loss) in latency.chunks(GROUP).zip(loss.chunks(GROUP)) {
        let hits: u32 =
            latency.iter().zip(loss).map(|(&ms, &loss)| u32::from(ms <= limit) & u32::from(loss < bound)).sum();
        if hits > 0 {
            let hit = |(&ms, &loss): (&f32, &f32)| (ms <= limit && loss < bound).then_some(loss);
            found.extend(latency.iter().zip(loss).filter_map(hit));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_meets_limit_and_bound_is_counted_and_found() {
        // 70 samples: two whole groups and a rest; latency 0 to 69, loss 69 down to 0.
        let latency: Vec<f32> = (0..70).map(|i| i as f32).collect();
        let loss: Vec<f32> = latency.iter().map(|ms| 69.0 - ms).collect();
        assert_eq!(count_within(&latency, 66.0), 67);
        let mut found = vec![-1.0];
        below(&latency, &loss, (66.0, 5.0), &mut found);
        assert_eq!(found, [-1.0, 4.0, 3.0]);
        let mut sums = loss;
        add(&mut sums, &latency);
        assert!(sums.iter().all(|sum| (sum - 69.0).abs() < 1e-6));
    }
}
