//! `bitfront refine`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use tch::Tensor;

use super::Common;
use super::calibration::{CalibrationArgs, Quantizers, keys, lines};
use super::common::print;
use super::export::packed::{How, write};
use super::export::{Subject, Target, refuse_existing, refuse_extension};
use super::network_choice::NetworkChoice;
use super::ready::weights_of;
use crate::cost::{Convention, Costs};
use crate::engine::{Member, Pick, RunDirectory, RunImages, Session, TrainSettings, member};
use crate::error::{Error, Result};
use crate::models::{Folded, Weights, blocks};
use crate::network::Network;
use crate::progress::Progress;
use crate::ptq::{Calibrated, ClipRule, Clips, Finetuning, Prober, Refinement, Rounding};
use crate::ptq::{equalised, finetune, reconstruct};
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
    /// Training steps for each block of layers; 0 leaves the rounding to the nearest
    #[arg(long, value_name = "N", default_value_t = Refinement::default().steps)]
    pub steps: usize,
    /// Images a step
    #[arg(long, value_name = "N", default_value_t = Refinement::default().batch)]
    pub batch: usize,
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
    /// Before and after that.
    #[command(flatten)]
    pub quantizers: CalibrationArgs,
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
    let device = session.device;
    let began = Instant::now();
    let count = task.images.judging.calibration().iter().map(|x| x.size()[0]).sum::<i64>();
    session.say(&format!(
        "cost: {} blocks, {} steps of {} images each, {} epochs of fine-tuning, on {count} images",
        blocks(&task.network).len(),
        args.how.steps,
        args.how.batch,
        args.how.finetune
    ));
    let calibrated = args.how.calibrated(&task, device);
    let before = calibrated.ready(&task.network, device);
    let images = task.images.judging.calibration();
    let made = args.how.quantizers.quantizers(calibrated, &task.network, &images, &session)?;
    let refined = args.how.refined(&made, &task, &session)?;
    // Kept only where it helps on images that it has not seen.
    let validation = task.images.judging.validation().collect::<Result<Vec<_>>>()?;
    let held: Vec<&Tensor> = validation.iter().map(|(x, _)| x).collect();
    let prober = Prober::new(&made.calibrated, &made.network, &held);
    let (refined, tried) = args.how.quantizers.corrected(&made.calibrated, refined, &prober, &images);
    let after = Folded::from_stored(refined, device);
    let harm = [&before, &after].map(|ready| prober.distance_of(ready).divergence);
    let seconds = began.elapsed().as_secs_f64();
    let helped = harm[1] < harm[0];
    let test = task.images.test(&task.network)?;
    let unrefined = evaluate(&before, test.epoch(0, 0))?.top1;
    let ready = if helped { after } else { before };
    let network = ready.stored().network.clone();
    let described = NetworkFile::from_network(&task.described.model, &network);
    let subject = Subject { ready, described, test, seed: task.seed, member: None };
    let written = write(How { to: Target::Ron, verify: true, tolerance: 0.0 }, &session, &subject, path)?;
    let (top1, costs) = (written.top1.unwrap_or_default(), Costs::of(&network, Convention::Full));
    if common.json {
        let mut found = json!({
            "file": path, "weights": written.weights, "top1": top1, "top1_unrefined": unrefined, "helped": helped,
            "divergence": harm[1], "divergence_unrefined": harm[0], "seconds": seconds, "gbops": costs.gbops,
            "size_mb": costs.size_mb, "avg_w_bits": costs.avg_w_bits, "avg_a_bits": costs.avg_a_bits,
        });
        keys(&made, &tried).into_iter().for_each(|(key, value)| found[key] = value);
        return print(&found.to_string());
    }
    let kept = if helped { "refined" } else { "not refined: it did not help on the validation images" };
    print(&format!(
        "{} and {}: {kept}\n  test top-1               {unrefined:.2} % -> {top1:.2} %\n  \
         distance to float (val)  {:.4} -> {:.4} nats\n  seconds                  {seconds:.0}{}",
        path.display(),
        written.weights.display(),
        harm[0],
        harm[1],
        lines(&made, &tried)
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
    fn check(&self) -> Result<()> {
        for (option, value) in [("--drop", self.drop), ("--equalise", self.equalise)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::bad_value(option, value, "must be from 0 to 1"));
            }
        }
        if !(1..=4096).contains(&self.batch) {
            return Err(Error::bad_value("--batch", self.batch, "must be from 1 to 4096"));
        }
        if self.steps > 1_000_000 || self.finetune > 100_000 {
            return Err(Error::bad_value("--steps", self.steps, "at most 1000000 steps and 100000 epochs"));
        }
        Ok(())
    }

    fn calibrated(&self, task: &Task, device: tch::Device) -> Calibrated {
        let images = task.images.judging.calibration();
        let clips = Clips { weights: self.weight_clip, activations: self.act_clip };
        let calibrated = Calibrated::new(&task.network, &task.weights, &images, clips);
        if self.equalise <= 0.0 {
            return calibrated;
        }
        let float = equalised(&calibrated.exact(device), &images, self.equalise);
        Calibrated::of(&Folded::from_stored(float, device), &images, clips)
    }

    fn refined(&self, made: &Quantizers, task: &Task, session: &Session) -> Result<StoredNetwork> {
        let Quantizers { calibrated, network, .. } = made;
        let plain = Tensor::cat(&task.images.judging.calibration(), 0);
        // What the training mirrored is worth as much mirrored here.
        let images = if task.images.mirrors() { Tensor::cat(&[&plain, &plain.flip([3])], 0) } else { plain };
        let options = Refinement {
            steps: self.steps,
            batch: self.batch,
            rounding: self.rounding,
            drop: self.drop,
            scales: !self.fixed_scales,
            biases: !self.fixed_biases,
            seed: Seed::new(task.seed).child("refine"),
            ..Refinement::default()
        };
        let progress = Progress::new("refine", (blocks(network).len() * self.steps) as u64, session.quiet);
        let mut step = || {
            progress.step(1);
            session.check_interrupt("nothing was written")
        };
        let refined = reconstruct(calibrated, network, &images, options, &mut step)?;
        progress.finish();
        if self.finetune == 0 {
            return Ok(refined);
        }
        let tuning = Finetuning { epochs: self.finetune, batch: self.batch, ..Finetuning::new(Seed::new(task.seed)) };
        let progress = Progress::new("fine-tune", tuning.steps(images.size()[0]) as u64, session.quiet);
        let mut step = || {
            progress.step(1);
            session.check_interrupt("nothing was written")
        };
        let refined = finetune(calibrated, &refined, &images, tuning, &mut step)?;
        progress.finish();
        Ok(refined)
    }
}
