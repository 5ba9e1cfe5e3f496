//! How a trained network is calibrated, quantized and refined: the options, and the order in which they work.

use clap::Args;
use tch::Tensor;

use super::calibration::{CalibrationArgs, Quantizers, Tried};
use crate::data::DataSource;
use crate::engine::{RunImages, Session, TrainSettings};
use crate::error::{Error, Result};
use crate::models::{Folded, Weights, blocks};
use crate::network::{LowRank, Network};
use crate::progress::Progress;
use crate::ptq::{Calibrated, ClipRule, Clips, Finetuning, Prober, Refinement, Rounding, ScaleMode};
use crate::ptq::{correctable, decoupled, decouples, equalised, finetune, reconstruct, trains_codes, with_corrections};
use crate::seed::Seed;
use crate::stored::StoredNetwork;
use crate::train::TrainConfig;

/// Options of a refinement.
#[derive(Args, Clone, Debug)]
pub struct RefinementArgs {
    /// How the reach of weights is found: mse, min-max or percentile:P
    #[arg(long, value_name = "RULE", default_value = "mse")]
    pub weight_clip: ClipRule,
    /// How the reach of activations is found
    #[arg(long, value_name = "RULE", default_value = "mse")]
    pub act_clip: ClipRule,
    /// Bring the channels of each tensor this far to one size before: 0 to 1 (no gain found; off)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub equalise: f64,
    /// What the scales of a layer's weights may be: float, m1 (powers of two) or m2 (powers of two times one number); m1 and m2
    /// keep fp4 weights within 2^8 of each other, so that they are exact in fp8
    #[arg(long, value_name = "MODE", default_value_t = ScaleMode::default())]
    pub scale_mode: ScaleMode,
    /// Choose codes and scales by the error of each layer's output, not by rounding, before blocks are trained
    #[arg(long)]
    pub decouple: bool,
    /// Training steps for each block of layers; 0 leaves the rounding to the nearest
    #[arg(long, value_name = "N", default_value_t = Refinement::default().steps)]
    pub steps: usize,
    /// Images a step
    #[arg(long, value_name = "N", default_value_t = Refinement::default().batch)]
    pub batch: usize,
    /// How often each image is learned from: as it is, then shifted and mirrored as a training does
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub views: usize,
    /// How weights are rounded: learned, scale-aware (for small floats) or nearest
    #[arg(long, default_value_t = Rounding::default())]
    pub rounding: Rounding,
    /// Share of the activations that stay in float, at random, while a block trains
    #[arg(long, value_name = "SHARE", default_value_t = Refinement::default().drop)]
    pub drop: f64,
    /// Leave the scales of activations as calibration found them
    #[arg(long)]
    pub fixed_scales: bool,
    /// Leave biases as they are
    #[arg(long)]
    pub fixed_biases: bool,
    /// Passes over the images in which the whole network learns the float network's answers, at the end
    #[arg(long, value_name = "EPOCHS", default_value_t = 8)]
    pub finetune: usize,
    /// Leave codes as rounding chose them in that; else those below 8 bits are trained in its first half
    #[arg(long)]
    pub fixed_codes: bool,
    /// Share of the images that are mixed with another one in that [default: 1 where codes are trained, else 0]
    #[arg(long, value_name = "SHARE")]
    pub mix: Option<f64>,
    /// Put corrections of so many channels beside layers below 8 bits where they help, at the end; costs count them
    #[arg(long, value_name = "RANK", default_value_t = 0)]
    pub lorc: usize,
    /// Before and after that.
    #[command(flatten)]
    pub quantizers: CalibrationArgs,
}

/// Largest rank of a correction.
const MOST_RANK: usize = 1024;

/// A network before and after its refinement.
pub(super) struct Refined {
    /// Quantized only.
    pub(super) before: Folded,
    /// Refined.
    pub(super) after: Folded,
    /// Low-rank corrections of the refined one.
    pub(super) corrections: Vec<LowRank>,
    /// Divergence of either from the float network on the validation images, in nats.
    pub(super) harm: [f64; 2],
    /// What it is quantized by.
    pub(super) made: Quantizers,
    /// Corrections that were tried.
    pub(super) tried: Vec<Tried>,
}

impl Refined {
    /// Whether the refinement helped on images that it has not seen.
    pub(super) fn helped(&self) -> bool {
        self.harm[1] < self.harm[0]
    }
}

/// Images to calibrate, refine and judge on, without a run: 1,000 are held out, of fewer than that a tenth.
///
/// # Errors
/// The data cannot be read, or does not fit the network.
pub(super) fn images(
    (data, calibration): (&DataSource, usize),
    network: &Network,
    seed: u64,
    device: tch::Device,
) -> Result<RunImages> {
    let load = |validation: &str| {
        let (data, train) = (data.clone(), TrainConfig::default());
        let settings = TrainSettings { seed, data, validation: validation.parse()?, calibration, train };
        RunImages::load(&settings, network, device)
    };
    load("1000").or_else(|_| load("0.1"))
}

