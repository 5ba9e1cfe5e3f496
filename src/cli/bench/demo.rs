//! `bitfront bench demo`: is the demo's front better than uniform formats and than random search?

use std::path::PathBuf;

use clap::{Args, Parser};
use serde_json::json;

use crate::cli::Cli;
use crate::cli::Common;
use crate::cli::Verb;
use crate::cli::common::print;
use crate::cli::common::reason;
use crate::cli::common::result_file;
use crate::cli::common::write_result;
use crate::cli::common::written_by;
use crate::cli::search::settings;
use crate::engine::RunDirectory;
use crate::engine::Settings;
use crate::engine::Status;
use crate::engine::Summary;
use crate::engine::Tested;
use crate::engine::run_search;
use crate::error::{Error, Result};
use crate::report::Comparison;
use crate::report::Difference;
use crate::report::SeedFronts;
use crate::report::compare;
use crate::report::markdown_table;
use crate::seed::Seed;

/// Options of `bench demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Number of seeds, counted from --seed
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Also write the tables to this Markdown file
    #[arg(long, value_name = "FILE", value_parser = result_file)]
    pub write: Option<PathBuf>,
}

/// Settings of the demo search, as `bitfront search` without options has them.
pub(super) fn demo_settings(line: &[&str], common: &Common, seed: u64) -> Result<Settings> {
    let cli = Cli::try_parse_from(["bitfront", "search"].iter().chain(line))
        .map_err(|error| Error::Failed(reason(&error)))?;
    let Verb::Search(args) = cli.verb else {
        return Err(Error::Failed("the demo is a search".into()));
    };
    settings(&args, &Common { seed: Some(seed), ..common.clone() })
}

/// Runs or continues a search in `runs/<name>-seed<N>`; a finished run is only read.
pub(super) fn run_or_read(settings: &Settings, name: &str, common: &Common) -> Result<(Summary, RunDirectory)> {
    let folder = folder_of(settings, name)?;
    if folder.pareto().exists() {
        return Ok((crate::engine::summary(&folder)?, folder));
    }
    let session = common.session(settings.threads, None)?;
    session.say(&format!("run: {}", folder.folder().display()));
    Ok((run_search(settings, &folder, &session)?, folder))
}

/// The folder `runs/<name>-seed<N>`: as it is where it holds a run of these settings, else cleared for one.
pub(super) fn folder_of(settings: &Settings, name: &str) -> Result<RunDirectory> {
    let path = PathBuf::from("runs").join(format!("{name}-seed{}", settings.seed));
    match RunDirectory::open(&path) {
        Ok(folder) if same(&Settings::load(&folder.config())?, settings) => Ok(folder),
        _ => {
            let folder = RunDirectory::create(Some(&path), name, true)?;
            folder.write(&folder.config(), &settings.to_ron()?)?;
            Ok(folder)
        }
    }
}

/// Whether two settings give the same run; the command line that started them does not matter.
fn same(a: &Settings, b: &Settings) -> bool {
    Settings { command: Vec::new(), ..a.clone() } == Settings { command: Vec::new(), ..b.clone() }
}

/// Searches with every seed and prints the comparison.
///
/// # Errors
/// Whatever a run fails with.
pub(super) fn run(args: &DemoArgs, common: &Common) -> Result<()> {
    let mut summaries = Vec::new();
    for seed in common.root()..common.root() + args.seeds.max(1) {
        let settings = demo_settings(&["--baseline", "random"], common, seed)?;
        summaries.push(run_or_read(&settings, "bench-demo", common)?.0);
    }
    let mut rng = Seed::new(common.root()).child("bootstrap").rng();
    let validation = compare(&summaries.iter().map(|run| fronts(run, false)).collect::<Vec<_>>(), &mut rng)?;
    let test = compare(&summaries.iter().map(|run| fronts(run, true)).collect::<Vec<_>>(), &mut rng)?;
    let text = markdown(&summaries, &validation, &test, args);
    write_result(args.write.as_deref(), &text)?;
    if !common.json {
        return print(&text);
    }
    let difference = |d: &Difference| json!({ "mean": d.mean, "standard_error": d.standard_error, "interval": d.interval, "verdict": d.verdict.to_string() });
    let both = |c: &Comparison| json!({ "over_uniform": difference(&c.over_uniform), "over_random": difference(&c.over_random) });
    print(&json!({ "seeds": args.seeds, "validation": both(&validation), "test": both(&test) }).to_string())
}

