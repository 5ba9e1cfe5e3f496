//! What a run will cost, measured on this machine before it starts.

use std::time::{Duration, Instant};

use super::JudgingImages;
use super::RunImages;
use super::TrainSettings;
use super::workers::in_order;
use crate::error::Result;
use crate::models::Weights;
use crate::network::Network;
use crate::seed::Seed;
use crate::train::evaluate;
use crate::train::prepare;
use crate::train::{Flow, Int8Blocks, Regime, Trainer};

/// Time of the two things a run is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// One forward and backward pass over a training batch.
    pub(super) pass: Duration,
    /// Scoring one candidate on the validation images, where every thread scores one.
    pub(super) score: Duration,
    /// Validation images.
    pub(super) scored_images: usize,
}

impl Pace {
    /// Times a few passes and one score a thread of `network` on weights that are thrown away.
    ///
    /// # Errors
    /// A batch cannot be read.
    pub(super) fn measure(
        network: &Network,
        settings: &TrainSettings,
        images: &RunImages,
        threads: usize,
    ) -> Result<Self> {
        let weights = Weights::initialised(network, Seed::new(0), images.device());
        let mut trainer = Trainer::new(weights, settings.train.clone(), 1);
        let (x, y) = images.training.batch(0, 0)?.tensors(images.device())?;
        let mut blocks = Int8Blocks::new(network.clone(), Seed::new(0));
        let mut pass = || match settings.train.flow {
            Flow::Float32 => trainer.pass(network, (&x, &y), true).map(|_| ()),
            Flow::Int8Blocks => blocks.step(&mut trainer, &x, &y).map(|_| ()),
        };
        pass()?;
        let began = Instant::now();
        let mut passes = 0;
        while passes < 3 || (passes < 10 && began.elapsed() < Duration::from_millis(500)) {
            pass()?;
            passes += 1;
        }
        let pass = began.elapsed() / passes;
        let began = Instant::now();
        let mut scored_images = 0;
        let worker = || (trainer.weights.shallow_clone(), images.judging.shallow_clone());
        let work = |(weights, images): &(Weights, JudgingImages), _: &usize| {
            evaluate(&prepare(network, weights, images.evaluation()), images.validation())
        };
        let jobs: Vec<usize> = (0..threads).collect();
        in_order(threads, &jobs, worker, work, &|| true, |score| {
            scored_images = score?.n;
            Ok(())
        })?;
        Ok(Self { pass, score: began.elapsed() / u32::try_from(threads).unwrap_or(1), scored_images })
    }

    /// Time for `passes` training passes and `scores` candidate scores.
    pub(super) fn time(&self, passes: usize, scores: usize) -> Duration {
        self.pass * u32::try_from(passes).unwrap_or(u32::MAX) + self.score * u32::try_from(scores).unwrap_or(u32::MAX)
    }
}

/// A duration as a person says it: `45 s`, `3 min 20 s`, `2 h 5 min`.
pub fn spoken(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5999 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_said() {
        let said = |seconds| spoken(Duration::from_secs(seconds));
        assert_eq!((said(45), said(200), said(7500)), ("45 s".into(), "3 min 20 s".into(), "2 h 5 min".into()));
    }
}
