//! `bitfront bench friendliness`: does the quantization-friendliness term help a search of few evaluations?

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Common;
use super::demo::{demo_settings, folder_of, run_or_read};
use crate::cli::common::{print, result_file, write_result, written_by};
use crate::engine::{Friendliness, FriendlyForm, RunDirectory, Settings, Status, Summary};
use crate::error::{Error, Result};
use crate::report::{Difference, gain_at_equal_cost, markdown_table};
use crate::seed::Seed;

/// The term on and off over seeds, on the same supernets.
#[derive(Args, Debug)]
pub struct FriendlinessArgs {
    /// Search space [default: the demo]
    #[arg(long, value_name = "FILE")]
    pub space: Option<String>,
    /// Latency table of a device; without one only noise counts
    #[arg(long, value_name = "DIR")]
    pub target: Option<String>,
    /// Number of seeds, counted from --seed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Passes over the training images, of each supernet
    #[arg(long, value_name = "N", default_value = "3")]
    pub epochs: String,
    /// Candidates that each search evaluates
    #[arg(long, value_name = "N", default_value = "32")]
    pub evaluations: String,
    /// Candidates a generation
    #[arg(long, value_name = "N", default_value = "12")]
    pub population: String,
    /// Points that a clean bit, or a doubling of speed, is worth
    #[arg(long, value_name = "POINTS", default_value_t = 1.0)]
    pub weight: f64,
    /// Also write the table to this Markdown file
    #[arg(long, value_name = "FILE", value_parser = result_file)]
    pub write: Option<PathBuf>,
}

impl FriendlinessArgs {
    /// The options of every search.
    fn line(&self) -> Vec<&str> {
        let mut line =
            vec!["--epochs", &self.epochs, "--evaluations", &self.evaluations, "--population", &self.population];
        let given = [("--space", &self.space), ("--target", &self.target)];
        given.iter().filter_map(|(key, value)| Some([*key, value.as_deref()?])).for_each(|pair| line.extend(pair));
        if self.target.is_some() {
            line.extend(["--objective", "latency_ms"]);
        }
        line
    }

    fn forms(&self) -> &[FriendlyForm] {
        let all = &[FriendlyForm::Noise, FriendlyForm::Speedup, FriendlyForm::Both];
        if self.target.is_some() { all } else { &all[..1] }
    }
}

/// Runs or continues all searches and prints the table.
///
/// # Errors
/// Whatever a run fails with.
pub(super) fn run(args: &FriendlinessArgs, common: &Common) -> Result<()> {
    for &form in args.forms() {
        Friendliness { weight: args.weight, form }.check(args.target.is_some())?;
    }
    let mut gains: Vec<Vec<f64>> = vec![Vec::new(); args.forms().len()];
    let mut first: Option<Settings> = None;
    for seed in common.root()..common.root() + args.seeds.max(1) {
        let settings = demo_settings(&args.line(), common, seed)?;
        let (plain, own) = run_or_read(&settings, "bench-friendliness-none", common)?;
        for (form, gains) in args.forms().iter().zip(&mut gains) {
            let friendliness = Some(Friendliness { weight: args.weight, form: *form });
            let name = format!("bench-friendliness-{form}");
            let with = Settings { friendliness, ..settings.clone() };
            share(&own, &folder_of(&with, &name)?)?;
            let found = run_or_read(&with, &name, common)?.0;
            gains.push(gain_at_equal_cost(&points(&found), &points(&plain))?);
        }
        first.get_or_insert(settings);
    }
    let mut rng = Seed::new(common.root()).child("bootstrap").rng();
    let differences =
        gains.into_iter().map(|gains| Difference::of(gains, &mut rng)).collect::<Result<Vec<Difference>>>()?;
    let settings = first.ok_or_else(|| Error::Failed("no seed was run".into()))?;
    let text = markdown(args, &settings, &differences);
    write_result(args.write.as_deref(), &text)?;
    if !common.json {
        return print(&text);
    }
    let row = |(form, d): (&FriendlyForm, &Difference)| json!({ "form": form.to_string(), "mean": d.mean, "standard_error": d.standard_error, "verdict": d.verdict.to_string() });
    let rows: Vec<_> = args.forms().iter().zip(&differences).map(row).collect();
    print(
        &json!({ "seeds": args.seeds, "evaluations": args.evaluations, "weight": args.weight, "gains": rows })
            .to_string(),
    )
}

/// Gives a run the supernet of another with the same training, which it would train to the same bits.
fn share(from: &RunDirectory, to: &RunDirectory) -> Result<()> {
    if to.supernet().exists() {
        return Ok(());
    }
    std::fs::copy(from.supernet(), to.supernet()).map_err(|source| Error::io(to.supernet(), source))?;
    Ok(())
}

/// Cost and validation top-1, without the term, of all that the search scored.
fn points(run: &Summary) -> Vec<(f64, f64)> {
    let scored = run.rows.iter().filter(|row| row.status == Status::Searched && row.feasible);
    scored.map(|row| (run.cost(row), row.top1)).collect()
}

fn markdown(args: &FriendlinessArgs, settings: &Settings, differences: &[Difference]) -> String {
    let row = |(form, d): (&FriendlyForm, &Difference)| {
        let error = d.standard_error.map_or("-".into(), |error| format!("{error:.2}"));
        vec![form.to_string(), format!("{:+.2}", d.mean), error, d.verdict.to_string()]
    };
    let rows: Vec<Vec<String>> = args.forms().iter().zip(differences).map(row).collect();
    format!(
        "# Quantization-friendliness as a term of the search\n\n{}. Each seed has one supernet, on which NSGA-II evaluates {} candidates without the term and with it;\npoints at equal cost: by how much the best network within a cost is better with it on the validation images, averaged\nover the logarithm of the cost.\n\n{}",
        written_by(settings.threads),
        args.evaluations,
        markdown_table(&["term", "points at equal cost", "standard error", "verdict"], &rows)
    )
}
