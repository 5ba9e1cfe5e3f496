//! `bitfront evolve-space`: the search space with the best quantized networks within a device's latency budgets.

mod args;
mod describe;
mod files;
mod own_table;
mod show;

use std::path::{Path, PathBuf};
use std::time::Instant;

pub use args::EvolveSpaceArgs;
pub(super) use show::Found;

use super::Common;
use crate::cost::latency::BlockTable;
use crate::engine::Session;
use crate::error::{Error, Result};
use crate::genome::Genome;
use crate::progress::Progress;
use crate::search::{FoundSpaces, QtScore, QtScorer, QtSettings, SpaceSearch, StopReason, evolve_spaces};
use crate::seed::Seed;
use crate::space::{Hyperspace, SpaceCode};

/// Seconds above which the cost is said first.
const LONG_S: f64 = 2.0;

/// Evolves spaces and prints the best, or answers what else was asked.
///
/// # Errors
/// A wrong option, an unknown hyperspace, a missing or damaged table, or budgets that no network meets.
pub fn run(args: &EvolveSpaceArgs, common: &Common) -> Result<()> {
    let space = hyperspace(args)?;
    if args.count {
        return describe::count(&space, common);
    }
    if let Some(network) = &args.network {
        return describe::network(&space, network, common);
    }
    if args.verify {
        common.session(common.thread_count()?, None)?;
        return describe::verify(folder(args, &space)?, &space, common);
    }
    let found = answered(args, common)?;
    show::spaces(&found, common)
}

/// Evolves spaces, or scores those asked for; writes what goes into `--out`.
///
/// # Errors
/// As [`run`].
pub(super) fn answered(args: &EvolveSpaceArgs, common: &Common) -> Result<Found> {
    let space = hyperspace(args)?;
    let session = common.session(common.thread_count()?, None)?;
    if args.own.target.is_none() {
        folder(args, &space)?;
    }
    args.settings().check()?;
    args.search(common.json).check()?;
    let codes = args.score.iter().map(|code| space.parse_code(code)).collect::<Result<Vec<_>>>()?;
    let (folder, space, teacher) = match &args.own.target {
        Some(target) => own_table::own_table(&args.own, target, (&space, &args.budget_ms), (common, &session))
            .map(|(folder, space, teacher)| (folder, space, Some(teacher)))?,
        None => (folder(args, &space)?.to_owned(), space, None),
    };
    let seed = Seed::new(common.root());
    let scorer = scorer(args, &folder, &space, seed)?;
    let (mut spaces, evaluations) = if codes.is_empty() {
        let found = evolve(args.search(common.json), &space, &scorer, &session, seed)?;
        (found.best, Some(found.evaluations))
    } else {
        let score = |code: &SpaceCode| {
            let genome = Genome::from(code);
            let score = scorer.mean_score(&genome, args.scorings);
            (genome, score)
        };
        (codes.iter().map(score).collect(), None)
    };
    if evaluations.is_some() {
        spaces.truncate(args.shown(common.json));
    }
    let spaces = spaces.into_iter().map(|(genome, score)| (SpaceCode::from(&genome), score)).collect();
    let seconds = session.started.elapsed().as_secs_f64();
    let place = out(args, &space, common);
    let found = Found { space, settings: scorer.settings().clone(), spaces, evaluations, seconds, teacher };
    if let Some(path) = place.map(|place| files::write(&found, &place)).transpose()?.flatten() {
        session.say(&format!("search space: {}", path.display()));
    }
    Ok(found)
}

/// Where files go, if anywhere.
fn out(args: &EvolveSpaceArgs, space: &Hyperspace, common: &Common) -> Option<PathBuf> {
    common.out.clone().or_else(|| args.own.target.is_some().then(|| own_table::usual_place(space)))
}

