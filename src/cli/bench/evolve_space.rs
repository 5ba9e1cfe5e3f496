//! `bitfront bench evolve-space`: how fast search spaces are scored.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::cli::Common;
use crate::cli::common::print;
use crate::cost::latency::BlockTable;
use crate::error::{Error, Result};
use crate::genome::Genome;
use crate::search::{QtScorer, QtSettings, SpaceSearch, evolve_spaces};
use crate::seed::Seed;
use crate::space::{Hyperspace, SpaceCode};
use crate::stats::median;

/// How fast search spaces are scored.
#[derive(Args, Debug)]
pub struct EvolveSpaceBenchArgs {
    /// Folder of the table of blocks
    #[arg(long, value_name = "DIR")]
    pub lut: PathBuf,
    /// The hyperspace
    #[arg(long, value_name = "SPACE")]
    pub space: String,
    /// Latency budgets in ms
    #[arg(long, value_name = "MS", required = true)]
    pub budget_ms: Vec<f32>,
    /// Whole searches, each of a seed of its own
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rounds: u64,
}

/// Seconds of one round.
struct Round {
    load: f64,
    draw: f64,
    evolve: f64,
    best: SpaceCode,
}

impl Round {
    fn total(&self) -> f64 {
        self.load + self.draw + self.evolve
    }
}

/// Searches with the paper's settings and prints the time of each part.
///
/// # Errors
/// A table that is missing or damaged, or no rounds.
pub(super) fn run(args: &EvolveSpaceBenchArgs, common: &Common) -> Result<()> {
    if args.rounds == 0 {
        return Err(Error::bad_value("--rounds", 0, "at least 1"));
    }
    let threads = common.thread_count()?;
    common.session(threads, None)?;
    let rounds = (0..args.rounds).map(|seed| round(args, Seed::new(seed))).collect::<Result<Vec<_>>>()?;
    let middle = |part: fn(&Round) -> f64| median(&rounds.iter().map(part).collect::<Vec<_>>()).unwrap_or_default();
    let search = SpaceSearch::default();
    let scorings = search.evaluations as f64 + search.finalists as f64 * search.scorings as f64;
    let samples = QtSettings::default().samples as f64 * scorings;
    let (total, rate) = (middle(Round::total), samples / middle(|round| round.evolve));
    let parts = [middle(|round| round.load), middle(|round| round.draw), middle(|round| round.evolve)];
    let best: Vec<String> = rounds.iter().map(|round| round.best.to_string()).collect();
    if common.json {
        let [load, draw, evolve] = parts;
        return print(
            &json!({ "threads": threads, "samples_a_second": rate, "total_s": total, "load_s": load, "draw_s": draw,
            "evolve_s": evolve, "best": best })
            .to_string(),
        );
    }
    let [load, draw, evolve] = parts;
    let (space, budgets, evaluations) = (&args.space, args.budget_ms.len(), search.evaluations);
    print(&format!(
        "{space}, {budgets} budgets, {threads} threads: {:.0} million samples a second\n{evaluations} spaces in {total:.2} s: table \
         {load:.2} s, draws {draw:.2} s, evolution {evolve:.2} s (medians of {} rounds)\nbest: {}",
        rate / 1e6,
        args.rounds,
        best.join(", ")
    ))
}

fn round(args: &EvolveSpaceBenchArgs, seed: Seed) -> Result<Round> {
    let began = Instant::now();
    let space = Hyperspace::named(&args.space)?;
    let table = BlockTable::load(&args.lut, &space)?;
    let load = began.elapsed().as_secs_f64();
    let settings = QtSettings { budgets_ms: args.budget_ms.clone(), ..QtSettings::default() };
    let windows = space.stages.iter().map(|stage| stage.windows()).collect();
    let scorer = QtScorer::new(&table, windows, settings, seed.child("qt-score"))?;
    let draw = began.elapsed().as_secs_f64() - load;
    let first = space.uniform().iter().map(Genome::from).collect();
    let watch: (&(dyn Fn() -> bool + Sync), &dyn Fn()) = (&crate::interrupt::requested, &|| ());
    let found = evolve_spaces(&scorer, (space.choices()?, first), SpaceSearch::default(), seed, watch)?;
    let evolve = began.elapsed().as_secs_f64() - load - draw;
    let (best, _) = found.best.first().ok_or_else(|| Error::Interrupted(String::new()))?;
    Ok(Round { load, draw, evolve, best: SpaceCode::from(best) })
}
