//! `bitfront report`: how a finished search is shown, and why a network's layers stand in their formats.

mod network;
mod text;

use std::path::PathBuf;

use clap::Args;

use super::Common;
use super::common::print;
use crate::data::DataSource;
use crate::engine::RunDirectory;
use crate::engine::Status;
use crate::engine::Summary;
use crate::engine::Tested;
use crate::engine::summary;
use crate::error::{Error, Result};
use crate::report;

/// Print a finished run's table and draw its picture again, or say why a network's layers stand in their formats.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  bitfront report runs/resnet8_fashion-1
  bitfront report --network net.ron --weights resnet20.safetensors --data cifar10:DIR   # as `refine --out net.ron` wrote it")]
pub struct ReportArgs {
    /// The run's folder
    #[arg(value_name = "RUN", required_unless_present = "network", conflicts_with = "network")]
    pub run: Option<PathBuf>,
    /// A network instead: RON as `refine` and `export` write it, with its packed weights beside it
    #[arg(long, value_name = "FILE")]
    pub network: Option<PathBuf>,
    /// Its weights in float, to measure what its own formats lose; without them its packed weights are taken as exact
    #[arg(long, value_name = "FILE", requires = "network")]
    pub weights: Option<PathBuf>,
    /// Images: fashion-mnist-mini, idx:DIR, cifar10:DIR or imagefolder:DIR
    #[arg(long, default_value = "fashion-mnist-mini", requires = "network")]
    pub data: DataSource,
    /// Training images to measure activations on; their labels are not read
    #[arg(long, value_name = "N", default_value_t = 256, requires = "network")]
    pub calibration: usize,
    /// Memory in KiB of the microcontroller that the network might be fine-tuned on
    #[arg(long, value_name = "KIB", default_value_t = 512, requires = "network")]
    pub memory: u64,
}

/// Prints the table of a finished run and writes its picture, or prints why a network's layers stand in their formats.
///
/// # Errors
/// The run has no front yet, or a file is damaged or does not fit.
pub fn run(args: &ReportArgs, common: &Common) -> Result<()> {
    if let Some(path) = &args.network {
        return network::run(path, args, common);
    }
    let run =
        args.run.as_ref().ok_or_else(|| Error::missing_option("RUN", "name a run's folder, or --network FILE"))?;
    let folder = RunDirectory::open(run)?;
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
