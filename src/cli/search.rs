//! `bitfront search` and `bitfront resume`.

use std::path::PathBuf;

use clap::Args;

use super::Common;
use super::report::show;
use crate::cost::Constraint;
use crate::cost::Metric;
use crate::data::DataSource;
use crate::data::Holdout;
use crate::engine::Algorithm;
use crate::engine::Friendliness;
use crate::engine::FriendlyForm;
use crate::engine::Mode;
use crate::engine::RunDirectory;
use crate::engine::Settings;
use crate::engine::check_search;
use crate::engine::run_search;
use crate::error::{Error, Result};
use crate::network::ModelName;
use crate::search::EntropyShape;
use crate::space::Overrides;
use crate::space::SpaceFile;
use crate::train::OneShotConfig;
use crate::train::TrainConfig;

/// Search a space of networks for its Pareto front.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  bitfront search
  bitfront search --constraint 'gbops<=0.2' --constraint 'size_mb<=0.05' --out runs/small
  bitfront search --algorithm fliqs --targets 0.35,0.5,0.75
  bitfront search --target latency_tables/mine --constraint 'latency_ms<=0.3' --objective latency_ms --formats int8,float32
  bitfront search --space search_spaces/resnet20_cifar10.ron --data cifar10:DIR --pin 'layer3.*=int8' --forbid fp4")]
pub struct SearchArgs {
    /// Search space (RON) [default: the demo, ResNet-8 on Fashion-MNIST]
    #[arg(long, value_name = "FILE")]
    pub space: Option<PathBuf>,
    /// Images: fashion-mnist-mini, idx:DIR, cifar10:DIR or imagefolder:DIR [default: the space's, else fashion-mnist-mini]
    #[arg(long)]
    pub data: Option<DataSource>,
    /// Weights to start from: a public checkpoint (safetensors or torch), or a run's folder
    #[arg(long, value_name = "FILE|RUN")]
    pub weights: Option<PathBuf>,
    /// Training images held out to choose by: a number or a share
    #[arg(long, value_name = "N", default_value = "1000")]
    pub validation: Holdout,
    /// Hard limit such as 'gbops<=0.1'; repeat for several
    #[arg(long, value_name = "LIMIT")]
    pub constraint: Vec<Constraint>,
    /// Latency table of the device to search for: a folder that `bitfront profile` wrote
    #[arg(long, value_name = "DIR")]
    pub target: Option<PathBuf>,
    /// Refuse formats that the target cannot compute in
    #[arg(long)]
    pub strict: bool,
    /// Cost that the front trades against accuracy: gbops, size_mb, act_mem_kb, avg_w_bits or latency_ms
    #[arg(long, value_name = "COST", default_value = "gbops")]
    pub objective: Metric,
    /// supernet trains shared weights; ptq quantizes the trained network of --weights
    #[arg(long, default_value = "supernet")]
    pub mode: Mode,
    /// How to search: nsga2, random, evolution (the best within the limits) or fliqs
    #[arg(long, default_value = "nsga2")]
    pub algorithm: Algorithm,
    /// fliqs: target costs as shares of the int8 cost, one training each [default: 0.35,0.5,0.75]
    #[arg(long, value_delimiter = ',', value_name = "SHARES")]
    pub targets: Option<Vec<f64>>,
    /// fliqs: how the entropy penalty grows: cosine, linear, constant, heaviside or none [default: cosine]
    #[arg(long, value_name = "SHAPE")]
    pub entropy: Option<EntropyShape>,
    /// fliqs: weight of the cost in the reward [default: 1]
    #[arg(long)]
    pub beta: Option<f64>,
    /// fliqs: leave out the trainings of the uniform formats
    #[arg(long)]
    pub no_uniform: bool,
    /// nsga2: also run a random search with as many evaluations
    #[arg(long, value_name = "NAME")]
    pub baseline: Option<Algorithm>,
    /// nsga2 and random: candidates to evaluate [default: 200; ptq: 48]
    #[arg(long, value_name = "N")]
    pub evaluations: Option<usize>,
    /// nsga2: candidates a generation [default: 20; ptq: 12, and as many budgets]
    #[arg(long, value_name = "N")]
    pub population: Option<usize>,
    /// Time after which training and search stop: 90s, 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub time_budget: Option<f64>,
    /// Fix layers to a format: 'layer3.*=int8'; repeat for several
    #[arg(long, value_name = "LAYERS=FORMAT")]
    pub pin: Vec<String>,
    /// Take a format out of the space; repeat for several
    #[arg(long, value_name = "FORMAT")]
    pub forbid: Vec<String>,
    /// The formats to choose from, instead of the space's
    #[arg(long, value_delimiter = ',', value_name = "FORMATS")]
    pub formats: Vec<String>,
    /// Mean of each channel, for pixels in [0, 1], instead of the model's
    #[arg(long, value_delimiter = ',', value_name = "M,...")]
    pub mean: Option<Vec<f32>>,
    /// Standard deviation of each channel, instead of the model's
    #[arg(long, value_delimiter = ',', value_name = "S,...")]
    pub std: Option<Vec<f32>>,
    /// nsga2 and random: random candidates a training step, beside the widest or the narrowest in turn [default: 1]
    #[arg(long, value_name = "N")]
    pub sandwich: Option<usize>,
    /// Training images from which a candidate's batch-norm statistics and ranges are taken
    /// [default: 256; ptq: 1024]
    #[arg(long, value_name = "N")]
    pub calibration: Option<usize>,
    /// nsga2, random and evolution: the largest network learns from the labels, the smaller ones from its answers
    #[arg(long)]
    pub distil: bool,
    /// evolution: candidates cost at least this share of the objective's limit; with --constraint they lie in a band
    #[arg(long, value_name = "SHARE")]
    pub band: Option<f64>,
    /// nsga2 and evolution: points of top-1 that a clean bit of the logits, or a doubling of speed over float32, is worth
    /// while candidates are compared [default: none]
    #[arg(long, value_name = "POINTS")]
    pub friendliness: Option<f64>,
    /// What --friendliness counts: noise, speedup (needs --target) or both
    #[arg(long, value_name = "FORM", default_value = "noise", requires = "friendliness")]
    pub friendly_form: FriendlyForm,
    /// How to train.
    #[command(flatten)]
    pub training: TrainingArgs,
}

