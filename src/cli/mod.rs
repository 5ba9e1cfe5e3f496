//! The command line: one file a verb; arguments in, results on stdout.

mod at_once;
pub mod bench;
pub mod calibration;
pub mod common;
pub mod cost;
pub mod doctor;
pub mod eval;
pub mod evolve_space;
pub mod export;
pub mod formats;
mod kept;
pub mod latency;
pub mod law;
pub mod network_choice;
mod point;
pub mod profile;
pub mod ready;
pub mod refine;
mod refinement;
pub mod report;
pub mod reproduce;
pub mod search;
pub mod sensitivity;
pub mod train;

use clap::{Parser, Subcommand};

pub use common::Common;

use crate::error::{Error, Result};

/// Finds the best quantized network for a device.
///
/// One weight-sharing supernet is trained on your images with every layer in sampled number formats (int2-int8,
/// fp4-fp8). It is searched once, under hard cost limits. The result is a Pareto front: networks of which none is both
/// cheaper and more accurate than another.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "From data to a front:
  bitfront search                            the demo: real images, a front in minutes
  bitfront search --data cifar10:DIR --space search_spaces/resnet20_cifar10.ron \\
      --constraint 'gbops<=1.0'              your images, your limit
  bitfront report runs/resnet8_fashion-1             the table and the picture again
  bitfront train --config runs/resnet8_fashion-1/front/ID.ron    one network of the front, from scratch
`bitfront <command> --help` shows every option with an example."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Options that every command takes.
    #[command(flatten)]
    pub common: Common,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Search a space of networks for its Pareto front
    Search(Box<search::SearchArgs>),
    /// Continue an interrupted run
    Resume(search::ResumeArgs),
    /// Train one network
    Train(train::TrainArgs),
    /// Measure a network's accuracy on test images
    Eval(eval::EvalArgs),
    /// Measure how much each layer of a trained network suffers in each format
    Sensitivity(sensitivity::SensitivityArgs),
    /// Quantize a trained network and recover its accuracy, without a training run
    Refine(refine::RefineArgs),
    /// Evolve the search space itself: block types and widths for a device's latency budgets
    EvolveSpace(evolve_space::EvolveSpaceArgs),
    /// Write a network as a file (ONNX, RON, JSON, safetensors) and prove that it runs
    Export(export::ExportArgs),
    /// Count a network's multiplications, bit operations, size and memory
    Cost(cost::CostArgs),
    /// Measure this device's kernels: a latency table
    Profile(profile::ProfileArgs),
    /// Test a latency table, show what it says, make one from times measured elsewhere
    Latency(latency::LatencyArgs),
    /// Print a finished run's table and draw its picture again
    Report(report::ReportArgs),
    /// Put published claims to the test, with the published figures beside
    Reproduce(reproduce::ReproduceArgs),
    /// List number formats, show their values, round numbers
    Formats(formats::FormatsArgs),
    /// Measure bitfront itself
    Bench(bench::BenchArgs),
    /// Check the installation and say how to mend it
    Doctor(doctor::DoctorArgs),
}

impl Verb {
    /// Whether the verb writes what `--out` names, and whether it draws random numbers under `--seed`.
    fn takes(&self) -> (bool, bool) {
        match self {
            Self::Search(_) | Self::Train(_) | Self::Refine(_) | Self::EvolveSpace(_) => (true, true),
            Self::Profile(_) => (true, false),
            Self::Latency(args) => args.takes(),
            Self::Export(args) => (true, args.run.is_none()),
            Self::Eval(_) | Self::Bench(_) | Self::Sensitivity(_) | Self::Reproduce(_) => (false, true),
            Self::Resume(_) | Self::Cost(_) | Self::Report(_) | Self::Formats(_) | Self::Doctor(_) => (false, false),
        }
    }
}

/// Runs a parsed command line.
///
/// # Errors
/// Whatever the verb fails with.
pub fn run(cli: &Cli) -> Result<()> {
    let common = &cli.common;
    let (writes, draws) = cli.verb.takes();
    for (option, given, taken) in [
        ("--out", common.out.is_some(), writes),
        ("--force", common.force, writes),
        ("--seed", common.seed.is_some(), draws),
    ] {
        if given && !taken {
            return Err(Error::bad_value(option, "", "has no effect on this command"));
        }
    }
    match &cli.verb {
        Verb::Search(args) => search::run(args, common),
        Verb::Resume(args) => search::resume(args, common),
        Verb::Train(args) => train::run(args, common),
        Verb::Eval(args) => eval::run(args, common),
        Verb::Sensitivity(args) => sensitivity::run(args, common),
        Verb::Refine(args) => refine::run(args, common),
        Verb::EvolveSpace(args) => evolve_space::run(args, common),
        Verb::Export(args) => export::run(args, common),
        Verb::Cost(args) => cost::run(args, common.json),
        Verb::Report(args) => report::run(args, common),
        Verb::Profile(args) => profile::run(args, common),
        Verb::Latency(args) => latency::run(args, common),
        Verb::Reproduce(args) => reproduce::run(args, common),
        Verb::Formats(args) => formats::run(args, common.json),
        Verb::Bench(args) => bench::run(args, common),
        Verb::Doctor(args) => doctor::run(args, common),
    }
}
