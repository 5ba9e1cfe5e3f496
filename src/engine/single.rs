//! `bitfront train`: one network, from scratch or from given weights, tested once at the end.

use std::path::Path;

use serde::Serialize;

use super::RunDirectory;
use super::RunImages;
use super::Session;
use super::StartingWeights;
use super::TrainSettings;
use super::plan::Pace;
use super::plan::spoken;
use super::supernet::Training;
use super::supernet::begin;
use super::supernet::train;
use crate::cost::Convention;
use crate::cost::Costs;
use crate::error::{Error, Result};
use crate::models::Weights;
use crate::network::Network;
use crate::seed::Seed;
use crate::train::Ended;
use crate::train::Evaluation;
use crate::train::Flow;
use crate::train::Int8Blocks;
use crate::train::Regime;
use crate::train::SavedBytes;
use crate::train::Single;
use crate::train::evaluate;
use crate::train::prepare;
use crate::train::reestimated;

/// What training one network gave.
#[derive(Clone, Debug, Serialize)]
pub struct SingleResult {
    /// Test top-1 in percent.
    pub top1: f64,
    /// Test top-5 in percent.
    pub top5: f64,
    /// Test loss.
    pub loss: f64,
    /// Test images.
    pub n: usize,
    /// Validation top-1 in percent.
    pub validation_top1: f64,
    /// What a step in INT8 blocks kept for its backward pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved_bytes: Option<SavedBytes>,
    /// The network's costs.
    #[serde(flatten)]
    pub costs: Costs,
}

/// Refuses what cannot be trained, before anything is written.
///
/// # Errors
/// Bad settings, or data or weights that cannot be read or do not fit.
pub fn check_training(
    settings: &TrainSettings,
    network: &Network,
    from: Option<&Path>,
    session: &Session,
) -> Result<()> {
    settings.train.check()?;
    if settings.train.flow == Flow::Int8Blocks {
        Int8Blocks::check(network)?;
    }
    if let Some(path) = from {
        StartingWeights::read(path)?.check(std::slice::from_ref(network))?;
    }
    RunImages::load(settings, network, session.device).map(|_| ())
}

/// Trains `network` with the settings' training part and writes its weights into the folder.
///
/// # Errors
/// Whatever a step fails with; an interrupt, after the state is saved.
pub fn train_single(
    settings: &TrainSettings,
    network: &Network,
    from: Option<&Path>,
    folder: &RunDirectory,
    session: &Session,
) -> Result<SingleResult> {
    settings.train.check()?;
    let images = RunImages::load(settings, network, session.device)?;
    let (own, classes) = (network.classes, images.classes());
    let network = &network.with_classes(classes);
    if own != classes {
        session.say(&format!(
            "the data has {classes} classes, the network {own}: its last layer is replaced by one of {classes}"
        ));
    }
    let pace = Pace::measure(network, settings, &images, 1)?;
    let steps = images.training.steps();
    session.say(&format!(
        "cost: {} epochs of {steps} steps, about {}",
        settings.train.epochs,
        spoken(pace.time(steps * settings.train.epochs, 1))
    ));
    let snapshot = folder.state().join("train.safetensors");
    let seed = Seed::new(settings.seed).child("weights");
    let training = Training { label: "train", snapshot: &snapshot, seed, from };
    let (mut trainer, _) = begin(training, std::slice::from_ref(network), settings, steps, session)?;
    let how = |error| match error {
        Error::Interrupted(_) => Error::Interrupted(format!(
            ": the weights so far are in {}; `bitfront train --from` starts from them",
            snapshot.display()
        )),
        other => other,
    };
    let mut blocks = Int8Blocks::new(network.clone(), Seed::new(settings.seed).child("int8-blocks"));
    let mut single = Single(network.clone());
    let regime: &mut dyn Regime = match settings.train.flow {
        Flow::Float32 => &mut single,
        Flow::Int8Blocks => &mut blocks,
    };
    let ended = train(training, &mut trainer, regime, &images, session).map_err(how)?;
    if ended == Ended::Stopped {
        return Err(Error::Interrupted(": the time budget is spent; the state is saved".into()));
    }
    // The file holds the statistics that are tested, so that `eval` needs no re-estimation.
    let weights = reestimated(network, &trainer.weights, images.judging.evaluation().statistics);
    crate::checkpoint::write_safetensors(folder.supernet(), &weights.to_arrays(), &[].into())?;
    let ready = prepare(network, &weights, Evaluation { statistics: &[], ..images.judging.evaluation() });
    let validation = evaluate(&ready, images.judging.validation())?;
    let test = evaluate(&ready, images.test(network)?.epoch(0, 0))?;
    Ok(SingleResult {
        top1: test.top1,
        top5: test.top5,
        loss: test.loss,
        n: test.n,
        validation_top1: validation.top1,
        saved_bytes: (settings.train.flow == Flow::Int8Blocks).then_some(blocks.saved),
        costs: Costs::of(network, Convention::Full),
    })
}

/// Test top-1, in percent, of a network on finished weights of a run, made ready as the run's candidates are.
///
/// # Errors
/// The weights or images cannot be read or do not fit.
pub fn tested_top1(settings: &TrainSettings, network: &Network, weights: &Path, session: &Session) -> Result<f64> {
    let images = RunImages::load(settings, network, session.device)?;
    let file = crate::checkpoint::read(weights)?;
    let weights = Weights::from_arrays(network, &file.arrays, session.device)?;
    let ready = prepare(network, &weights, images.judging.evaluation());
    Ok(evaluate(&ready, images.test(network)?.epoch(0, 0))?.top1)
}