/// Options of a training.
#[derive(Args, Clone, Debug)]
pub struct TrainingArgs {
    /// Passes over the training images
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().epochs)]
    pub epochs: usize,
    /// Images a training step
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().batch)]
    pub batch: usize,
    /// Learn the clips of activations (LSQ) instead of recording their ranges
    #[arg(long)]
    pub learned_ranges: bool,
    /// Of --epochs, those in float32 that come first; a lower learning rate follows
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub float_epochs: usize,
    /// Highest learning rate [default: 0.2; for transformers and mobile networks 0.05]
    #[arg(long)]
    pub lr: Option<f64>,
}

impl TrainingArgs {
    /// As the engine takes it, for a network of this model.
    pub fn config(&self, model: ModelName) -> TrainConfig {
        TrainConfig {
            epochs: self.epochs,
            batch: self.batch,
            lr: self.lr.unwrap_or(TrainConfig::usual_rate(model)),
            learned_ranges: self.learned_ranges,
            float_epochs: self.float_epochs,
            ..TrainConfig::default()
        }
    }
}

/// Continue an interrupted run.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bitfront resume runs/resnet8_fashion-1")]
pub struct ResumeArgs {
    /// The run's folder
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Time after which training and search stop, from now
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub time_budget: Option<f64>,
}

/// Ten years in seconds.
const LONGEST: f64 = 87_600.0 * 3600.0;

