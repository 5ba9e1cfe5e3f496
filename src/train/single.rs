//! Training one network: every step trains the same formats.

use tch::Tensor;

use super::Regime;
use super::StepReport;
use super::Trainer;
use crate::error::Result;
use crate::network::Network;

/// One fixed network.
#[derive(Debug)]
pub struct Single(pub Network);

impl Regime for Single {
    fn step(&mut self, trainer: &mut Trainer, x: &Tensor, y: &Tensor) -> Result<StepReport> {
        let passed = trainer.pass(&self.0, (x, y), true)?;
        trainer.update();
        Ok(StepReport { loss: passed.loss, top1: passed.top1 })
    }
}
