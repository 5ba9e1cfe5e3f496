//! `bitfront eval`.

use clap::Args;
use serde_json::json;

use super::Common;
use super::common::print;
use super::network_choice::NetworkChoice;
use super::ready::ReadyArgs;
use crate::cost::Convention;
use crate::cost::Costs;
use crate::engine::test_images;
use crate::error::Result;
use crate::progress::Progress;
use crate::train::evaluate;

/// Measure a network's accuracy on test images.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  bitfront eval --model resnet20 --weights resnet20.safetensors --data cifar10:DIR --format int8
  bitfront eval --config net.ron                  # as `export --to ron` wrote it, with its weights beside it
  bitfront eval --config runs/resnet8_fashion-1/front/ID.ron --weights runs/resnet8_fashion-1/supernet.safetensors --reestimate
The last one calibrates anew on images of its own choice: about the run's accuracy; an exported member has exactly that.")]
pub struct EvalArgs {
    /// Which network.
    #[command(flatten)]
    pub network: NetworkChoice,
    /// Its weights, and how it is made ready.
    #[command(flatten)]
    pub ready: ReadyArgs,
}

/// Evaluates and prints the result.
///
/// # Errors
/// A file that cannot be read or does not fit.
pub fn run(args: &EvalArgs, common: &Common) -> Result<()> {
    let session = common.session(common.thread_count()?, None)?;
    let data = &args.network.data;
    let (_, ready) = args.ready.of(&args.network, &session, common)?;
    let network = &ready.stored().network;
    let loader = test_images(data, network, session.device)?;
    let progress = Progress::new("eval", loader.steps() as u64, session.quiet);
    let batches = loader.epoch(0, 0).map(|batch| {
        session.check_interrupt("nothing was written")?;
        progress.step(1);
        batch
    });
    let score = evaluate(&ready, batches)?;
    progress.finish();
    let costs = Costs::of(network, Convention::Full);
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