impl RefinementArgs {
    /// Whether every number lies in its range.
    pub(super) fn check(&self) -> Result<()> {
        for (option, value) in
            [("--drop", self.drop), ("--equalise", self.equalise), ("--mix", self.mix.unwrap_or_default())]
        {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::bad_value(option, value, "must be from 0 to 1"));
            }
        }
        if !(1..=4096).contains(&self.batch) {
            return Err(Error::bad_value("--batch", self.batch, "must be from 1 to 4096"));
        }
        if !(1..=64).contains(&self.views) {
            return Err(Error::bad_value("--views", self.views, "must be from 1 to 64"));
        }
        if self.steps > 1_000_000 || self.finetune > 100_000 {
            return Err(Error::bad_value("--steps", self.steps, "at most 1000000 steps and 100000 epochs"));
        }
        if self.lorc > MOST_RANK {
            return Err(Error::bad_value("--lorc", self.lorc, format!("0 (off) to {MOST_RANK} channels")));
        }
        Ok(())
    }

    /// Calibrates, quantizes, refines.
    ///
    /// # Errors
    /// An image cannot be read; a training diverges; an interrupt.
    pub(super) fn refine(
        &self,
        (network, weights, images): (&Network, &Weights, &RunImages),
        seed: u64,
        session: &Session,
    ) -> Result<Refined> {
        let calibrated = self.calibrated(network, weights, images);
        let before = calibrated.ready(network, session.device);
        let batches = images.judging.calibration();
        let made = self.quantizers.quantizers(calibrated, network, &batches, session)?;
        let refined = self.refined(&made, images, seed, session)?;
        // Images that nothing has seen.
        let validation = images.judging.validation().collect::<Result<Vec<_>>>()?;
        let held: Vec<&Tensor> = validation.iter().map(|(x, _)| x).collect();
        let prober = Prober::new(&made.calibrated, &made.network, &held);
        let (refined, tried) = self.quantizers.corrected(&made.calibrated, refined, &prober, &batches);
        let (refined, corrections) = self.with_low_rank(&made.calibrated, refined, &batches, session)?;
        let after = Folded::from_stored(refined, session.device);
        let harm = [&before, &after].map(|ready| prober.distance_of(ready).divergence);
        Ok(Refined { before, after, corrections, harm, made, tried })
    }

    fn calibrated(&self, network: &Network, weights: &Weights, images: &RunImages) -> Calibrated {
        let device = images.device();
        let images = images.judging.calibration();
        let (weight_clip, activations) = (self.weight_clip, self.act_clip);
        let clips = Clips { weights: weight_clip, activations, scale_mode: self.scale_mode };
        let calibrated = Calibrated::new(network, weights, &images, clips);
        if self.equalise <= 0.0 {
            return calibrated;
        }
        let float = equalised(&calibrated.exact(device), &images, self.equalise);
        Calibrated::of(&Folded::from_stored(float, device), &images, clips)
    }

    fn refined(&self, made: &Quantizers, images: &RunImages, seed: u64, session: &Session) -> Result<StoredNetwork> {
        let Quantizers { calibrated, network, .. } = made;
        let plain = Tensor::cat(&images.judging.calibration(), 0);
        let mut refined = calibrated.quantized(network);
        if self.decouple {
            let layers = network.layers.iter().filter(|layer| decouples(layer)).count();
            let free = self.scale_mode == ScaleMode::Float;
            let work = |step: &mut dyn FnMut() -> Result<()>| decoupled(calibrated, refined, &plain, free, step);
            refined = watched(session, "decouple", layers, work)?;
        }
        let images = Tensor::cat(&images.views(self.views)?, 0);
        if self.steps > 0 {
            let steps = blocks(network).len() * self.steps;
            let options = self.refinement(seed);
            let work = |step: &mut dyn FnMut() -> Result<()>| reconstruct(calibrated, refined, &images, options, step);
            refined = watched(session, "refine", steps, work)?;
        }
        if self.finetune > 0 {
            let tuning = self.finetuning(network, seed);
            let work = |step: &mut dyn FnMut() -> Result<()>| finetune(calibrated, &refined, &images, tuning, step);
            refined = watched(session, "fine-tune", tuning.steps(images.size()[0]), work)?;
        }
        Ok(refined)
    }

    fn with_low_rank(
        &self,
        calibrated: &Calibrated,
        refined: StoredNetwork,
        batches: &[&Tensor],
        session: &Session,
    ) -> Result<(StoredNetwork, Vec<LowRank>)> {
        if self.lorc == 0 {
            return Ok((refined, Vec::new()));
        }
        let (layers, how) = (correctable(&refined).len(), (self.lorc, self.act_clip));
        let work = |step: &mut dyn FnMut() -> Result<()>| with_corrections(calibrated, refined, batches, how, step);
        watched(session, "correct", layers, work)
    }

    fn finetuning(&self, network: &Network, seed: u64) -> Finetuning {
        let usual = Finetuning::default();
        let trains_codes = !self.fixed_codes && trains_codes(network);
        Finetuning {
            epochs: self.finetune,
            batch: self.batch,
            // Scales whose ratios are powers of two stay so.
            gain_rate: if self.scale_mode == ScaleMode::Float { usual.gain_rate } else { 0.0 },
            weight_rate: if trains_codes { usual.weight_rate } else { 0.0 },
            mix: self.mix.unwrap_or(if trains_codes { usual.mix } else { 0.0 }),
            seed: Seed::new(seed),
            ..usual
        }
    }

    fn refinement(&self, seed: u64) -> Refinement {
        Refinement {
            steps: self.steps,
            batch: self.batch,
            rounding: self.rounding,
            drop: self.drop,
            scales: !self.fixed_scales,
            biases: !self.fixed_biases,
            seed: Seed::new(seed).child("refine"),
            ..Refinement::default()
        }
    }
}

/// Runs something of so many steps with a bar, which Ctrl-C ends.
fn watched<T>(
    session: &Session,
    label: &str,
    steps: usize,
    work: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<T>,
) -> Result<T> {
    let progress = Progress::new(label, steps as u64, session.quiet);
    let done = work(&mut || {
        progress.step(1);
        session.check_interrupt("nothing was written")
    })?;
    progress.finish();
    Ok(done)
}
