//! `bitfront train`.

use std::path::PathBuf;

use clap::Args;

use super::Common;
use super::common::print;
use super::network_choice::NetworkChoice;
use super::search::TrainingArgs;
use crate::data::Holdout;
use crate::engine::RunDirectory;
use crate::engine::StartingWeights;
use crate::engine::TrainSettings;
use crate::engine::check_training;
use crate::engine::train_single;
use crate::error::{Error, Result};
use crate::train::{Flow, SavedBytes, TrainConfig};

/// Train one network, from scratch or from given weights.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  bitfront train --model resnet8 --format int4 --epochs 8
  bitfront train --config runs/resnet8_fashion-1/front/ID.ron --from runs/resnet8_fashion-1 --epochs 4
  bitfront train --model resnet8 --flow int8-blocks --epochs 5")]
pub struct TrainArgs {
    /// Which network.
    #[command(flatten)]
    pub network: NetworkChoice,
    /// Weights to start from: a run's folder, or a file (safetensors or torch)
    #[arg(long, value_name = "RUN|FILE")]
    pub from: Option<PathBuf>,
    /// Training images held out to choose by: a number or a share
    #[arg(long, value_name = "N", default_value = "1000")]
    pub validation: Holdout,
    /// Numbers that operators hand one another: float32, or int8-blocks (8-bit blocks with stochastic gradients; a network
    /// in float32)
    #[arg(long, default_value = "float32")]
    pub flow: Flow,
    /// How to train.
    #[command(flatten)]
    pub training: TrainingArgs,
}

/// Trains and prints the result.
///
/// # Errors
/// Whatever the training fails with.
pub fn run(args: &TrainArgs, common: &Common) -> Result<()> {
    let network = args.network.network()?;
    let settings = TrainSettings {
        seed: common.root(),
        data: args.network.data.clone(),
        validation: args.validation,
        calibration: 256,
        train: TrainConfig { flow: args.flow, ..args.training.config(network.model.parse()?) },
    };
    let session = common.session(common.thread_count()?, None)?;
    let name = format!("{}-train", network.model);
    let place = RunDirectory::place(common.out.as_deref(), &name, common.force)?;
    if let Some(path) = &args.from {
        StartingWeights::check_outside(path, &place)?;
    }
    check_training(&settings, &network, args.from.as_deref(), &session)?;
    let folder = RunDirectory::create(common.out.as_deref(), &name, common.force)?;
    folder.write(&folder.config(), &format!("{settings:#?}\n"))?;
    session.say(&format!("run: {}", folder.folder().display()));
    let result = train_single(&settings, &network, args.from.as_deref(), &folder, &session)?;
    if common.json {
        let text = serde_json::to_string(&result).map_err(|error| Error::Failed(error.to_string()))?;
        return print(&text);
    }
    let saved = result.saved_bytes.map_or_else(String::new, saved_text);
    print(&format!(
        "test top-1 {:.2} %, top-5 {:.2} %, loss {:.4} on {} images; validation top-1 {:.2} %\n\
         {:.4} gbops, {:.4} size_mb\n{saved}weights: {}",
        result.top1,
        result.top5,
        result.loss,
        result.n,
        result.validation_top1,
        result.costs.gbops,
        result.costs.size_mb,
        folder.supernet().display()
    ))
}

/// What a step kept for its backward pass.
fn saved_text(saved: SavedBytes) -> String {
    let (kept, float) = (saved.kept as f64, saved.float32 as f64);
    format!(
        "kept for the backward pass: {:.3} MB, in float32 {:.3} MB ({:.2}x)\n",
        kept / 1e6,
        float / 1e6,
        float / kept
    )
}
