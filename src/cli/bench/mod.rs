//! `bitfront bench`: measurements of bitfront itself, one file each.

mod demo;
mod evolve_space;
mod friendliness;
mod jetfire;
mod joint;
mod latency;
mod mixed;
mod one_shot;
mod predict;
mod ptq;
mod refine;
mod refine_options;
mod search;
mod seeded;
mod solver;
mod spaceevo;
mod speed;
mod trained;

use clap::{Args, Subcommand};

use super::Common;
use crate::error::Result;

/// Measure bitfront itself.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    pub what: BenchCommand,
}

/// What can be measured.
#[derive(Subcommand, Debug)]
pub enum BenchCommand {
    /// Search algorithms on a table of finished networks: exact regret against random search
    #[command(after_help = "Example:\n  bitfront bench search --table nas-bench-macro_cifar10.json --seeds 20")]
    Search(search::SearchBenchArgs),
    /// The demo search over seeds: hypervolume against uniform formats and random search
    #[command(after_help = "Example:\n  bitfront bench demo --seeds 5 --write results/demo.md")]
    Demo(demo::DemoArgs),
    /// FLIQS on the demo space: achieved cost, certainty, and accuracy against training from scratch
    #[command(after_help = "Example:\n  bitfront bench fliqs --seeds 3 --write results/fliqs.md")]
    Fliqs(one_shot::FliqsArgs),
    /// The quantization-friendliness term of a search, on and off, at few evaluations
    #[command(
        after_help = "Example:\n  bitfront bench friendliness --seeds 3 --evaluations 32 --write results/friendliness.md"
    )]
    Friendliness(friendliness::FriendlinessArgs),
    /// Training in INT8 blocks (Jetfire) against float32: accuracy, and memory kept for the backward pass
    #[command(after_help = "Example:\n  bitfront bench jetfire --seeds 3 --epochs 5 --write results/jetfire.md")]
    Jetfire(jetfire::JetfireArgs),
    /// Operators and formats searched together, against formats alone and operators at int8 alone
    #[command(after_help = "Example:\n  bitfront bench joint --seeds 3 --write results/joint.md")]
    Joint(joint::JointArgs),
    /// Searches under latency limits, their fronts measured again
    #[command(
        after_help = "Example:\n  bitfront bench latency --target latency_tables/epyc-avx2 --write results/latency.md"
    )]
    Latency(latency::LatencyBenchArgs),
    /// Search spaces scored a second
    #[command(
        after_help = "Example:\n  bitfront bench evolve-space --lut block_lut/mobilew --space mobilew --budget-ms 25 --budget-ms 30"
    )]
    EvolveSpace(evolve_space::EvolveSpaceBenchArgs),
    /// Formats of a trained network mixed at mean weight bits, refined, against one format everywhere
    #[command(
        after_help = "Example:\n  bitfront bench mixed --model resnet20 --weights resnet20.safetensors --data cifar10:DIR --write results/mixed.md"
    )]
    Mixed(Box<mixed::MixedArgs>),
    /// From images to an evolved space, searched, measured and exported, against manual spaces
    #[command(
        after_help = "Example:\n  bitfront bench spaceevo --target latency_tables/mine --budget-ms 0.1 --budget-ms 0.2 --write results/spaceevo.md"
    )]
    Spaceevo(Box<spaceevo::SpaceEvoArgs>),
    /// Latency predictions a second
    #[command(after_help = "Example:\n  bitfront bench predict --target latency_tables/epyc-avx2")]
    Predict(predict::PredictArgs),
    /// A trained network in several formats, before and after refinement
    #[command(after_help = "Example:
  bitfront bench refine --model resnet20 --weights resnet20.safetensors --data cifar10:DIR --write results/refine.md")]
    Refine(Box<refine::RefineBenchArgs>),
    /// Each option of a refinement alone, in 4 bits
    #[command(after_help = "Examples:
  bitfront bench options --model resnet20 --weights resnet20.safetensors --data cifar10:DIR --write results/options.md
  bitfront bench options --model resnet20 --weights resnet20.safetensors --data cifar10:DIR --seeds 1 --points int4@int8 \\
      --try '--decouple --finetune 8' --try '--steps 800'")]
    Options(Box<refine_options::OptionsArgs>),
    /// Ways to choose formats for a trained network, at equal evaluations
    #[command(after_help = "Examples:
  bitfront bench ptq --seeds 3 --write results/ptq.md
  bitfront bench ptq --weights resnet20.safetensors --data cifar10:DIR --space search_spaces/resnet20_cifar10.ron")]
    Ptq(ptq::PtqArgs),
    /// Time of the exact budget solver on random problems
    #[command(after_help = "Example:\n  bitfront bench solver --problems 20 --write results/solver.md")]
    Solver(solver::SolverArgs),
    /// Speed and memory of kernels, training steps and candidate evaluation, beside what each is compared with
    #[command(
        after_help = "Examples:\n  bitfront bench speed --write results/speed.md\n  bitfront bench speed --parts steps --model mobilenet_v2 --batch 8"
    )]
    Speed(speed::SpeedArgs),
}

/// Runs the chosen benchmark and prints a table, or one JSON object.
///
/// # Errors
/// Whatever the measured part fails with.
pub fn run(args: &BenchArgs, common: &Common) -> Result<()> {
    match &args.what {
        BenchCommand::Search(options) => search::run(options, common.json),
        BenchCommand::Demo(options) => demo::run(options, common),
        BenchCommand::Fliqs(options) => one_shot::run(options, common),
        BenchCommand::Friendliness(options) => friendliness::run(options, common),
        BenchCommand::Jetfire(options) => jetfire::run(options, common),
        BenchCommand::Joint(options) => joint::run(options, common),
        BenchCommand::Latency(options) => latency::run(options, common),
        BenchCommand::EvolveSpace(options) => evolve_space::run(options, common),
        BenchCommand::Spaceevo(options) => spaceevo::run(options, common),
        BenchCommand::Mixed(options) => mixed::run(options, common),
        BenchCommand::Predict(options) => predict::run(options, common),
        BenchCommand::Refine(options) => refine::run(options, common),
        BenchCommand::Options(options) => refine_options::run(options, common),
        BenchCommand::Ptq(options) => ptq::run(options, common),
        BenchCommand::Solver(options) => solver::run(options, common),
        BenchCommand::Speed(options) => speed::run(options, common),
    }
}
