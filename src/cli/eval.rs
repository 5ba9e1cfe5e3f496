//! `bitfront eval`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Common;
use super::common::print;
use super::network_choice::NetworkChoice;
use crate::checkpoint;
use crate::cost::Convention;
use crate::cost::Costs;
use crate::engine::calibration_images;
use crate::engine::test_images;
use crate::error::Result;
use crate::formats::Format;
use crate::models::Weights;
use crate::network::Network;
use crate::progress::Progress;
use crate::train::Evaluation;
use crate::train::evaluate;
use crate::train::prepare;

/// Measure a network's accuracy on test images.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  bitfront eval --model resnet20 --weights resnet20.safetensors --data cifar10:DIR --format int8
  bitfront eval --config runs/resnet8_fashion-1/front/17.ron --weights runs/resnet8_fashion-1/supernet.safetensors --reestimate")]
pub struct EvalArgs {
    /// Which network.
    #[command(flatten)]
    pub network: NetworkChoice,
    /// Weights: safetensors, or a torch file of either kind
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// Go on when the file lacks parameters; those start at their initial values
    #[arg(long)]
    pub allow_missing: bool,
    /// Training images from which activation ranges are recorded
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub calibration: usize,
    /// Re-estimate batch-norm statistics for this network, as a search does for its candidates
    #[arg(long)]
    pub reestimate: bool,
}

/// Evaluates and prints the result.
///
/// # Errors
/// A file that cannot be read or does not fit.
pub fn run(args: &EvalArgs, common: &Common) -> Result<()> {
    let network = args.network.network()?;
    let file = checkpoint::read(&args.weights)?;
    let report = checkpoint::match_names(&network.parameters(), &file);
    common.detail(&report.to_string());
    report.check(args.allow_missing, &args.weights)?;
    let session = common.session(common.thread_count()?, None)?;
    let mut arrays = file.arrays;
    if !report.missing.is_empty() {
        let fresh = Weights::initialised(&network, crate::seed::Seed::new(common.seed), session.device).to_arrays();
        arrays.extend(fresh.into_iter().filter(|(name, _)| report.missing.contains(name)));
        session.say(&format!("missing, at their initial values: {}", report.missing.join(", ")));
    }
    let weights = Weights::from_arrays(&network, &arrays, session.device)?;
    let data = &args.network.data;
    let quantized = is_quantized(&network);
    let ranges =
        if quantized { calibration_images(data, &network, args.calibration, session.device, None)? } else { vec![] };
    let statistics = if args.reestimate {
        let seed = crate::seed::Seed::new(common.seed).child("statistics");
        calibration_images(data, &network, args.calibration, session.device, Some(seed))?
    } else {
        vec![]
    };
    let ready = prepare(&network, &weights, Evaluation { statistics: &statistics, ranges: &ranges });
    let loader = test_images(data, &network, session.device)?;
    let progress = Progress::new("eval", loader.steps() as u64, session.quiet);
    let batches = loader.epoch(0, 0).map(|batch| {
        session.check_interrupt("nothing was written")?;
        progress.step(1);
        batch
    });
    let score = evaluate(&ready, batches)?;
    progress.finish();
    let costs = Costs::of(&network, Convention::Full);
    if common.json {
        return print(
            &json!({
                "top1": score.top1, "top5": score.top5, "loss": score.loss, "n": score.n, "macs": costs.macs,
                "gbops": costs.gbops, "size_mb": costs.size_mb, "act_mem_kb": costs.act_mem_kb, "params": costs.params,
                "latency_ms": costs.latency_ms,
            })
            .to_string(),
        );
    }
    print(&format!(
        "{} on {data}, {} test images: top-1 {:.2} %, top-5 {:.2} %, loss {:.4}\n{:.4} gbops, {:.4} size_mb, {:.1} act_mem_kb",
        network.model, score.n, score.top1, score.top5, score.loss, costs.gbops, costs.size_mb, costs.act_mem_kb
    ))
}

/// Whether any quantizer does something, so that ranges are needed.
fn is_quantized(network: &Network) -> bool {
    let points = network.layers.iter().filter_map(|layer| layer.point.as_ref());
    points.chain([&network.input_point]).any(|point| point.spec.format != Format::Float32)
}
