//! The resolved settings of a run, as `run.ron` keeps them: everything that `resume` needs and a reader wants to know.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Friendliness;
use crate::cost::Constraint;
use crate::cost::Metric;
use crate::data::DataSource;
use crate::data::Holdout;
use crate::error::{Error, Result};
use crate::space::Space;
use crate::space::SpaceFile;
use crate::train::Flow;
use crate::train::OneShotConfig;
use crate::train::TrainConfig;

/// How candidates are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// One supernet, then NSGA-II over the shared weights.
    #[default]
    Nsga2,
    /// One supernet, then random candidates.
    Random,
    /// One supernet, then aging evolution of the most accurate network within the limits.
    Evolution,
    /// FLIQS: formats and weights in one training run for each target cost.
    Fliqs,
}

/// The algorithms by name.
const ALGORITHMS: [(Algorithm, &str); 4] = [
    (Algorithm::Nsga2, "nsga2"),
    (Algorithm::Random, "random"),
    (Algorithm::Evolution, "evolution"),
    (Algorithm::Fliqs, "fliqs"),
];

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(ALGORITHMS.iter().find(|(algorithm, _)| algorithm == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = ALGORITHMS.iter().find(|(_, name)| *name == text).map(|(algorithm, _)| *algorithm);
        found.ok_or_else(|| Error::unknown_name("--algorithm", text, ALGORITHMS.iter().map(|(_, name)| *name)))
    }
}

/// Whether a search trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// It trains a supernet and scores candidates on its shared weights.
    #[default]
    Supernet,
    /// It quantizes given weights: minutes, no training.
    PostTraining,
}

/// The modes by name.
const MODES: [(Mode, &str); 2] = [(Mode::Supernet, "supernet"), (Mode::PostTraining, "ptq")];

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(MODES.iter().find(|(mode, _)| mode == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = MODES.iter().find(|(_, name)| *name == text).map(|(mode, _)| *mode);
        found.ok_or_else(|| Error::unknown_name("--mode", text, MODES.iter().map(|(_, name)| *name)))
    }
}

/// What training on a data set follows from.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainSettings {
    /// Root of all random streams.
    pub seed: u64,
    /// The images.
    pub data: DataSource,
    /// Training images held out for validation.
    pub validation: Holdout,
    /// Training images from which batch-norm statistics and ranges are taken.
    pub calibration: usize,
    /// How the weights are trained.
    pub train: TrainConfig,
}

/// Everything a run follows from. Two runs with equal settings, threads included, give equal results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Version of bitfront that started the run.
    pub version: String,
    /// The command line.
    pub command: Vec<String>,
    /// Root of all random streams.
    pub seed: u64,
    /// Threads of libtorch and of our own kernels; results are bit-equal only for equal threads.
    pub threads: usize,
    /// Where tensors live, `cpu` or `cuda:N`.
    pub device: String,
    /// The search space.
    pub space: SpaceFile,
    /// The images.
    pub data: DataSource,
    /// Training images held out for validation.
    pub validation: Holdout,
    /// Whether it trains.
    #[serde(default)]
    pub mode: Mode,
    /// How candidates are found.
    pub algorithm: Algorithm,
    /// Whether a random search with as many evaluations runs beside it.
    pub random_baseline: bool,
    /// How the weights are trained.
    pub train: TrainConfig,
    /// Weights to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Random candidates a training step, beside the widest or the narrowest in turn.
    pub sandwich: usize,
    /// Candidates to evaluate.
    pub evaluations: usize,
    /// Candidates a generation.
    pub population: usize,
    /// The cost that the front trades against accuracy.
    pub objective: Metric,
    /// Hard limits.
    pub constraints: Vec<Constraint>,
    /// Evolution: the share of the objective's limit that candidates cost at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band: Option<f64>,
    /// What quantization-friendliness adds to a candidate's top-1 while it is searched, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub friendliness: Option<Friendliness>,
    /// FLIQS: target costs as shares of the uniform 8-bit cost.
    pub targets: Vec<f64>,
    /// FLIQS: whether each uniform format is trained too, to compare with.
    pub train_uniform: bool,
    /// FLIQS: reward and policy.
    pub one_shot: OneShotConfig,
    /// Latency table of the device to search for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<PathBuf>,
    /// Whether formats that the device cannot compute in are refused.
    #[serde(default)]
    pub strict: bool,
    /// Seconds after which training and search stop, whatever is left.
    pub time_budget_s: Option<f64>,
    /// Images from which a candidate's batch-norm statistics and ranges are taken.
    pub calibration: usize,
}

/// Most threads that may be asked for.
pub const MOST_THREADS: usize = 1024;

fn within(key: &str, value: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::bad_value(key, value, format!("must be from {least} to {most}")))
}