/// Reads `90s`, `10m` or `2h` as seconds.
///
/// # Errors
/// Any other text.
pub fn seconds(text: &str) -> std::result::Result<f64, String> {
    let units = [('s', 1.0), ('m', 60.0), ('h', 3600.0)];
    let parts = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(*unit)?, factor)));
    let value = parts.and_then(|(number, factor)| Some(number.parse::<f64>().ok()? * factor));
    value
        .filter(|seconds| *seconds > 0.0 && *seconds <= LONGEST)
        .ok_or_else(|| "expected a number above 0 with its unit, such as 90s, 10m or 2h; at most 87600h".into())
}

/// Starts a search.
///
/// # Errors
/// Whatever the run fails with.
pub fn run(args: &SearchArgs, common: &Common) -> Result<()> {
    let settings = settings(args, common)?;
    let session = common.session(settings.threads, settings.time_budget_s)?;
    let name = args.space.as_ref().and_then(|path| path.file_stem()).map(|stem| stem.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| "resnet8_fashion".to_owned());
    // Whatever can be refused is refused before a folder is made, or an old run cleared.
    let place = RunDirectory::place(common.out.as_deref(), &name, common.force)?;
    check_search(&settings, &place, &session)?;
    let folder = RunDirectory::create(common.out.as_deref(), &name, common.force)?;
    folder.write(&folder.config(), &settings.to_ron()?)?;
    session.say(&format!("run: {}", folder.folder().display()));
    let found = run_search(&settings, &folder, &session).map_err(|error| named(error, &folder))?;
    show(&found, &folder, common)
}

/// Continues a search.
///
/// # Errors
/// Whatever the run fails with.
pub fn resume(args: &ResumeArgs, common: &Common) -> Result<()> {
    let folder = RunDirectory::open(&args.run)?;
    let mut settings = Settings::load(&folder.config())?;
    settings.time_budget_s = args.time_budget;
    if common.threads.is_some_and(|threads| threads != settings.threads) {
        let kept = format!("the run was started with {}; results are equal only for equal threads", settings.threads);
        return Err(Error::bad_value("--threads", common.thread_count()?, kept));
    }
    let common = &Common { device: settings.device.clone(), ..common.clone() };
    let session = common.session(settings.threads, settings.time_budget_s)?;
    let found = run_search(&settings, &folder, &session).map_err(|error| named(error, &folder))?;
    show(&found, &folder, common)
}

/// An interrupt with the folder to resume.
fn named(error: Error, folder: &RunDirectory) -> Error {
    match error {
        Error::Interrupted(what) => Error::Interrupted(format!("{what}; the run is {}", folder.folder().display())),
        other => other,
    }
}

/// Refuses the options of another algorithm, which would have no effect.
fn refuse_misplaced(args: &SearchArgs) -> Result<()> {
    let (nsga2, random, fliqs) = (Algorithm::Nsga2, Algorithm::Random, Algorithm::Fliqs);
    let evolution = Algorithm::Evolution;
    let options: [(&str, bool, &[Algorithm]); 12] = [
        ("--targets", args.targets.is_some(), &[fliqs]),
        ("--entropy", args.entropy.is_some(), &[fliqs]),
        ("--beta", args.beta.is_some(), &[fliqs]),
        ("--no-uniform", args.no_uniform, &[fliqs]),
        ("--baseline", args.baseline.is_some(), &[nsga2]),
        ("--population", args.population.is_some(), &[nsga2, evolution]),
        ("--evaluations", args.evaluations.is_some(), &[nsga2, random, evolution]),
        ("--sandwich", args.sandwich.is_some(), &[nsga2, random, evolution]),
        ("--distil", args.distil, &[nsga2, random, evolution]),
        ("--float-epochs", args.training.float_epochs > 0, &[nsga2, random, evolution]),
        ("--friendliness", args.friendliness.is_some(), &[nsga2, evolution]),
        ("--band", args.band.is_some(), &[evolution]),
    ];
    match options.iter().find(|(_, given, takers)| *given && !takers.contains(&args.algorithm)) {
        None => Ok(()),
        Some((option, _, takers)) => {
            let takers: Vec<String> = takers.iter().map(|taker| format!("`--algorithm {taker}`")).collect();
            let expected = format!("{option} has no effect here; it belongs to {}", takers.join(" and "));
            Err(Error::bad_value("--algorithm", args.algorithm, expected))
        }
    }
}

