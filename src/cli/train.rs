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

/// Train one network, from scratch or from given weights.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  bitfront train --model resnet8 --format int4 --epochs 8
  bitfront train --config runs/resnet8_fashion-1/front/ID.ron --from runs/resnet8_fashion-1 --epochs 4")]
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
        train: args.training.config(network.model.parse()?),
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
    print(&format!(
        "test top-1 {:.2} %, top-5 {:.2} %, loss {:.4} on {} images; validation top-1 {:.2} %\n\
         {:.4} gbops, {:.4} size_mb\nweights: {}",
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
