//! One run of `bitfront search`: every step leaves a file, so the same call continues what was interrupted.

use std::path::Path;

use super::Algorithm;
use super::History;
use super::Mode;
use super::Row;
use super::RowJournal;
use super::RunDirectory;
use super::RunImages;
use super::Scorer;
use super::Session;
use super::Settings;
use super::StartingWeights;
use super::Status;
use super::Summary;
use super::Trained;
use super::device;
use super::finish::TrainedOf;
use super::finish::finish;
use super::one_shot::run_one_shot;
use super::plan::Pace;
use super::plan::spoken;
use super::post_training;
use super::records;
use super::repair::Limits;
use super::repair::Repaired;
use super::supernet;
use super::supernet::Training;
use super::supernet::begin;
use super::supernet::train;
use super::workers::scoring_threads;
use crate::cost::Pricing;
use crate::cost::check_feasible;
use crate::cost::nearest;
use crate::error::{Error, Result};
use crate::genome::Genome;
use crate::models::Weights;
use crate::progress::Progress;
use crate::search;
use crate::search::Evolution;
use crate::search::Goal;
use crate::search::Nsga2;
use crate::search::RandomSearch;
use crate::search::Run;
use crate::search::StopReason;
use crate::search::WallClock;
use crate::seed::Seed;
use crate::space::NetworkFile;
use crate::space::Space;
use crate::train::Ended;
use crate::train::Sandwich;

/// Refuses what cannot run before anything is written: settings, space, data, limits that nothing meets. For those the
/// nearest network is written to `nearest.ron` in the folder that the run would have had.
///
/// # Errors
/// Bad settings or data; nothing feasible.
pub fn check_search(settings: &Settings, place: &Path, session: &Session) -> Result<()> {
    settings.check()?;
    let space = Space::new(settings.space.clone())?;
    if settings.mode == Mode::PostTraining {
        crate::cost::parts(&space)?;
    }
    let pricing = device::pricing(settings, None)?;
    device::check(settings, &space, &pricing)?;
    if let Err(error) = check_feasible(&space, &pricing, &settings.constraints) {
        let genome = nearest(&space, &pricing, &settings.constraints);
        let file = NetworkFile::from_network(&space.spec_of(&genome), &space.network(&genome)).text()?;
        let path = place.join("nearest.ron");
        std::fs::create_dir_all(place).map_err(|source| Error::io(place, source))?;
        crate::atomic::write_atomically(&path, |out| std::io::Write::write_all(out, file.as_bytes()))?;
        session.say(&format!("the network nearest to the limits: {}", path.display()));
        return Err(error);
    }
    if let Some(path) = &settings.weights {
        StartingWeights::check_outside(path, place)?;
        StartingWeights::read(path)?.check(&space.largest_networks())?;
    }
    RunImages::load(&settings.training(), &space.network(&space.widest().0), session.device).map(|_| ())
}

/// Runs or continues a search in its folder and returns what it found.
///
/// # Errors
/// An interrupt (with the state saved), or whatever a step fails with.
pub fn run_search(settings: &Settings, folder: &RunDirectory, session: &Session) -> Result<Summary> {
    settings.check()?;
    let _lock = folder.lock()?;
    let space = Space::new(settings.space.clone())?;
    let images = RunImages::load(&settings.training(), &space.network(&space.widest().0), session.device)?;
    let space = with_classes(space, images.classes(), session)?;
    device::keep(settings, folder)?;
    let pricing = device::pricing(settings, Some(folder))?;
    let mut history = History::open(&folder.history())?;
    for row in &history.rows {
        let wrong = |error: Error| Error::bad_file(folder.history(), format!("candidate {}: {error}", row.id));
        space.check(&row.genome.0).map_err(wrong)?;
    }
    if settings.algorithm == Algorithm::Fliqs {
        return run_one_shot(settings, folder, session, (&space, &pricing), &images, &mut history);
    }
    let (trained, first) = match settings.mode {
        Mode::Supernet => {
            state_cost(settings, session, &space, &images, &history)?;
            (Trained::Shared(shared_weights(settings, folder, session, &space, &images)?), Vec::new())
        }
        Mode::PostTraining => post_training::begin(settings, folder, session, (&space, &pricing), &images)?,
    };
    let limits = Limits::new(&space, &pricing, &settings.constraints);
    let limits = match settings.band {
        Some(share) => limits.with_band(settings.objective, share),
        None => limits,
    };
    let mut work =
        Work { settings, session, space: &space, pricing: &pricing, limits, images: &images, trained: &trained };
    let stop = work.searched(&mut history, first)?;
    work.uniforms(&mut history)?;
    if settings.random_baseline {
        work.baseline(&mut history)?;
    }
    let trained = || {
        let same = trained.shallow_clone();
        Box::new(move |_: &Row| Ok(same.shallow_clone())) as TrainedOf<'_>
    };
    finish(settings, folder, session, (&space, &pricing), &images, &history.rows, &trained, &stop.to_string())
}

