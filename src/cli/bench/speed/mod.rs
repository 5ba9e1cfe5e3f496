//! `bitfront bench speed`: how fast its parts are, each beside what it is compared with, in one run.

mod candidates;
mod depthwise;
mod growth;
mod kernels;
mod memory;
mod plain;
mod steps;
mod turns;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};

use crate::cli::Common;
use crate::cli::common::{print, result_file, write_result, written_by};
use crate::error::Result;
use crate::formats::{Format, QuantSpec};
use crate::models::Weights;
use crate::network::{ModelName, ModelSpec, Network, build};
use crate::seed::Seed;
use crate::train::{TrainConfig, Trainer};

/// Speed and memory of kernels, training steps and candidate evaluation.
#[derive(Args, Debug)]
pub struct SpeedArgs {
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS", default_values_t = Part::ALL)]
    pub parts: Vec<Part>,
    /// Rounds; in each all that is compared takes its turn
    #[arg(long, value_name = "N", default_value_t = 31, value_parser = clap::value_parser!(u32).range(3..=10_000))]
    pub rounds: u32,
    /// Network whose training steps are measured
    #[arg(long, default_value = "resnet20")]
    pub model: ModelName,
    /// Images a step
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(2..=65_536))]
    pub batch: u32,
    /// Also write the tables to this Markdown file
    #[arg(long, value_name = "FILE", value_parser = result_file)]
    pub write: Option<PathBuf>,
    /// Only train in these formats in turn and print the peak memory; the benchmark starts itself with this
    #[arg(long, hide = true, value_delimiter = ',')]
    pub peak_of: Vec<Format>,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Fake quantization against copying.
    Kernels,
    /// Wide depthwise convolutions against libtorch's.
    Depthwise,
    /// Training steps in each format against float32.
    Steps,
    /// Their peak memory.
    Memory,
    /// Steps of more images and more layers.
    Growth,
    /// Evaluating the candidates of a search.
    Candidates,
}

impl Part {
    const ALL: [Self; 6] = [Self::Kernels, Self::Depthwise, Self::Steps, Self::Memory, Self::Growth, Self::Candidates];
}

/// What a part found: its Markdown, and the same as JSON.
type Found = (String, Value);

/// Measures and prints.
///
/// # Errors
/// A step fails, memory cannot be read, or the process cannot start itself.
pub(super) fn run(args: &SpeedArgs, common: &Common) -> Result<()> {
    let threads = common.thread_count()?;
    let session = common.session(threads, None)?;
    if !args.peak_of.is_empty() {
        return print(&memory::peak(args, &args.peak_of)?.to_string());
    }
    let mut text = format!("# Speed\n\n{}; medians over rounds in which all arms take turns.\n", written_by(threads));
    let mut json = Map::new();
    for part in Part::ALL.into_iter().filter(|part| args.parts.contains(part)) {
        let (markdown, value) = match part {
            Part::Kernels => kernels::measured(args, &session)?,
            Part::Depthwise => depthwise::measured(args, &session)?,
            Part::Steps => steps::measured(args, &session)?,
            Part::Memory => memory::measured(args, threads, &session)?,
            Part::Growth => growth::measured(args, threads, &session)?,
            Part::Candidates => candidates::measured(threads, common, &session)?,
        };
        text += &format!("\n{markdown}");
        json.insert(part.to_possible_value().map_or_else(String::new, |name| name.get_name().to_owned()), value);
    }
    write_result(args.write.as_deref(), &text)?;
    if common.json { print(&Value::Object(json).to_string()) } else { print(&text) }
}

/// A network whose steps are measured, in one format, and noise for its images.
struct Subject {
    network: Network,
    batch: (Tensor, Tensor),
}

impl Subject {
    fn new(model: ModelName, batch: u32) -> Result<Self> {
        let network = build(&ModelSpec::new(model))?;
        let batch = i64::from(batch);
        let shape = [batch, network.input.c as i64, network.input.h as i64, network.input.w as i64];
        tch::manual_seed(0);
        let x = Tensor::randn(shape, (Kind::Float, Device::Cpu));
        let y = Tensor::randint(network.classes as i64, [batch], (Kind::Int64, Device::Cpu));
        Ok(Self { network, batch: (x, y) })
    }

    fn network(&self, format: Format) -> Network {
        let mut network = self.network.clone();
        let layers = network.weighted().len();
        network.assign(&vec![QuantSpec::per_channel(format); layers], &vec![QuantSpec::per_tensor(format); layers]);
        network
    }

    fn trainer(&self, learned_ranges: bool) -> Trainer {
        let weights = Weights::initialised(&self.network, Seed::new(0), Device::Cpu);
        Trainer::new(weights, TrainConfig { lr: 0.01, learned_ranges, ..TrainConfig::default() }, 1_000_000)
    }
}
