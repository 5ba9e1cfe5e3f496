//! `bitfront train`: one network, from scratch or from given weights, tested once at the end.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::RunDirectory;
use super::RunImages;
use super::Session;
use super::TrainSettings;
use super::plan::Pace;
use super::plan::spoken;
use super::supernet::Training;
use super::supernet::begin;
use super::supernet::train;
use crate::checkpoint::Array;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::match_names;
use crate::cost::Convention;
use crate::cost::Costs;
use crate::error::{Error, Result};
use crate::models::Weights;
use crate::models::shared_part;
use crate::network::Network;
use crate::seed::Seed;
use crate::train::Ended;
use crate::train::Evaluation;
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
    /// The network's costs.
    #[serde(flatten)]
    pub costs: Costs,
}

/// Weights that a training starts from.
#[derive(Debug)]
pub struct StartingWeights {
    file: Checkpoint,
    path: PathBuf,
    /// Whether they are a supernet's, of which a network takes its part.
    shared: bool,
}

impl StartingWeights {
    /// The supernet of the run in the folder `path`, or the weights in the file `path`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let shared = path.is_dir();
        let path = if shared { path.join("supernet.safetensors") } else { path.to_owned() };
        Ok(Self { file: crate::checkpoint::read(&path)?, path, shared })
    }

    /// The part of a supernet that `network` shares; the whole file otherwise.
    fn of(mut self, network: &Network) -> Self {
        let head = network.layers.last().map_or("", |layer| layer.name.as_str());
        for (name, shape) in network.parameters() {
            // A head for other classes is replaced, not cut.
            let cut = |whole: &Array| self.shared && (whole.shape.first() == shape.first() || !name.starts_with(head));
            if let Some(array) = self.file.arrays.get_mut(&name).filter(|whole| cut(whole)) {
                *array = shared_part(array, &shape);
            }
        }
        self
    }
}

/// Refuses what cannot be trained, before anything is written.
///
/// # Errors
/// Bad settings, or data that cannot be read or does not fit.
pub fn check_training(settings: &TrainSettings, network: &Network, session: &Session) -> Result<()> {
    settings.train.check()?;
    RunImages::load(settings, network, session.device).map(|_| ())
}

/// Trains `network` with the settings' training part and writes its weights into the folder.
///
/// # Errors
/// Whatever a step fails with; an interrupt, after the state is saved.
pub fn train_single(
    settings: &TrainSettings,
    network: &Network,
    from: Option<StartingWeights>,
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
    let training = Training { label: "train", snapshot: &snapshot, seed: Seed::new(settings.seed).child("weights") };
    let (mut trainer, state) = begin(training, std::slice::from_ref(network), settings, steps, session.device)?;
    if let (Some(from), None) = (from, state) {
        let StartingWeights { mut file, path, .. } = from.of(network);
        if own != classes {
            let (wanted, fresh) = (network.parameters(), trainer.weights.to_arrays());
            let head = match_names(&wanted, &file).mismatched.into_iter().map(|mismatch| mismatch.name);
            let head: Vec<_> = head.filter(|name| wanted[name][0] == classes).collect();
            file.arrays.extend(fresh.into_iter().filter(|(name, _)| head.contains(name)));
        }
        match_names(&network.parameters(), &file).check(false, &path)?;
        trainer.weights = Weights::from_arrays(network, &file.arrays, session.device)?;
    }
    let how = |error| match error {
        Error::Interrupted(_) => Error::Interrupted(format!(
            ": the weights so far are in {}; `bitfront train --from` starts from them",
            snapshot.display()
        )),
        other => other,
    };
    let ended = train(training, &mut trainer, &mut Single(network.clone()), &images, session).map_err(how)?;
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
