//! `bitfront refine`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use tch::Tensor;

use super::Common;
use super::common::print;
use super::export::packed::{How, write};
use super::export::{Subject, Target, refuse_existing, refuse_extension};
use super::network_choice::NetworkChoice;
use super::ready::weights_of;
use crate::cost::{Convention, Costs};
use crate::engine::{Member, Pick, RunDirectory, RunImages, Session, TrainSettings, member};
use crate::error::{Error, Result};
use crate::models::{Folded, Weights, blocks};
use crate::network::{LowRank, Network};
use crate::progress::Progress;
use crate::ptq::{Calibrated, ClipRule, Clips, Finetuning, Prober, Refinement, Rounding, ScaleMode};
use crate::ptq::{correctable, decoupled, decouples, equalised, finetune, reconstruct, with_corrections};
use crate::seed::Seed;
use crate::space::NetworkFile;
use crate::stored::StoredNetwork;
use crate::train::{TrainConfig, evaluate};

/// Quantize a trained network and recover its accuracy, without a training run.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  bitfront refine --model resnet20 --weights resnet20.safetensors --data cifar10:DIR --format int4 --ends int8 --out net.ron
  bitfront refine runs/resnet20_cifar10-1 --pick 'best:avg_w_bits<=4.7' --out net.ron      # a member of a front
  bitfront eval --config net.ron --data cifar10:DIR
  bitfront export --config net.ron --data cifar10:DIR --to onnx --out net.onnx")]
pub struct RefineArgs {
    /// A finished run's folder
    #[arg(value_name = "RUN", conflicts_with_all = ["model", "config", "format", "data", "weights", "mean", "std", "classes"])]
    pub run: Option<PathBuf>,
    /// Which member of the run's front: an id, knee, or best:COST<=LIMIT [default: knee]
    #[arg(long, value_name = "PICK", requires = "run")]
    pub pick: Option<Pick>,
    /// Trained weights in float: safetensors, or a torch file of either kind
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Training images to calibrate and refine on; their labels are not read
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub calibration: usize,
    /// Which network, without a run.
    #[command(flatten)]
    pub network: NetworkChoice,
    /// How.
    #[command(flatten)]
    pub how: RefinementArgs,
}

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
    #[arg(long, value_name = "N", default_value_t = 4)]
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
    #[arg(long, value_name = "EPOCHS", default_value_t = 0)]
    pub finetune: usize,
    /// Put corrections of so many channels beside layers below 8 bits where they help, at the end; costs count them
    #[arg(long, value_name = "RANK", default_value_t = 0)]
    pub lorc: usize,
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
    corrections: Vec<LowRank>,
    /// Divergence of either from the float network on the validation images, in nats.
    pub(super) harm: [f64; 2],
}

impl Refined {
    /// Whether the refinement helped on images that it has not seen.
    pub(super) fn helped(&self) -> bool {
        self.harm[1] < self.harm[0]
    }
}

/// The network that is refined, and its images.
struct Task {
    network: Network,
    described: NetworkFile,
    weights: Weights,
    images: RunImages,
    seed: u64,
}

