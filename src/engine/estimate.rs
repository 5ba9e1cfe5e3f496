//! What a training will take, for verbs that run many.

use std::time::Duration;

use super::RunImages;
use super::Session;
use super::TrainSettings;
use super::plan::Pace;
use crate::error::Result;
use crate::network::Network;

/// A training, measured on this machine by a few steps of it.
#[derive(Clone, Copy, Debug)]
pub struct Estimate {
    /// Steps of the whole training.
    pub steps: usize,
    /// Time of a step.
    pub step: Duration,
    /// Time to score it on the validation and test images.
    pub test: Duration,
}

impl Estimate {
    /// Times a few steps and a score of `network`, on weights that are thrown away.
    ///
    /// # Errors
    /// The data cannot be read, or does not fit the network.
    pub fn measure(settings: &TrainSettings, network: &Network, session: &Session) -> Result<Self> {
        let images = RunImages::load(settings, network, session.device)?;
        let network = &network.with_classes(images.classes());
        let pace = Pace::measure(network, settings, &images, 1)?;
        let tested = images.test(network)?.order(0).len() + pace.scored_images;
        Ok(Self {
            steps: images.training.steps() * settings.train.epochs,
            step: pace.pass,
            test: pace.score.mul_f64(tested as f64 / pace.scored_images.max(1) as f64),
        })
    }

    /// Time of the training and its test, of a network with `factor` times the multiplications.
    pub fn time(&self, factor: f64) -> Duration {
        let steps = u32::try_from(self.steps).unwrap_or(u32::MAX);
        (self.step * steps + self.test).mul_f64(factor)
    }
}
