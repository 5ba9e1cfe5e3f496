//! Training the network of a cell: one search with one target, or one training of given formats, in a folder of its own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use super::Plan;
use crate::cli::Common;
use crate::cli::at_once::Job;
use crate::cli::kept::{keep, kept};
use crate::cost::Metric;
use crate::engine::{
    Algorithm, Estimate, Mode, RunDirectory, Session, Settings, read_switching, read_targets, run_search, spoken,
    summary, train_single,
};
use crate::error::{Error, Result};
use crate::genome::Genome;
use crate::reproduce::{Cell, Purpose, Row, SwitchingSeries, find};
use crate::search::EntropyShape;
use crate::space::Space;
use crate::train::{OneShotConfig, TrainConfig};

/// What every cell is trained with.
pub(super) struct Work<'a> {
    /// The command.
    pub(super) plan: &'a Plan,
    /// Its surroundings.
    pub(super) session: &'a Session,
    /// Its shared options.
    pub(super) common: &'a Common,
}

/// What a cell's training gave.
struct Found {
    genome: Genome,
    test_top1: f64,
    top1: f64,
    achieved_over_target: Option<f64>,
    least_certain: Option<f64>,
    switching: SwitchingSeries,
}

impl Work<'_> {
    /// Says what the cells will take, from some steps of the first; the others' time goes by their multiplications.
    ///
    /// # Errors
    /// The data cannot be read or does not fit.
    pub(super) fn state_cost(&self, left: &[Cell]) -> Result<()> {
        let finished = self.plan.cells.len() - left.len();
        let all = format!("cost: {} networks, {finished} of them finished", self.plan.cells.len());
        let Some(first) = left.first() else {
            self.session.say(&all);
            return Ok(());
        };
        let space = Space::new(self.plan.protocol.space(first)?)?;
        let network = space.network(&space.widest().0);
        let estimate = Estimate::measure(&self.settings(first, &space)?.training(), &network, self.session)?;
        let mut time = std::time::Duration::ZERO;
        for cell in left {
            let space = Space::new(self.plan.protocol.space(cell)?)?;
            let gbops = self.plan.protocol.gbops(&space.network(&space.widest().0));
            time += estimate.time(gbops / self.plan.protocol.gbops(&network));
        }
        self.session.say(&format!(
            "{all}; {} trainings of {} steps, {} at a time, {:.1} ms a step of {}, others by their multiplications: about {}",
            left.len(),
            estimate.steps,
            self.plan.jobs,
            1e3 * estimate.step.as_secs_f64(),
            first.name(),
            spoken(time.div_f64(self.plan.jobs as f64))
        ));
        Ok(())
    }

    /// Trains a cell, on from where it was interrupted; `rows` are the finished ones.
    ///
    /// # Errors
    /// Whatever the training fails with; an interrupt.
    pub(super) fn finished(&self, cell: &Cell, rows: &[Row]) -> Result<Row> {
        let (began, plan) = (Instant::now(), self.plan);
        let space = Space::new(plan.protocol.space(cell)?)?;
        let found = match cell.purpose {
            Purpose::Uniform => self.trained(cell, &space, plan.protocol.uniform(cell, &space)?)?,
            Purpose::Scratch => {
                let search = cell.search();
                let missing = || Error::Failed(format!("{} needs the formats of {}", cell.name(), search.name()));
                self.trained(cell, &space, find(rows, &search).ok_or_else(missing)?.genome.clone())?
            }
            Purpose::Search | Purpose::NoEntropy | Purpose::Joint => self.searched(cell, &space)?,
        };
        let network = space.network(&found.genome.0);
        let costs = crate::cost::Costs::of(&network, plan.protocol.convention());
        let conditions = plan.conditions.clone();
        Ok(Row {
            cell: cell.name(),
            numbers: cell.numbers,
            formats: cell.formats,
            width: cell.width,
            purpose: cell.purpose,
            target: cell.target,
            seed: cell.seed,
            protocol: conditions.protocol,
            data: conditions.data,
            weights: conditions.weights,
            epochs: conditions.epochs,
            validation: conditions.validation,
            test_top1: found.test_top1,
            top1: found.top1,
            gbops: costs.gbops,
            size_mb: costs.size_mb,
            avg_w_bits: costs.avg_w_bits,
            avg_a_bits: costs.avg_a_bits,
            achieved_over_target: found.achieved_over_target,
            least_certain: found.least_certain,
            genome: found.genome,
            switching: found.switching,
            threads: self.plan.threads,
            wall_s: (began.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        })
    }

    /// Trains the cell of a name and leaves its row in its folder.
    ///
    /// # Errors
    /// An unknown name; whatever the training fails with.
    pub(super) fn only(&self, name: &str, rows: &[Row]) -> Result<()> {
        let cell = self.plan.cells.iter().find(|cell| cell.name() == name);
        let cell = cell.ok_or_else(|| Error::bad_value("--only", name, "a network that --list shows"))?;
        keep(&self.row_file(cell), &[self.finished(cell, rows)?])
    }

    /// The row that [`Work::only`] left.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub(super) fn row(&self, cell: &Cell) -> Result<Row> {
        let path = self.row_file(cell);
        let row = kept(&path)?.and_then(|mut rows: Vec<Row>| rows.pop());
        row.ok_or_else(|| Error::bad_file(&path, "expected the row of a finished network"))
    }

    /// The command line that trains a cell in a process of its own.
    pub(super) fn job(&self, cell: &Cell) -> Job {
        let (plan, common) = (self.plan, self.common);
        let mut arguments: Vec<OsString> = ["reproduce", plan.protocol.name, "--seeds", "1"].map(OsString::from).into();
        let mut add = |option: &str, value: OsString| arguments.extend([option.into(), value]);
        add("--only", cell.name().into());
        add("--seed", cell.seed.to_string().into());
        add("--epochs", plan.epochs.to_string().into());
        add("--validation", plan.validation.to_string().into());
        add("--data", plan.data.to_string().into());
        add("--threads", plan.threads.to_string().into());
        add("--jobs", "1".into());
        add("--device", common.device.clone().into());
        add("--write-folder", plan.folder.clone().into());
        plan.weights.iter().for_each(|path| add("--weights", path.into()));
        Job { name: cell.name(), arguments }
    }

    /// The network of a genome, trained alone.
    fn trained(&self, cell: &Cell, space: &Space, genome: Genome) -> Result<Found> {
        let settings = self.settings(cell, space)?;
        let config = format!("{:#?}\nspace: {:?}\ngenome: {genome}\n", settings.training(), space.file());
        let folder = self.folder(cell, &config)?;
        let network = space.network(&genome.0);
        let result = train_single(&settings.training(), &network, settings.weights.as_deref(), &folder, self.session)?;
        Ok(Found {
            genome,
            test_top1: result.top1,
            top1: result.validation_top1,
            achieved_over_target: None,
            least_certain: None,
            switching: SwitchingSeries::default(),
        })
    }

    /// The network that FLIQS finds for the cell's target.
    fn searched(&self, cell: &Cell, space: &Space) -> Result<Found> {
        let settings = self.settings(cell, space)?;
        let folder = self.folder(cell, &settings.to_ron()?)?;
        let run =
            if folder.pareto().exists() { summary(&folder)? } else { run_search(&settings, &folder, self.session)? };
        let member = run.front.first().ok_or_else(|| Error::Failed(format!("{}: no network", cell.name())))?;
        let targets = read_targets(&folder)?;
        let target = targets.first().ok_or_else(|| Error::bad_file(folder.targets(), "expected one target"))?;
        let epochs = read_switching(&folder)?;
        let epochs = epochs.iter().map(|epoch| (epoch.mean_entropy, epoch.policy_pairs, epoch.even_pairs));
        Ok(Found {
            genome: member.row.genome.clone(),
            test_top1: member.test_top1,
            top1: member.row.top1,
            achieved_over_target: Some(target.achieved_over_target),
            least_certain: Some(target.least_certain),
            switching: SwitchingSeries(epochs.collect()),
        })
    }

    fn place(&self, cell: &Cell) -> PathBuf {
        self.plan.state(&self.common.device).join(cell.name())
    }

    fn row_file(&self, cell: &Cell) -> PathBuf {
        self.place(cell).join("row.csv")
    }

    /// The folder of a cell: as it is where it holds a run of the same configuration, else cleared for one.
    fn folder(&self, cell: &Cell, config: &str) -> Result<RunDirectory> {
        let path = self.place(cell);
        if std::fs::read_to_string(path.join("run.ron")).is_ok_and(|text| text == config) {
            return RunDirectory::open(&path);
        }
        let folder = RunDirectory::create(Some(&path), "reproduce", true)?;
        folder.write(&folder.config(), config)?;
        Ok(folder)
    }

    /// A search with one target; its training part is that of every cell.
    fn settings(&self, cell: &Cell, space: &Space) -> Result<Settings> {
        let (plan, protocol) = (self.plan, self.plan.protocol);
        let share = if cell.purpose == Purpose::Uniform { None } else { Some(protocol.share(cell, space)?) };
        let usual = TrainConfig::default();
        let model = space.model_spec().model;
        let lr = protocol.lr.unwrap_or_else(|| TrainConfig::usual_rate(model));
        let entropy = if cell.purpose == Purpose::NoEntropy { EntropyShape::None } else { EntropyShape::Cosine };
        Ok(Settings {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: ["bitfront", "reproduce", protocol.name].map(str::to_owned).to_vec(),
            seed: cell.seed,
            threads: self.plan.threads,
            device: self.common.device.clone(),
            space: space.file().clone(),
            data: plan.data.clone(),
            validation: plan.validation,
            mode: Mode::Supernet,
            algorithm: Algorithm::Fliqs,
            random_baseline: false,
            train: TrainConfig { epochs: plan.epochs, batch: protocol.batch, lr, ..usual },
            weights: plan.weights.clone(),
            sandwich: 1,
            evaluations: 1,
            population: 2,
            objective: Metric::Gbops,
            constraints: Vec::new(),
            friendliness: None,
            band: None,
            targets: share.into_iter().collect(),
            train_uniform: false,
            one_shot: OneShotConfig { entropy, switching: !space.is_elastic(), ..OneShotConfig::default() },
            target: None,
            strict: false,
            time_budget_s: None,
            calibration: 256,
        })
    }
}
