//! `bitfront bench fliqs`: does the one-shot search meet its targets, and does searching in place cost accuracy?

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::demo::demo_settings;
use super::demo::run_or_read;
use crate::cli::Common;
use crate::cli::common::print;
use crate::cli::common::result_file;
use crate::cli::common::write_result;
use crate::cli::common::written_by;
use crate::engine::RunDirectory;
use crate::engine::Settings;
use crate::engine::Summary;
use crate::engine::TargetRow;
use crate::engine::read_targets;
use crate::engine::train_single;
use crate::error::{Error, Result};
use crate::report::markdown_table;
use crate::space::Space;
use crate::stats::mean;
use crate::stats::standard_error;
use crate::stats::verdict;

/// Options of `bench fliqs`.
#[derive(Args, Debug)]
pub struct FliqsArgs {
    /// Number of seeds, counted from --seed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Target costs as shares of the int8 cost
    #[arg(long, default_value = "0.35,0.5,0.75")]
    pub targets: String,
    /// Passes over the training images, of the search and of the training from scratch
    #[arg(long, value_name = "N", default_value = "6")]
    pub epochs: String,
    /// Also write the table to this Markdown file
    #[arg(long, value_name = "FILE", value_parser = result_file)]
    pub write: Option<PathBuf>,
}

/// One target of one seed.
#[derive(Clone, Debug, Serialize)]
struct Line {
    seed: u64,
    target: f64,
    achieved_over_target: f64,
    least_certain: f64,
    moved: usize,
    in_place_top1: f64,
    scratch_top1: f64,
}

/// Runs all searches and trainings and prints the table.
///
/// # Errors
/// Whatever a run fails with.
pub(super) fn run(args: &FliqsArgs, common: &Common) -> Result<()> {
    let mut lines = Vec::new();
    for seed in common.root()..common.root() + args.seeds.max(1) {
        let line = ["--algorithm", "fliqs", "--no-uniform", "--targets", &args.targets, "--epochs", &args.epochs];
        let settings = demo_settings(&line, common, seed)?;
        let (summary, folder) = run_or_read(&settings, "bench-fliqs", common)?;
        for target in read_targets(&folder)? {
            lines.push(compared(&settings, &summary, &folder, &target, common)?);
        }
    }
    let text = markdown(&lines, common.thread_count()?);
    write_result(args.write.as_deref(), &text)?;
    if common.json {
        return print(&serde_json::json!({ "targets": lines }).to_string());
    }
    print(&text)
}

/// The target's network in place, and the same formats trained from the same initial weights, both on the test images.
fn compared(
    settings: &Settings,
    summary: &Summary,
    folder: &RunDirectory,
    target: &TargetRow,
    common: &Common,
) -> Result<Line> {
    let row = summary.rows.iter().find(|row| row.id == target.id);
    let row = row.ok_or_else(|| Error::Failed(format!("the history has no candidate {}", target.id)))?;
    let network = Space::new(settings.space.clone())?.network(&row.genome.0);
    let done = |path: &PathBuf| std::fs::read_to_string(path).ok()?.trim().parse::<f64>().ok();
    let session = common.session(settings.threads, None)?;
    let at = folder.state().join(format!("scratch-{}", target.id));
    let result = at.join("test_top1");
    let scratch_top1 = match done(&result) {
        Some(top1) => top1,
        None => {
            let run = RunDirectory::create(Some(&at), "scratch", true)?;
            let top1 = train_single(&settings.training(), &network, None, &run, &session)?.top1;
            run.write(&result, &top1.to_string())?;
            top1
        }
    };
    let in_place = folder.state().join(format!("job-{}.safetensors", target.id));
    let in_place_top1 = crate::engine::tested_top1(&settings.training(), &network, &in_place, &session)?;
    let TargetRow { target_share: target, achieved_over_target, least_certain, moved, .. } = *target;
    Ok(Line { seed: settings.seed, target, achieved_over_target, least_certain, moved, in_place_top1, scratch_top1 })
}

fn markdown(lines: &[Line], threads: usize) -> String {
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            vec![
                line.seed.to_string(),
                line.target.to_string(),
                format!("{:.3}", line.achieved_over_target),
                format!("{:.4}", line.least_certain),
                line.moved.to_string(),
                format!("{:.2}", line.in_place_top1),
                format!("{:.2}", line.scratch_top1),
            ]
        })
        .collect();
    let header = [
        "seed",
        "target",
        "achieved / target",
        "least certain decision",
        "moved onto target",
        "test top-1 in place",
        "from scratch",
    ];
    let differences: Vec<f64> = lines.iter().map(|line| line.in_place_top1 - line.scratch_top1).collect();
    let gap = mean(&differences).unwrap_or_default();
    let error = standard_error(&differences).unwrap_or_default();
    format!(
        "# FLIQS on the demo space\n\n{}.\n\n\
         Targets are shares of the uniform int8 cost. In place: the weights that the search left, no retraining. From\n\
         scratch: the same formats, initial weights, images and epochs.\n\n{}\n\
         In place minus from scratch: {gap:+.2} points, standard error {error:.2} ({} pairs; in place better: {}).\n",
        written_by(threads),
        markdown_table(&header, &rows),
        differences.len(),
        verdict(&differences)
    )
}