/// The space with a head for this many classes, said where it differs from the space's own.
pub(super) fn with_classes(space: Space, classes: usize, session: &Session) -> Result<Space> {
    let own = space.model_spec().class_count();
    if own == classes {
        return Ok(space);
    }
    session.say(&format!(
        "the data has {classes} classes, the space {own}: its last layer is replaced by one of {classes}"
    ));
    space.with_classes(classes)
}

/// Says what is searched, and how.
pub(super) fn say_space(settings: &Settings, space: &Space, session: &Session) {
    let mode = if settings.mode == Mode::PostTraining { "ptq with " } else { "" };
    session.say(&format!(
        "{}: {} decisions, 10^{:.1} networks; {mode}{} on {} threads",
        settings.space.model,
        space.decisions().len(),
        space.log10_count(),
        settings.algorithm,
        settings.threads
    ));
}

/// Says what the run will take, from a short measurement.
fn state_cost(
    settings: &Settings,
    session: &Session,
    space: &Space,
    images: &RunImages,
    history: &History,
) -> Result<()> {
    let threads = scoring_threads(settings.threads, session.device);
    let pace = Pace::measure(&space.network(&space.widest().0), &settings.training(), images, threads)?;
    let steps = images.training.steps() * settings.train.epochs;
    let passes = steps * (settings.sandwich + 1);
    let scores = settings.evaluations * if settings.random_baseline { 2 } else { 1 };
    let tested = images.test(&space.network(&space.widest().0))?.order(0).len();
    let tests = pace.time(0, 1).mul_f64(20.0 * tested as f64 / pace.scored_images as f64 * 0.5);
    let total = pace.time(passes, scores) + tests;
    say_space(settings, space, session);
    session.say(&format!(
        "cost: train {} epochs of {} steps x {} networks, about {}; score {scores} candidates on {} images, about {}; \
         test the front, about {}; together about {}",
        settings.train.epochs,
        images.training.steps(),
        settings.sandwich + 1,
        spoken(pace.time(passes, 0)),
        pace.scored_images,
        spoken(pace.time(0, scores)),
        spoken(tests),
        spoken(total)
    ));
    if !history.rows.is_empty() {
        session.say(&format!("continuing: {} candidates are scored already", history.rows.len()));
    }
    Ok(())
}

/// The trained supernet: read if it is finished, else trained on from its last snapshot.
fn shared_weights(
    settings: &Settings,
    folder: &RunDirectory,
    session: &Session,
    space: &Space,
    images: &RunImages,
) -> Result<Weights> {
    let networks = space.largest_networks();
    if folder.supernet().exists() {
        let file = crate::checkpoint::read(folder.supernet())?;
        return supernet::read(&networks, &file.arrays, session.device);
    }
    let seed = Seed::new(settings.seed);
    let snapshot = folder.state().join("train.safetensors");
    let training = Training {
        label: "train",
        snapshot: &snapshot,
        seed: seed.child("weights"),
        from: settings.weights.as_deref(),
    };
    let (mut trainer, _) = begin(training, &networks, &settings.training(), images.training.steps(), session)?;
    trainer.clip_bits = clip_bits(space);
    let mut regime = Sandwich::new(space, settings.sandwich, seed.child("sandwich"));
    if train(training, &mut trainer, &mut regime, images, session)? == Ended::Stopped {
        session.say(&format!(
            "time is up after {} of {} training steps; going on with these weights",
            trainer.step, trainer.total
        ));
    }
    crate::checkpoint::write_safetensors(
        folder.supernet(),
        &trainer.weights.to_arrays(),
        &[("format".to_owned(), "pt".to_owned()), ("model".to_owned(), networks[0].model.clone())].into(),
    )?;
    Ok(trainer.weights)
}

/// Bits of the integer whose clip learned clips start from: 8 where nothing is narrower, else 4, the middle of the formats.
fn clip_bits(space: &Space) -> u8 {
    let narrowest = space.network(&space.narrowest().0);
    let bits = narrowest.layers.iter().filter_map(|layer| layer.weight).map(|spec| spec.format.bits()).min();
    if bits.is_some_and(|bits| bits >= 8) { 8 } else { 4 }
}

/// What the phases of a search share.
pub(super) struct Work<'a> {
    pub(super) settings: &'a Settings,
    pub(super) session: &'a Session,
    pub(super) space: &'a Space,
    pub(super) pricing: &'a Pricing,
    pub(super) limits: Limits<'a>,
    pub(super) images: &'a RunImages,
    pub(super) trained: &'a Trained,
}

