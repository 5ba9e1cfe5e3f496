//! `bitfront bench solver`: how long the exact budget solver takes on random problems.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::Common;
use crate::cli::common::{print, result_file, write_result, written_by};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::report::markdown_table;
use crate::search::{Kind, random_problem};
use crate::seed::Seed;
use crate::stats::{median, quantile};

/// The budget solver on random problems.
#[derive(Args, Debug)]
pub struct SolverArgs {
    /// Problems of each kind
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub problems: usize,
    /// Layers of a problem
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub layers: usize,
    /// Formats that each layer chooses from
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub formats: usize,
    /// Limits on sums of costs
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub limits: usize,
    /// Also write the table to this Markdown file
    #[arg(long, value_name = "FILE", value_parser = result_file)]
    pub write: Option<PathBuf>,
}

/// Seconds that one problem may take.
const TARGET_S: f64 = 1.0;

/// Solving times of one kind of problem.
#[derive(Debug, Serialize)]
struct Timed {
    kind: &'static str,
    problems: usize,
    infeasible: usize,
    median_s: f64,
    p90_s: f64,
    worst_s: f64,
    within_target: bool,
}

/// Solves and prints.
///
/// # Errors
/// A size out of range, an interrupt, a file that cannot be written.
pub(super) fn run(args: &SolverArgs, common: &Common) -> Result<()> {
    for (option, value, most) in [
        ("--problems", args.problems, 100_000),
        ("--layers", args.layers, 1000),
        ("--formats", args.formats, 64),
        ("--limits", args.limits, 32),
    ] {
        if !(1..=most).contains(&value) {
            return Err(Error::bad_value(option, value, format!("must be from 1 to {most}")));
        }
    }
    let session = common.session(1, None)?;
    session.say(&format!("cost: solve {} problems, each to its proved optimum", 2 * args.problems));
    let kinds = [("formats of layers", Kind::Formats), ("independent numbers", Kind::Independent)];
    let mut rows = Vec::new();
    for (name, kind) in kinds {
        let progress = Progress::new(name, args.problems as u64, session.quiet);
        let (mut times, mut infeasible) = (Vec::new(), 0);
        for at in 0..args.problems {
            session.check_interrupt("nothing was written")?;
            let mut rng = Seed::new(common.root()).child("solver").child(name).at(at as u64).rng();
            let problem = random_problem(kind, (args.layers, args.formats, args.limits), &mut rng);
            let began = Instant::now();
            let found = problem.solve()?;
            times.push(began.elapsed().as_secs_f64());
            infeasible += usize::from(found.is_none());
            common.detail(&format!("{name} {at}: {:.3} s", times[at]));
            progress.step(1);
        }
        progress.finish();
        let at = |q| quantile(&times, q).unwrap_or_default();
        let (median_s, p90_s, worst_s) = (median(&times).unwrap_or_default(), at(0.9), at(1.0));
        let within_target = worst_s < TARGET_S;
        rows.push(Timed { kind: name, problems: args.problems, infeasible, median_s, p90_s, worst_s, within_target });
    }
    let text = markdown(args, &rows);
    write_result(args.write.as_deref(), &text)?;
    if common.json {
        let size = json!({ "layers": args.layers, "formats": args.formats, "limits": args.limits });
        return print(&json!({ "size": size, "target_s": TARGET_S, "kinds": rows }).to_string());
    }
    print(&text)
}

fn markdown(args: &SolverArgs, rows: &[Timed]) -> String {
    let row = |timed: &Timed| {
        let seconds = |value: f64| format!("{value:.4}");
        let met = if timed.within_target { "yes" } else { "no" };
        let mut row = vec![timed.kind.to_owned(), timed.problems.to_string(), timed.infeasible.to_string()];
        row.extend([timed.median_s, timed.p90_s, timed.worst_s].map(seconds));
        row.push(met.to_owned());
        row
    };
    let header = ["problems", "count", "infeasible", "median s", "p90", "worst", "all under 1 s"];
    format!(
        "# The budget solver\n\n{}.\n\n\
         One of {} formats for each of {} layers, the least total loss within {} limits, which stand at 30 to 60 % of\n\
         the way from the least to the most that each cost can be. Every optimum is proved. Formats of layers: the loss falls\n\
         fourfold a bit and costs grow with the bits, each layer with its own size. Independent numbers: all drawn evenly.\n\n{}",
        written_by(1),
        args.formats,
        args.layers,
        args.limits,
        markdown_table(&header, &rows.iter().map(row).collect::<Vec<_>>())
    )
}
