//! The sandwich rule (Yu and Huang 2019): each step trains the widest formats, the narrowest, and random ones between.
//!
//! All learn from the labels: in runs of a few epochs the widest network is too poor a teacher (demo space, 2 epochs:
//! int8 75.5 % with labels, 72.5 % with in-place distillation).

use tch::Tensor;

use super::Regime;
use super::StepReport;
use super::Trainer;
use crate::error::Result;
use crate::genome::Genome;
use crate::seed::Seed;
use crate::space::Space;

/// A supernet under sampled formats.
#[derive(Debug)]
pub struct Sandwich<'a> {
    space: &'a Space,
    widest: Genome,
    narrowest: Genome,
    random: usize,
    seed: Seed,
}

impl<'a> Sandwich<'a> {
    /// Trains `space` with `random` sampled candidates a step beside the two extremes.
    pub fn new(space: &'a Space, random: usize, seed: Seed) -> Self {
        Self { space, widest: space.widest(), narrowest: space.narrowest(), random, seed }
    }
}

impl Regime for Sandwich<'_> {
    fn step(&mut self, trainer: &mut Trainer, x: &Tensor, y: &Tensor) -> Result<StepReport> {
        let mut rng = self.seed.at(trainer.step as u64).rng();
        let widest = trainer.pass(&self.space.network(&self.widest.0), (x, y), true)?;
        let choices = self.space.genome_choices()?;
        let mut others = vec![self.narrowest.clone()];
        others.extend((0..self.random).map(|_| choices.random(&mut rng)));
        for genome in &others {
            trainer.pass(&self.space.network(&genome.0), (x, y), false)?;
        }
        trainer.update();
        Ok(StepReport { loss: widest.loss, top1: widest.top1 })
    }
}
