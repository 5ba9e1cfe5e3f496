//! `bitfront report`, and how a finished search is shown.

use std::path::PathBuf;

use clap::Args;

use super::Common;
use super::common::print;
use crate::engine::RunDirectory;
use crate::engine::Status;
use crate::engine::Summary;
use crate::engine::Tested;
use crate::engine::summary;
use crate::error::Result;
use crate::report;

/// Print a finished run's table and draw its picture again.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bitfront report runs/resnet8_fashion-1")]
pub struct ReportArgs {
    /// The run's folder
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
}

/// Prints the table of a finished run and writes its picture.
///
/// # Errors
/// The run has no front yet, or a file is damaged.
pub fn run(args: &ReportArgs, common: &Common) -> Result<()> {
    let folder = RunDirectory::open(&args.run)?;
    show(&summary(&folder)?, &folder, common)
}

/// Prints what a run found and draws its picture.
///
/// # Errors
/// The picture or stdout cannot be written.
pub fn show(summary: &Summary, folder: &RunDirectory, common: &Common) -> Result<()> {
    let front = front(summary);
    folder.write(&folder.picture(), &report::picture(&front)?)?;
    if common.json {
        return print(&report::json(&front).to_string());
    }
    let picture = folder.picture();
    let stop = if summary.stop.is_empty() { String::new() } else { format!("stopped: {}\n", summary.stop) };
    print(&format!("{}\n{stop}picture: {}", report::table(&front), picture.display()))
}

/// A run as the report module takes it.
fn front(summary: &Summary) -> report::Front {
    let entry = |name: String, tested: &Tested| report::Entry {
        name,
        id: tested.row.id,
        top1: tested.row.top1,
        test_top1: tested.test_top1,
        cost: summary.cost(&tested.row),
        latency_ms: tested.row.latency_ms,
        latency_meas_ms: tested.latency_meas_ms,
        size_mb: tested.row.size_mb,
        act_mem_kb: tested.row.act_mem_kb,
        avg_w_bits: tested.row.avg_w_bits,
        avg_a_bits: tested.row.avg_a_bits,
    };
    let points = |baseline: bool| {
        let rows = summary.rows.iter().filter(move |row| (row.status == Status::Baseline) == baseline);
        rows.map(|row| (summary.cost(row), row.top1)).collect()
    };
    report::Front {
        title: format!("{} on {}, {}", summary.settings.space.model, summary.settings.data, summary.settings.algorithm),
        cost: summary.settings.objective.to_string(),
        front: summary.front.iter().map(|tested| entry(format!("#{}", tested.row.id), tested)).collect(),
        uniform: summary.uniform.iter().map(|(name, tested)| entry(name.clone(), tested)).collect(),
        searched: points(false),
        baseline: points(true),
    }
}
