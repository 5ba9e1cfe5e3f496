//! The sandwich rule (Yu and Huang 2019): training under the widest formats, the narrowest, and random ones between.
//!
//! The two extremes take turns, a step each; random candidates train at every step. Against both extremes at every step,
//! a third less work for nearly the same front (demo space, 3 epochs, seeds 0 and 1: validation hypervolume 273.4 and 278.4
//! against 274.0 and 279.8; 2 epochs of three passes, the same work, gave 265.4 and 265.7).
//!
//! All learn from the labels: in runs of a few epochs the widest network is too poor a teacher (demo space, 2 epochs:
//! int8 75.5 % with labels, 72.5 % with in-place distillation). Where training is long enough for that, `distil` has the widest
//! learn from the labels at every step, and narrowest and random ones from its answers (SpaceEvo, arXiv 2303.08308).

use tch::Tensor;

use super::Aim;
use super::Lesson;
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
    /// The widest; where there are several kinds of block, one of each kind.
    widest: Vec<Genome>,
    narrowest: Genome,
    random: usize,
    seed: Seed,
    reported: StepReport,
}

impl<'a> Sandwich<'a> {
    /// Trains `space` with `random` sampled candidates a step beside one of the extremes.
    pub fn new(space: &'a Space, random: usize, seed: Seed) -> Self {
        Self {
            space,
            widest: space.widest_of_each_kind(),
            narrowest: space.narrowest(),
            random,
            seed,
            reported: StepReport::default(),
        }
    }
}

impl Sandwich<'_> {
    /// A step in which all others learn from the widest.
    fn distilled(&mut self, trainer: &mut Trainer, x: &Tensor, y: &Tensor) -> Result<StepReport> {
        let mut rng = self.seed.at(trainer.step as u64).rng();
        let choices = self.space.genome_choices()?;
        let widest = &self.widest[trainer.step % self.widest.len()];
        let passed = trainer.pass(&self.space.network(&widest.0), (x, y), true)?;
        let random: Vec<Genome> = (0..self.random).map(|_| choices.random(&mut rng)).collect();
        let towards = |genome: &Genome| {
            let (network, aim) = (self.space.network(&genome.0), Aim::Answer(passed.answer.shallow_clone()));
            Lesson { network, aim, follow: false }
        };
        let lessons: Vec<Lesson> = std::iter::once(&self.narrowest).chain(&random).map(towards).collect();
        trainer.teach(x, &lessons)?;
        trainer.update();
        Ok(StepReport { loss: passed.loss, top1: passed.top1 })
    }
}