/// Refines, writes the network, prints what it gained.
///
/// # Errors
/// A file that cannot be read or does not fit; a network that cannot be written.
pub fn run(args: &RefineArgs, common: &Common) -> Result<()> {
    args.how.check()?;
    let path = common.out.as_deref().ok_or_else(|| Error::missing_option("--out", "name the RON file to write"))?;
    refuse_extension(Target::Ron, path)?;
    refuse_existing([path, &path.with_extension("safetensors")].into_iter(), common)?;
    let session = common.session(common.thread_count()?, None)?;
    let task = task(args, &session, common)?;
    let network = &task.network;
    let began = Instant::now();
    let count = task.images.judging.calibration().iter().map(|x| x.size()[0]).sum::<i64>();
    session.say(&format!(
        "cost: {} blocks, {} steps of {} images each, {} epochs of fine-tuning, on {count} images",
        blocks(network).len(),
        args.how.steps,
        args.how.batch,
        args.how.finetune
    ));
    let refined = args.how.refine((network, &task.weights, &task.images), task.seed, &session)?;
    let seconds = began.elapsed().as_secs_f64();
    let helped = refined.helped();
    let Refined { before, after, corrections, harm } = refined;
    let test = task.images.test(network)?;
    let unrefined = evaluate(&before, test.epoch(0, 0))?.top1;
    let (ready, corrections) = if helped { (after, corrections) } else { (before, Vec::new()) };
    let corrected: Vec<String> = corrections.iter().map(|own| own.layer.clone()).collect();
    let described = task.described.with_corrections(corrections, &ready.stored().network);
    let costs = Costs::of(&ready.stored().network, Convention::Full);
    let subject = Subject { ready, described, test, seed: task.seed, member: None };
    let written = write(How { to: Target::Ron, verify: true, tolerance: 0.0 }, &session, &subject, path)?;
    let top1 = written.top1.unwrap_or_default();
    if common.json {
        return print(
            &json!({
                "file": path, "weights": written.weights, "top1": top1, "top1_unrefined": unrefined, "helped": helped,
                "divergence": harm[1], "divergence_unrefined": harm[0], "seconds": seconds, "gbops": costs.gbops,
                "size_mb": costs.size_mb, "avg_w_bits": costs.avg_w_bits, "avg_a_bits": costs.avg_a_bits,
                "corrected": corrected,
            })
            .to_string(),
        );
    }
    let kept = if helped { "refined" } else { "not refined: it did not help on the validation images" };
    print(&format!(
        "{} and {}: {kept}\n  test top-1               {unrefined:.2} % -> {top1:.2} %\n  \
         distance to float (val)  {:.4} -> {:.4} nats\n  seconds                  {seconds:.0}{}",
        path.display(),
        written.weights.display(),
        harm[0],
        harm[1],
        if corrected.is_empty() {
            String::new()
        } else {
            format!("\n  with corrections         {}", corrected.join(", "))
        }
    ))
}

fn task(args: &RefineArgs, session: &Session, common: &Common) -> Result<Task> {
    if let Some(run) = &args.run {
        let pick = args.pick.as_ref().unwrap_or(&Pick::Knee);
        let Member { network, described, settings, images, weights, .. } =
            member(&RunDirectory::open(run)?, pick, session)?;
        return Ok(Task { network, described, weights, images, seed: settings.seed });
    }
    let (described, network) = args.network.described()?;
    let path = args.weights.as_ref().ok_or_else(|| Error::missing_option("--weights", "name the file of weights"))?;
    let weights = weights_of(path, false, &network, session, common)?;
    let settings = TrainSettings {
        seed: common.root(),
        data: args.network.data.clone(),
        validation: "1000".parse()?,
        calibration: args.calibration,
        train: TrainConfig::default(),
    };
    let images = RunImages::load(&settings, &network, session.device)?;
    Ok(Task { network, described, weights, images, seed: common.root() })
}

impl RefinementArgs {
    /// Whether every number lies in its range.
    pub(super) fn check(&self) -> Result<()> {
        for (option, value) in [("--drop", self.drop), ("--equalise", self.equalise)] {
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
        let (refined, corrections) = self.refined(&calibrated, network, images, seed, session)?;
        let after = Folded::from_stored(refined, session.device);
        // Images that neither has seen.
        let validation = images.judging.validation().collect::<Result<Vec<_>>>()?;
        let held: Vec<&Tensor> = validation.iter().map(|(x, _)| x).collect();
        let prober = Prober::new(&calibrated, network, &held);
        let harm = [&before, &after].map(|ready| prober.distance_of(ready).divergence);
        Ok(Refined { before, after, corrections, harm })
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

    /// The refined network, and its corrections.
    fn refined(
        &self,
        calibrated: &Calibrated,
        network: &Network,
        images: &RunImages,
        seed: u64,
        session: &Session,
    ) -> Result<(StoredNetwork, Vec<LowRank>)> {
        let batches = images.judging.calibration();
        let plain = Tensor::cat(&batches, 0);
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
            let seed = Seed::new(seed);
            let tuning = Finetuning { epochs: self.finetune, batch: self.batch, ..Finetuning::new(seed) };
            let work = |step: &mut dyn FnMut() -> Result<()>| finetune(calibrated, &refined, &images, tuning, step);
            refined = watched(session, "fine-tune", tuning.steps(images.size()[0]), work)?;
        }
        if self.lorc == 0 {
            return Ok((refined, Vec::new()));
        }
        let (layers, how) = (correctable(&refined).len(), (self.lorc, self.act_clip));
        let work = |step: &mut dyn FnMut() -> Result<()>| with_corrections(calibrated, refined, &batches, how, step);
        watched(session, "correct", layers, work)
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