impl Work<'_> {
    fn evaluator<'b>(&'b self, progress: &'b Progress) -> Scorer<'b> {
        Scorer {
            space: self.space,
            trained: self.trained,
            images: &self.images.judging,
            threads: scoring_threads(self.settings.threads, self.session.device),
            pricing: self.pricing,
            objective: self.settings.objective,
            constraints: &self.settings.constraints,
            friendliness: self.settings.friendliness,
            progress,
        }
    }

    /// The feasible uniform genomes.
    pub(super) fn uniform_genomes(&self) -> Vec<Genome> {
        let formats = self.space.formats();
        formats.into_iter().filter_map(|format| self.space.uniform(format)).map(Genome).collect()
    }

    /// Where operators are open, the uniform genomes of the smallest: the other end of the front.
    fn smallest_uniform_genomes(&self) -> Vec<Genome> {
        let formats = if self.space.is_elastic() { self.space.formats() } else { Vec::new() };
        formats.into_iter().filter_map(|format| self.space.uniform_smallest(format)).map(Genome).collect()
    }

    /// The run's own search; `planned` are the candidates that it begins with, beside the uniform ones.
    fn searched(&mut self, history: &mut History, planned: Vec<Genome>) -> Result<StopReason> {
        let choices = self.space.genome_choices()?;
        let mut algorithm: Box<dyn search::Algorithm> = match self.settings.algorithm {
            Algorithm::Random => Box::new(RandomSearch::new(choices)),
            Algorithm::Evolution => {
                let population = self.settings.population;
                Box::new(Evolution::new(choices, Goal::default(), population, population.div_ceil(4))?)
            }
            Algorithm::Nsga2 | Algorithm::Fliqs => {
                let first = self.uniform_genomes().into_iter().chain(self.smallest_uniform_genomes());
                let first = planned.into_iter().chain(first).chain(self.limits.fastest());
                let mut first: Vec<Genome> = first.filter(|genome| self.limits.fits(genome)).collect();
                first.dedup();
                Box::new(Nsga2::new(choices, self.settings.population)?.starting_with(first)?)
            }
        };
        self.phase(algorithm.as_mut(), history, Status::Searched, "search", self.settings.evaluations)
    }

    /// Random candidates for comparison, as many as the search evaluated.
    fn baseline(&mut self, history: &mut History) -> Result<()> {
        let count = history.rows.iter().filter(|row| row.status == Status::Searched).count();
        let mut random = RandomSearch::new(self.space.genome_choices()?);
        self.phase(&mut random, history, Status::Baseline, "random baseline", count).map(|_| ())
    }

    /// One algorithm from its first candidate, or from where the history ends, until its evaluations are spent.
    pub(super) fn phase(
        &self,
        algorithm: &mut dyn search::Algorithm,
        history: &mut History,
        status: Status,
        label: &str,
        evaluations: usize,
    ) -> Result<StopReason> {
        let settings = self.settings;
        let recorded = records(history, status, (self.space, self.pricing), settings.objective, &settings.constraints);
        let offset = history.rows.iter().find(|row| row.status == status).map_or(history.rows.len(), |row| row.id);
        let progress = Progress::new(label, (evaluations.saturating_sub(recorded.len())) as u64, self.session.quiet);
        let mut evaluator = self.evaluator(&progress);
        let mut journal = RowJournal {
            history,
            space: self.space,
            pricing: self.pricing,
            status,
            offset,
            started: self.session.started,
            seed: settings.seed,
        };
        let mut inside = Repaired { inner: algorithm, limits: &self.limits };
        let clock = WallClock(self.session.started);
        let run = Run {
            seed: Seed::new(settings.seed).child(label),
            evaluations,
            deadline: settings.time_budget_s.map(std::time::Duration::from_secs_f64),
            clock: &clock,
            interrupted: &crate::interrupt::requested,
            recorded,
        };
        let finished = search::run(&mut inside, &mut evaluator, &mut journal, run)?;
        progress.finish();
        match finished.stop {
            StopReason::Interrupted => Err(Error::Interrupted(format!(
                ": {} candidates are saved; `bitfront resume` continues",
                finished.records.len()
            ))),
            stop => Ok(stop),
        }
    }

    /// Uniform formats that the search has not scored, limits or not: they are what the front is compared with.
    fn uniforms(&mut self, history: &mut History) -> Result<()> {
        let known = |rows: &[Row], genome: &Genome| {
            rows.iter().any(|row| row.status != Status::Baseline && row.genome == *genome)
        };
        let missing: Vec<Genome> =
            self.uniform_genomes().into_iter().filter(|genome| !known(&history.rows, genome)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let progress = Progress::new("uniform formats", missing.len() as u64, self.session.quiet);
        let (space, pricing) = (self.space, self.pricing);
        let (started, seed) = (self.session.started, self.settings.seed);
        let mut genomes = missing.iter();
        search::Evaluator::evaluate(
            &mut self.evaluator(&progress),
            &missing,
            &|| !crate::interrupt::requested(),
            &mut |outcome| {
                let Some(genome) = genomes.next().cloned() else { return Ok(()) };
                let record = search::Record { id: 0, generation: 0, parent: None, genome, outcome };
                let offset = history.rows.len();
                let status = Status::Uniform;
                let mut journal = RowJournal { history, space, pricing, status, offset, started, seed };
                search::Journal::append(&mut journal, &record)
            },
        )?;
        progress.finish();
        self.session.check_interrupt("`bitfront resume` continues")
    }
}
