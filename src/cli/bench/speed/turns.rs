//! Arms that take turns, so that whatever else the machine does meets all of them.

use std::time::Instant;

use serde::Serialize;

use crate::engine::Session;
use crate::error::Result;
use crate::progress::Progress;
use crate::stats::{median, quantile};

/// Rounds that are not counted.
const WARM_UP: u32 = 2;

/// What is timed, by name.
pub(super) type Arm<'a> = (String, Box<dyn FnMut() -> Result<()> + 'a>);

/// Times of an arm in milliseconds, and over those of the first arm in the same round.
#[derive(Debug, Serialize)]
pub(super) struct Timed {
    pub(super) name: String,
    pub(super) median_ms: f64,
    pub(super) p10_ms: f64,
    pub(super) p90_ms: f64,
    /// Median over rounds.
    pub(super) ratio: f64,
}

/// Runs every arm once a round.
///
/// # Errors
/// What an arm fails with; an interrupt.
pub(super) fn take_turns(arms: &mut [Arm<'_>], rounds: u32, (label, session): (&str, &Session)) -> Result<Vec<Timed>> {
    let progress = Progress::new(label, u64::from(rounds + WARM_UP), session.quiet);
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); arms.len()];
    for round in 0..rounds + WARM_UP {
        for ((_, work), times) in arms.iter_mut().zip(&mut times) {
            session.check_interrupt("nothing is kept")?;
            let began = Instant::now();
            work()?;
            if round >= WARM_UP {
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
        progress.step(1);
    }
    progress.finish();
    let timed = |((name, _), own): (&Arm<'_>, &Vec<f64>)| {
        let at = |q| quantile(own, q).unwrap_or(f64::NAN);
        let ratios: Vec<f64> = own.iter().zip(&times[0]).map(|(own, first)| own / first).collect();
        let ratio = median(&ratios).unwrap_or(f64::NAN);
        Timed { name: name.clone(), median_ms: at(0.5), p10_ms: at(0.1), p90_ms: at(0.9), ratio }
    };
    Ok(arms.iter().zip(&times).map(timed).collect())
}

impl Timed {
    /// Name, median, tenth and ninetieth percentile.
    pub(super) fn cells(&self) -> Vec<String> {
        let ms = [self.median_ms, self.p10_ms, self.p90_ms].map(|value| format!("{value:.1}"));
        [vec![self.name.clone()], ms.to_vec()].concat()
    }
}
