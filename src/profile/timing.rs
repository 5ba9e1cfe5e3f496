//! Times of two things that take turns, without the runs that something else disturbed.

use std::time::Duration;

use crate::error::Result;
use crate::search::Clock;
use crate::stats::{median, quantile};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Runs before the first that counts.
    pub warm: usize,
    /// Runs of one before it is the other's turn.
    pub block: usize,
    /// Runs of each, at least.
    pub least_runs: usize,
    /// Time for both, at least.
    pub least: Duration,
    /// Time after which only `least_runs` are waited for.
    pub most_runs: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Self { warm: 3, block: 5, least_runs: 10, least: Duration::from_millis(40), most_runs: 400 }
    }
}

/// Times in microseconds, outliers removed.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    /// Runs that count.
    pub runs: usize,
    /// Their median.
    pub median_us: f64,
    /// A tenth is below.
    pub p10_us: f64,
    /// A tenth is above.
    pub p90_us: f64,
    /// Median distance from the median.
    pub mad_us: f64,
}

/// Distance from the median, in deviations estimated from the MAD, beyond which a run is an outlier (Leys et al. 2013
/// recommend 3).
const OUTLIER: f64 = 3.0;

/// The MAD of a normal distribution times this is its deviation.
const NORMAL: f64 = 1.4826;

impl Times {
    /// Statistics of some times in microseconds; zeros for none.
    pub fn of(sample: &[f64]) -> Self {
        let (centre, mad) = centre(sample);
        let reach = (OUTLIER * NORMAL * mad).max(1e-3 * centre);
        let kept: Vec<f64> = sample.iter().copied().filter(|us| (us - centre).abs() <= reach).collect();
        let (median_us, mad_us) = self::centre(&kept);
        let at = |q| quantile(&kept, q).unwrap_or_default();
        Self { runs: kept.len(), median_us, p10_us: at(0.1), p90_us: at(0.9), mad_us }
    }
}

fn centre(sample: &[f64]) -> (f64, f64) {
    let centre = median(sample).unwrap_or_default();
    let distances: Vec<f64> = sample.iter().map(|us| (us - centre).abs()).collect();
    (centre, median(&distances).unwrap_or_default())
}

/// Times two things in turns, by blocks, until both the number of runs and the time suffice.
///
/// # Errors
/// What a run fails with.
pub fn paired(
    clock: &dyn Clock,
    effort: Effort,
    first: &mut dyn FnMut() -> Result<()>,
    second: &mut dyn FnMut() -> Result<()>,
) -> Result<[Times; 2]> {
    for _ in 0..effort.warm {
        first()?;
        second()?;
    }
    let mut times = [Vec::new(), Vec::new()];
    let began = clock.elapsed();
    loop {
        let runs = times[0].len();
        let enough = runs >= effort.least_runs && clock.elapsed().saturating_sub(began) >= effort.least;
        if enough || runs >= effort.most_runs {
            return Ok(times.map(|sample| Times::of(&sample)));
        }
        block(clock, effort.block, first, &mut times[0])?;
        block(clock, effort.block, second, &mut times[1])?;
    }
}

fn block(clock: &dyn Clock, runs: usize, run: &mut dyn FnMut() -> Result<()>, times: &mut Vec<f64>) -> Result<()> {
    // The first after the other's turn finds the other's data in the cache.
    run()?;
    for _ in 0..runs {
        let began = clock.elapsed();
        run()?;
        times.push(clock.elapsed().saturating_sub(began).as_secs_f64() * 1e6);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A clock that only the timed runs move.
    #[derive(Default)]
    struct Fake(Cell<u64>);

    impl Clock for Fake {
        fn elapsed(&self) -> Duration {
            Duration::from_nanos(self.0.get())
        }
    }

    #[test]
    fn two_things_take_turns_until_runs_and_time_suffice() {
        let clock = Fake::default();
        let order = std::cell::RefCell::new(String::new());
        let spend = |name: char, us: u64| {
            order.borrow_mut().push(name);
            clock.0.set(clock.0.get() + us * 1000);
            Ok(())
        };
        let effort = Effort { warm: 1, block: 2, least_runs: 4, least: Duration::from_micros(500), most_runs: 100 };
        let [a, b] = paired(&clock, effort, &mut || spend('a', 30), &mut || spend('b', 10)).unwrap();
        assert_eq!((a.median_us, b.median_us), (30.0, 10.0));
        // A turn of both takes 120 us: five of them pass 500 us.
        assert_eq!((a.runs, order.borrow().as_str()), (10, format!("ab{}", "aaabbb".repeat(5)).as_str()));
    }

    #[test]
    fn disturbed_runs_are_left_out() {
        let mut sample: Vec<f64> = (0..40).map(|run| 100.0 + f64::from(run % 5)).collect();
        sample.extend([500.0, 900.0, 20.0]);
        let times = Times::of(&sample);
        assert_eq!((times.runs, times.median_us), (40, 102.0));
        assert!(times.p90_us <= 104.0 && times.mad_us <= 1.5);
        assert_eq!(Times::of(&[7.0; 5]), Times { runs: 5, median_us: 7.0, p10_us: 7.0, p90_us: 7.0, mad_us: 0.0 });
        assert_eq!(Times::of(&[]).runs, 0);
    }

    #[test]
    fn an_error_ends_the_measurement() {
        let clock = Fake::default();
        let fails = || Err(crate::error::Error::Failed("no kernel".into()));
        assert!(paired(&clock, Effort::default(), &mut || Ok(()), &mut fails.clone()).is_err());
    }
}