impl Settings {
    /// The part that a training needs.
    pub fn training(&self) -> TrainSettings {
        TrainSettings {
            seed: self.seed,
            data: self.data.clone(),
            validation: self.validation,
            calibration: self.calibration,
            train: self.train.clone(),
        }
    }

    /// Refuses values that cannot run.
    ///
    /// # Errors
    /// Names the option and its range.
    pub fn check(&self) -> Result<()> {
        Space::new(self.space.clone())?;
        self.train.check()?;
        if self.train.flow != Flow::Float32 {
            return Err(Error::bad_value("flow", self.train.flow, "only `bitfront train` trains in it"));
        }
        within("--evaluations", self.evaluations, 1, 10_000_000)?;
        within("--population", self.population, 2, 100_000)?;
        within("--threads", self.threads, 1, MOST_THREADS)?;
        within("--calibration", self.calibration, 2, 10_000_000)?;
        within("--sandwich", self.sandwich, 0, 64)?;
        self.friendliness.iter().try_for_each(|term| term.check(self.target.is_some()))?;
        self.check_band()?;
        let why = "no latency is known without a table; --target DIR names one (`bitfront profile` makes it)";
        let limited = self.constraints.iter().any(|limit| limit.metric == Metric::LatencyMs);
        for (option, wanted) in [("--constraint", limited), ("--objective", self.objective == Metric::LatencyMs)] {
            if wanted && self.target.is_none() {
                return Err(Error::bad_value(option, "latency_ms", why));
            }
        }
        if self.strict && self.target.is_none() {
            return Err(Error::bad_value("--strict", "", "has no effect without --target"));
        }
        let traded = [Metric::Gbops, Metric::SizeMb, Metric::ActMemKb, Metric::AvgWBits, Metric::LatencyMs];
        if !traded.contains(&self.objective) {
            let known = traded.map(|metric| metric.to_string()).join(", ");
            return Err(Error::bad_value("--objective", self.objective, format!("must be one of {known}")));
        }
        if self.mode == Mode::PostTraining {
            if self.weights.is_none() {
                return Err(Error::missing_option(
                    "--weights",
                    "--mode ptq quantizes a trained network: name its weights",
                ));
            }
            if self.algorithm == Algorithm::Fliqs {
                return Err(Error::bad_value(
                    "--algorithm",
                    self.algorithm,
                    "trains; --mode ptq takes nsga2 or random",
                ));
            }
        }
        if self.algorithm == Algorithm::Fliqs { self.check_one_shot() } else { Ok(()) }
    }

    fn check_one_shot(&self) -> Result<()> {
        let beta = self.one_shot.beta;
        if !(beta >= 0.0 && beta.is_finite()) {
            return Err(Error::bad_value("--beta", beta, "must be a number from 0 up"));
        }
        if self.one_shot.switching && Space::new(self.space.clone())?.is_elastic() {
            let expected = "false: layers whose operators differ have no outputs to compare";
            return Err(Error::bad_value("one_shot.switching", true, expected));
        }
        if self.targets.is_empty() {
            return Err(Error::bad_value("--targets", "", "FLIQS needs at least one target, a share of the int8 cost"));
        }
        for &target in &self.targets {
            if !(target > 0.0 && target <= 1.0) {
                return Err(Error::bad_value("--targets", target, "a share of the int8 cost above 0, at most 1"));
            }
        }
        Ok(())
    }

    fn check_band(&self) -> Result<()> {
        let Some(share) = self.band else { return Ok(()) };
        if !(0.0..1.0).contains(&share) {
            return Err(Error::bad_value("--band", share, "a share of the limit: from 0, below 1"));
        }
        if !self.constraints.iter().any(|limit| limit.metric == self.objective) {
            let expected = format!(
                "has no effect without a limit on the objective, such as --constraint '{}<=0.3'",
                self.objective
            );
            return Err(Error::bad_value("--band", share, expected));
        }
        Ok(())
    }

    /// As RON text.
    ///
    /// # Errors
    /// Never for valid settings; a serializer failure is passed on.
    pub fn to_ron(&self) -> Result<String> {
        ron::ser::to_string_pretty(self, ron::ser::PrettyConfig::new())
            .map_err(|error| Error::Failed(format!("cannot write the settings as RON: {error}")))
    }

    /// Reads `run.ron`.
    ///
    /// # Errors
    /// The file is missing or not such settings; the message has the line.
    pub fn load(path: &std::path::Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
        if text.starts_with("TrainSettings") {
            return Err(Error::bad_file(path, "this folder holds a training (`bitfront train`), not a search"));
        }
        ron::from_str(&text).map_err(|error| Error::bad_file(path, error.to_string()))
    }
}