/// The hyperspace of `--space`, or of the table's folder: its `space.ron`, or the one that it is called after.
fn hyperspace(args: &EvolveSpaceArgs) -> Result<Hyperspace> {
    let own = args.lut.as_ref().map(|folder| folder.join("space.ron")).filter(|file| file.is_file());
    if let (None, Some(file)) = (&args.space, own) {
        return Hyperspace::load(&file);
    }
    match (&args.space, &args.lut) {
        (Some(space), _) => Hyperspace::named(space),
        (None, Some(folder)) => {
            let whole = std::fs::canonicalize(folder).map_err(|source| Error::io(folder, source))?;
            let name = whole.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let inner = folder.join("table");
            let hint = match inner.join("space.ron").is_file() {
                true => format!("its table is {}", inner.display()),
                false => "it has no space.ron and is called after no hyperspace: name its own with --space".to_owned(),
            };
            Hyperspace::shipped(name).map_err(|_| Error::bad_value("--lut", folder.display(), hint))
        }
        (None, None) => {
            let known: Vec<&str> = Hyperspace::names().collect();
            let expected = format!("give --lut DIR, or a hyperspace: {}, or a RON file", known.join(", "));
            Err(Error::missing_option("--space", &expected))
        }
    }
}

/// The table's folder.
fn folder<'a>(args: &'a EvolveSpaceArgs, space: &Hyperspace) -> Result<&'a Path> {
    let expected = || {
        let (name, files, last) = (&space.name, space.cells(), space.last_file());
        format!(
            "give the table of {name}'s blocks: a folder of {files} files, stage1_0_0.csv to {last}, whose rows hold blocks, \
             input, loss, MMACs, MParams and latency in ms of a sub-stage; --target TABLE makes it from your images"
        )
    };
    args.lut.as_deref().ok_or_else(|| Error::missing_option("--lut", &expected()))
}

/// Reads the table and draws all samples.
fn scorer(args: &EvolveSpaceArgs, folder: &Path, space: &Hyperspace, seed: Seed) -> Result<QtScorer> {
    let table = BlockTable::load(folder, space)?;
    let windows = space.stages.iter().map(|stage| stage.windows()).collect();
    QtScorer::new(&table, windows, args.settings(), seed.child("qt-score"))
}

/// Evolves, saying beforehand what it will take.
fn evolve(
    search: SpaceSearch,
    space: &Hyperspace,
    scorer: &QtScorer,
    session: &Session,
    seed: Seed,
) -> Result<FoundSpaces> {
    let samples = scorer.settings().samples;
    let first: Vec<Genome> = space.uniform().iter().map(Genome::from).collect();
    let scorings = search.evaluations as f64 + search.finalists as f64 * search.scorings as f64;
    let seconds = timed(scorer, &first) * scorings;
    if seconds > LONG_S {
        session.say(&format!(
            "cost: {} spaces of {samples} sampled networks each, about {seconds:.0} s",
            search.evaluations
        ));
    }
    let progress = Progress::new("evolve", search.evaluations as u64, session.quiet || seconds < LONG_S);
    let watch: (&(dyn Fn() -> bool + Sync), &dyn Fn()) = (&crate::interrupt::requested, &|| progress.step(1));
    let found = evolve_spaces(scorer, (space.choices()?, first), search, seed, watch)?;
    progress.finish();
    if found.stop == StopReason::Interrupted {
        session.check_interrupt("nothing was written")?;
    }
    if let Some((_, best)) = found.best.first() {
        refuse_unmet(scorer.settings(), best, found.evaluations)?;
    }
    Ok(found)
}

/// Seconds that scoring takes a space: the second time, with everything in place.
fn timed(scorer: &QtScorer, spaces: &[Genome]) -> f64 {
    let mut last = 0.0;
    for space in spaces.iter().take(2) {
        let began = Instant::now();
        scorer.score(space, 0);
        last = began.elapsed().as_secs_f64();
    }
    last
}

/// An error where the best space has no network in a budget.
fn refuse_unmet(settings: &QtSettings, best: &QtScore, count: usize) -> Result<()> {
    let unmet = best.budgets.iter().zip(&settings.budgets_ms).find(|(budget, _)| budget.loss.is_none());
    match unmet {
        Some((_, ms)) => {
            let samples = settings.samples;
            let why =
                format!("--budget-ms {ms}: the best of {count} spaces has no network in it among {samples} samples");
            Err(Error::Infeasible(why))
        }
        None => Ok(()),
    }
}
