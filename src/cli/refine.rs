//! `bitfront refine`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::Common;
use super::calibration::{keys, lines};
use super::common::print;
use super::export::packed::{How, write};
use super::export::{Subject, Target, refuse_existing, refuse_extension};
use super::network_choice::NetworkChoice;
use super::ready::weights_of;
use super::refinement::{Refined, RefinementArgs, images};
use crate::cost::{Convention, Costs};
use crate::engine::{Member, Pick, RunDirectory, RunImages, Session, member};
use crate::error::{Error, Result};
use crate::models::{Weights, blocks};
use crate::network::Network;
use crate::space::NetworkFile;
use crate::train::evaluate;

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
        blocks(&task.network).len(),
        args.how.steps,
        args.how.batch,
        args.how.finetune
    ));
    let refined = args.how.refine((network, &task.weights, &task.images), task.seed, &session)?;
    let seconds = began.elapsed().as_secs_f64();
    let helped = refined.helped();
    let Refined { before, after, corrections, harm, made, tried } = refined;
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
        let mut found = json!({
            "file": path, "weights": written.weights, "top1": top1, "top1_unrefined": unrefined, "helped": helped,
            "divergence": harm[1], "divergence_unrefined": harm[0], "seconds": seconds, "gbops": costs.gbops,
            "size_mb": costs.size_mb, "avg_w_bits": costs.avg_w_bits, "avg_a_bits": costs.avg_a_bits,
            "corrected": corrected,
        });
        keys(&made, &tried).into_iter().for_each(|(key, value)| found[key] = value);
        return print(&found.to_string());
    }
    let kept = if helped { "refined" } else { "not refined: it did not help on the validation images" };
    print(&format!(
        "{} and {}: {kept}\n  test top-1               {unrefined:.2} % -> {top1:.2} %\n  \
         distance to float (val)  {:.4} -> {:.4} nats\n  seconds                  {seconds:.0}{}{}",
        path.display(),
        written.weights.display(),
        harm[0],
        harm[1],
        lines(&made, &tried),
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
    let images = images((&args.network.data, args.calibration), &network, common.root(), session.device)?;
    Ok(Task { network, described, weights, images, seed: common.root() })
}