/// Refuses options of a training where none runs.
fn refuse_training(args: &SearchArgs) -> Result<()> {
    let (own, usual) = (&args.training, TrainConfig::default());
    let options = [
        ("--epochs", own.epochs != usual.epochs),
        ("--batch", own.batch != usual.batch),
        ("--lr", own.lr.is_some()),
        ("--learned-ranges", own.learned_ranges),
        ("--float-epochs", own.float_epochs > 0),
        ("--distil", args.distil),
        ("--sandwich", args.sandwich.is_some()),
    ];
    match options.iter().find(|(_, given)| *given) {
        Some((option, _)) if args.mode == Mode::PostTraining => {
            Err(Error::bad_value("--mode", args.mode, format!("{option} has no effect here: nothing is trained")))
        }
        _ => Ok(()),
    }
}

/// The settings a command line stands for.
///
/// # Errors
/// A space or value that cannot be used.
pub fn settings(args: &SearchArgs, common: &Common) -> Result<Settings> {
    refuse_misplaced(args)?;
    refuse_training(args)?;
    let file = match &args.space {
        Some(path) => SpaceFile::load(path)?,
        None => SpaceFile::demo()?,
    };
    let overrides = Overrides {
        formats: args.formats.clone(),
        forbid: args.forbid.clone(),
        pins: args.pin.clone(),
        mean: args.mean.clone(),
        std: args.std.clone(),
    };
    let space = overrides.apply(file)?;
    let data = match (&args.data, &space.data) {
        (Some(data), _) => data.clone(),
        (None, Some(text)) => text.parse()?,
        (None, None) => DataSource::default(),
    };
    let random_baseline = match args.baseline {
        None => false,
        Some(Algorithm::Random) => true,
        Some(other) => return Err(Error::bad_value("--baseline", other, "only `random` is a baseline")),
    };
    let usual = OneShotConfig::default();
    let ptq = args.mode == Mode::PostTraining;
    Ok(Settings {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: std::env::args().collect(),
        seed: common.root(),
        threads: common.thread_count()?,
        device: common.device.clone(),
        train: TrainConfig { distil: args.distil, ..args.training.config(space.model) },
        weights: args.weights.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())),
        space,
        data,
        validation: args.validation,
        mode: args.mode,
        algorithm: args.algorithm,
        random_baseline,
        sandwich: args.sandwich.unwrap_or(1),
        evaluations: args.evaluations.unwrap_or(if ptq { 48 } else { 200 }),
        population: args.population.unwrap_or(if ptq { 12 } else { 20 }),
        // Resuming may start in another folder.
        target: args.target.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())),
        strict: args.strict,
        objective: args.objective,
        constraints: args.constraint.clone(),
        band: args.band,
        friendliness: args.friendliness.map(|weight| Friendliness { weight, form: args.friendly_form }),
        targets: args.targets.clone().unwrap_or_else(|| vec![0.35, 0.5, 0.75]),
        train_uniform: !args.no_uniform,
        one_shot: OneShotConfig {
            entropy: args.entropy.unwrap_or(usual.entropy),
            beta: args.beta.unwrap_or(usual.beta),
            ..usual
        },
        time_budget_s: args.time_budget,
        calibration: args.calibration.unwrap_or(if ptq { 1024 } else { 256 }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(seconds("90s"), Ok(90.0));
        assert_eq!(seconds("1.5m"), Ok(90.0));
        assert_eq!(seconds("2h"), Ok(7200.0));
        for wrong in ["90", "m", "-1s", "nans", "0s", "1d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