/// The networks of a run by validation accuracy (all that were scored), or its chosen fronts by test accuracy.
fn fronts(run: &Summary, test: bool) -> SeedFronts {
    let tested = |all: &[Tested]| all.iter().map(|t| (run.cost(&t.row), t.test_top1)).collect();
    let uniform: Vec<Tested> = run.uniform.iter().map(|(_, tested)| tested.clone()).collect();
    if test {
        return SeedFronts { searched: tested(&run.front), uniform: tested(&uniform), random: tested(&run.baseline) };
    }
    let scored = |status: Status| {
        run.rows.iter().filter(move |row| row.status == status).map(|row| (run.cost(row), row.top1)).collect()
    };
    SeedFronts {
        searched: scored(Status::Searched),
        uniform: uniform.iter().map(|t| (run.cost(&t.row), t.row.top1)).collect(),
        random: scored(Status::Baseline),
    }
}

fn markdown(summaries: &[Summary], validation: &Comparison, test: &Comparison, args: &DemoArgs) -> String {
    let settings = &summaries[0].settings;
    let seeds = settings.seed..settings.seed + args.seeds.max(1);
    let rows: Vec<Vec<String>> = seeds
        .zip(summaries)
        .enumerate()
        .map(|(at, (seed, run))| {
            let (v, t) = (&validation.hypervolumes[at], &test.hypervolumes[at]);
            let best = run.front.iter().map(|t| t.test_top1).fold(0.0, f64::max);
            let mut row = vec![seed.to_string(), run.front.len().to_string(), format!("{best:.2}")];
            row.extend([v.searched, v.uniform, v.random, t.searched, t.uniform, t.random].map(|hv| format!("{hv:.2}")));
            row
        })
        .collect();
    let header = [
        "seed",
        "front",
        "best test top-1",
        "val search",
        "val uniform",
        "val random",
        "test search",
        "test uniform",
        "test random",
    ];
    let verdicts = [("validation", validation), ("test", test)];
    let differences: Vec<Vec<String>> = verdicts
        .iter()
        .flat_map(|(split, c)| {
            [("uniform", &c.over_uniform), ("random", &c.over_random)].map(|(name, d)| difference(split, name, d))
        })
        .collect();
    let header2 = ["split", "search minus", "mean", "standard error", "95 % bootstrap", "verdict"];
    format!(
        "# The demo search over {} seeds\n\n{}; {} epochs, {} evaluations each.\n\n\
         Hypervolume in points x doublings of cost: x = log2(gbops / smallest uniform), y = top-1, reference (largest\n\
         uniform cost, 10 %). Validation counts every scored candidate and decides the verdict; test counts the front that\n\
         validation chose. Random search draws as many candidates from the same supernet.\n\n{}\n{}",
        args.seeds,
        written_by(settings.threads),
        settings.train.epochs,
        settings.evaluations,
        markdown_table(&header, &rows),
        markdown_table(&header2, &differences)
    )
}

fn difference(split: &str, name: &str, d: &Difference) -> Vec<String> {
    let error = d.standard_error.map_or("-".into(), |error| format!("{error:.2}"));
    let interval = d.interval.map_or("-".into(), |(low, high)| format!("{low:.2} to {high:.2}"));
    vec![split.into(), name.into(), format!("{:+.2}", d.mean), error, interval, d.verdict.to_string()]
}