impl Regime for Sandwich<'_> {
    fn step(&mut self, trainer: &mut Trainer, x: &Tensor, y: &Tensor) -> Result<StepReport> {
        if trainer.config.distil {
            return self.distilled(trainer, x, y);
        }
        let mut rng = self.seed.at(trainer.step as u64).rng();
        let widest = trainer.step.is_multiple_of(2);
        let extreme = if widest { &self.widest[trainer.step / 2 % self.widest.len()] } else { &self.narrowest };
        let choices = self.space.genome_choices()?;
        let random: Vec<Genome> = (0..self.random).map(|_| choices.random(&mut rng)).collect();
        // Ranges and statistics follow the widest alone: its activations are the least distorted.
        let lesson = |(at, genome): (usize, &Genome)| {
            let (network, aim) = (self.space.network(&genome.0), Aim::Labels(y.shallow_clone()));
            Lesson { network, aim, follow: widest && at == 0 }
        };
        let lessons: Vec<Lesson> = std::iter::once(extreme).chain(&random).enumerate().map(lesson).collect();
        let passed = trainer.teach(x, &lessons)?;
        if widest && let Some(passed) = passed.first() {
            self.reported = StepReport { loss: passed.loss, top1: passed.top1 };
        }
        trainer.update();
        Ok(self.reported)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::models::Weights;
    use crate::space::SpaceFile;
    use crate::train::TrainConfig;

    #[test]
    fn extremes_take_turns_and_ranges_follow_the_widest_alone() {
        let space = Space::new(SpaceFile::demo().unwrap()).unwrap();
        let weights = Weights::initialised(&space.network(&space.widest().0), Seed::new(0), Device::Cpu);
        let mut trainer = Trainer::new(weights, TrainConfig::default(), 3);
        let mut sandwich = Sandwich::new(&space, 0, Seed::new(0));
        let x = Tensor::randn([4, 1, 28, 28], (Kind::Float, Device::Cpu));
        let y = Tensor::from_slice(&[0_i64, 1, 2, 3]);
        let mut ranges = Vec::new();
        let mut losses = Vec::new();
        for _ in 0..3 {
            losses.push(sandwich.step(&mut trainer, &x, &y).unwrap().loss);
            ranges.push(trainer.weights.ranges.clone());
        }
        assert_eq!((&ranges[0], losses[0].to_bits()), (&ranges[1], losses[1].to_bits()));
        assert_ne!(ranges[1], ranges[2]);
        // The narrowest trained in between: the widest meets the same batch with other weights.
        assert!(losses[2] < losses[0], "{losses:?}");
    }

    #[test]
    fn passes_side_by_side_train_what_they_train_one_after_the_other() {
        let space = Space::new(SpaceFile::demo().unwrap()).unwrap();
        let trained = |threads: usize, distil: bool| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).start_handler(|_| tch::set_num_threads(1));
            pool.build().unwrap().install(|| {
                let weights = Weights::initialised(&space.network(&space.widest().0), Seed::new(0), Device::Cpu);
                let config = TrainConfig { distil, learned_ranges: distil, ..TrainConfig::default() };
                let mut trainer = Trainer::new(weights, config, 4);
                let mut sandwich = Sandwich::new(&space, 2, Seed::new(3));
                tch::manual_seed(1);
                let x = Tensor::randn([6, 1, 28, 28], (Kind::Float, Device::Cpu));
                let y = Tensor::from_slice(&[0_i64, 1, 2, 3, 4, 5]);
                for _ in 0..4 {
                    sandwich.step(&mut trainer, &x, &y).unwrap();
                }
                trainer.weights.to_arrays()
            })
        };
        for distil in [false, true] {
            assert!(trained(1, distil) == trained(2, distil) && trained(1, distil) == trained(3, distil), "{distil}");
        }
    }

    #[test]
    fn formats_do_not_matter_in_float_epochs_and_clips_are_learned_behind_them() {
        let space = Space::new(SpaceFile::demo().unwrap()).unwrap();
        let networks = [space.narrowest(), space.widest()].map(|genome| space.network(&genome.0));
        let weights = Weights::initialised(&networks[1], Seed::new(0), Device::Cpu);
        let config =
            TrainConfig { epochs: 2, float_epochs: 1, learned_ranges: true, distil: true, ..TrainConfig::default() };
        let mut trainer = Trainer::new(weights, config, 2);
        let x = Tensor::randn([4, 1, 28, 28], (Kind::Float, Device::Cpu));
        let y = Tensor::from_slice(&[0_i64, 1, 2, 3]);
        let answers = |trainer: &mut Trainer| {
            networks.each_ref().map(|network| trainer.pass(network, (&x, &y), false).unwrap().answer)
        };
        let [narrow, wide] = answers(&mut trainer);
        assert_eq!(narrow, wide);
        assert!(trainer.weights.clip("conv1").is_none());
        let report = Sandwich::new(&space, 1, Seed::new(0)).step(&mut trainer, &x, &y).unwrap();
        assert!(report.loss.is_finite() && trainer.step == 1);
        let [narrow, wide] = answers(&mut trainer);
        assert_ne!(narrow, wide);
        assert!(trainer.weights.clip("conv1").is_some());
    }

    #[test]
    fn distillation_moves_a_network_towards_the_answer() {
        let space = Space::new(SpaceFile::demo().unwrap()).unwrap();
        let network = space.network(&space.widest().0);
        let weights = Weights::initialised(&network, Seed::new(0), Device::Cpu);
        let mut trainer = Trainer::new(weights, TrainConfig { lr: 0.05, ..TrainConfig::default() }, 30);
        let x = Tensor::randn([4, 1, 28, 28], (Kind::Float, Device::Cpu));
        let y = Tensor::from_slice(&[0_i64, 1, 2, 3]);
        // An answer that no label gives: half and half.
        let half = Tensor::zeros([4, 10], (Kind::Float, Device::Cpu));
        let _ = half.narrow(1, 4, 2).fill_(0.5);
        let share = |trainer: &mut Trainer| {
            let passed = trainer.pass(&network, (&x, &y), false).unwrap();
            passed.answer.narrow(1, 4, 2).sum(Kind::Float).double_value(&[]) / 4.0
        };
        let before = share(&mut trainer);
        trainer.weights.trained().for_each(|(_, parameter)| drop(parameter.grad().zero_()));
        for _ in 0..20 {
            let aim = Aim::Answer(half.shallow_clone());
            trainer.teach(&x, &[Lesson { network: network.clone(), aim, follow: false }]).unwrap();
            trainer.update();
        }
        assert!(before < 0.5 && share(&mut trainer) > 0.8, "{before}");
    }
}
