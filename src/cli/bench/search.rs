//! `bitfront bench search`: search algorithms on a table of finished networks, where regret is exact.

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use comfy_table::CellAlignment;
use comfy_table::Table as TextTable;
use comfy_table::presets;

use crate::error::Error;
use crate::error::Result;
use crate::search::BenchResult;
use crate::search::BenchRow;
use crate::search::Measure;
use crate::search::load_table;
use crate::search::regret_bench;

/// Where the table lies beside a checkout of the project.
const DEFAULT_TABLE: &str = "../shared/data/nas-bench-macro_cifar10.json";

/// Distinct networks each algorithm may evaluate.
const BUDGETS: [usize; 3] = [100, 300, 1000];

/// Options of `bench search`.
#[derive(Args, Debug)]
pub struct SearchBenchArgs {
    /// Table of networks (JSON of NAS-Bench-Macro) [default: ../shared/data/nas-bench-macro_cifar10.json]
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,
    /// Number of seeds, at least 2
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub seeds: usize,
}

/// Runs the chosen benchmark and prints a table, or one JSON object.
///
/// # Errors
/// If the table is missing or wrong, the number of seeds is below 2, or stdout is closed.
pub(super) fn run(options: &SearchBenchArgs, json: bool) -> Result<()> {
    let result = regret_bench(&load_table(table_path(options)?)?, options.seeds, &BUDGETS)?;
    let text = if json {
        serde_json::to_string(&result).map_err(|error| Error::Failed(error.to_string()))?
    } else {
        render(&result)
    };
    writeln!(std::io::stdout().lock(), "{text}").map_err(|source| Error::io("stdout", source))
}

fn table_path(options: &SearchBenchArgs) -> Result<PathBuf> {
    match &options.table {
        Some(path) => Ok(path.clone()),
        None if Path::new(DEFAULT_TABLE).exists() => Ok(DEFAULT_TABLE.into()),
        None => Err(Error::bad_value(
            "--table",
            DEFAULT_TABLE,
            "no such file here; name a NAS-Bench-Macro table with --table FILE",
        )),
    }
}

fn render(result: &BenchResult) -> String {
    let mut table = TextTable::new();
    table.load_preset(presets::NOTHING).set_width(80);
    table.set_header(["measure", "budget", "algorithm", "mean +- s.e.", "gain", "verdict"]);
    for row in &result.rows {
        let evaluations = row.evaluations.to_string();
        let gain = row.gain.map_or(String::new(), |gain| format!("{gain:+.3}"));
        let verdict = row.verdict.map_or(String::new(), |verdict| verdict.to_string());
        table.add_row([measure_name(row), &evaluations, row.algorithm, &spread(row), &gain, &verdict]);
    }
    for column in [1, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!(
        "{} networks, {} seeds; best top-1 {:.3} %, true front's hypervolume {:.2}\n\
         gain: over random search, same seeds; budget: distinct networks evaluated\n\n{}",
        result.networks,
        result.seeds,
        result.best_top1,
        result.full_hypervolume,
        table.trim_fmt()
    )
}

fn measure_name(row: &BenchRow) -> &'static str {
    match row.measure {
        Measure::Regret => "regret",
        Measure::Hypervolume => "hypervolume",
    }
}

fn spread(row: &BenchRow) -> String {
    format!("{:.3} +- {:.3}", row.mean, row.standard_error)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::stats::Verdict;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: SearchBenchArgs,
    }

    fn parsed(arguments: &[&str]) -> SearchBenchArgs {
        Line::try_parse_from([&["bench"], arguments].concat()).unwrap().bench
    }

    #[test]
    fn the_example_of_the_help_parses() {
        let options = parsed(&["--table", "nas-bench-macro_cifar10.json"]);
        assert_eq!((options.table, options.seeds), (Some("nas-bench-macro_cifar10.json".into()), 20));
    }

    #[test]
    fn a_missing_table_is_named() {
        let error = run(&parsed(&["--table", "/no/table.json"]), true).unwrap_err();
        assert!(error.to_string().contains("/no/table.json"));
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn the_table_fits_eighty_columns_and_shows_gain_and_verdict() {
        let row = BenchRow {
            measure: Measure::Hypervolume,
            algorithm: "policy-gradient",
            evaluations: 1000,
            mean: 227.8152,
            standard_error: 3.2347,
            gain: Some(36.8268),
            verdict: Some(Verdict::Undecided),
        };
        let result =
            BenchResult { networks: 6561, seeds: 20, best_top1: 93.1267, full_hypervolume: 264.654, rows: vec![row] };
        let text = render(&result);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for part in ["93.127", "227.815 +- 3.235", "+36.827", "undecided"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
