//! `bitfront bench step`: what a training step costs in each format, in time and in memory.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use tch::Tensor;

use crate::cli::Common;
use crate::cli::common::print;
use crate::cli::common::write_result;
use crate::data::DataSource;
use crate::data::Loader;
use crate::data::Split;
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::formats::QuantSpec;
use crate::models::Weights;
use crate::network::Network;
use crate::report::markdown_table;
use crate::seed::Seed;
use crate::space::Space;
use crate::space::SpaceFile;
use crate::stats::median;
use crate::stats::quantile;
use crate::train::Regime;
use crate::train::Single;
use crate::train::TrainConfig;
use crate::train::Trainer;

/// Options of `bench step`.
#[derive(Args, Debug)]
pub struct StepArgs {
    /// Rounds; each trains one step in every format
    #[arg(long, value_name = "N", default_value_t = 31)]
    pub rounds: usize,
    /// Images a step
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub batch: usize,
    /// Also write the tables to this Markdown file
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Only train in these formats in turn and print the peak memory; the benchmark starts itself with this
    #[arg(long, hide = true, value_delimiter = ',')]
    pub memory_of: Vec<Format>,
}

/// Formats whose steps are timed; float32 first, the others are compared with it.
const TIMED: [&str; 5] = ["float32", "int4", "int8", "float4_e2m1fn", "float8_e4m3fn"];
/// Formats of the space whose memory is compared with one format's.
const EIGHT: &str = "int2,int3,int4,float4_e2m1fn,int6,float6_e3m2fn,int8,float8_e4m3fn";
/// Steps before memory is read.
const MEMORY_STEPS: usize = 24;

#[derive(Debug, Serialize)]
struct Timed {
    format: String,
    median_ms: f64,
    p10_ms: f64,
    p90_ms: f64,
    ratio: f64,
}

/// The demo's network and one batch of its images.
struct Bench {
    space: Space,
    batch: (Tensor, Tensor),
    config: TrainConfig,
}

impl Bench {
    fn new(batch: usize) -> Result<Self> {
        let space = Space::new(SpaceFile::demo()?)?;
        let network = space.network(&space.widest().0);
        let images = Arc::new(DataSource::default().load(Split::Train, &network.transform)?);
        let loader = Loader::new(images, (0..batch.max(1)).collect(), &network.transform, batch)?;
        let batch = loader.batch(0, 0)?.tensors(tch::Device::Cpu)?;
        Ok(Self { space, batch, config: TrainConfig { lr: 0.01, ..TrainConfig::default() } })
    }

    fn network(&self, format: Format) -> Network {
        let mut network = self.space.network(&self.space.widest().0);
        let layers = network.weighted().len();
        network.assign(&vec![QuantSpec::per_channel(format); layers], &vec![QuantSpec::per_tensor(format); layers]);
        network
    }

    fn trainer(&self) -> Trainer {
        let network = self.space.network(&self.space.widest().0);
        Trainer::new(Weights::initialised(&network, Seed::new(0), tch::Device::Cpu), self.config.clone(), 1_000_000)
    }
}

/// Measures and prints.
///
/// # Errors
/// The measured steps fail, or the process cannot start itself.
pub(super) fn run(args: &StepArgs, common: &Common) -> Result<()> {
    common.session(common.thread_count()?, None)?;
    let bench = Bench::new(args.batch)?;
    if !args.memory_of.is_empty() {
        return print(&peak_memory(&bench, &args.memory_of)?.to_string());
    }
    let timed = timed(&bench, args.rounds.max(3))?;
    let memory = |formats: &str| memory_in_child(formats, args.batch, common);
    let (one, eight) = (memory("int8")?, memory(EIGHT)?);
    let text = markdown(&timed, one, eight, args, common)?;
    write_result(args.write.as_deref(), &text)?;
    if common.json {
        return print(
            &serde_json::json!({ "steps": timed, "peak_mb_one_format": one, "peak_mb_eight_formats": eight })
                .to_string(),
        );
    }
    print(&text)
}

/// Alternates the formats round by round, so that whatever else the machine does meets all of them.
fn timed(bench: &Bench, rounds: usize) -> Result<Vec<Timed>> {
    let formats = TIMED.iter().map(|name| name.parse()).collect::<Result<Vec<Format>>>()?;
    let mut arms: Vec<(Single, Trainer, Vec<f64>)> =
        formats.iter().map(|&format| (Single(bench.network(format)), bench.trainer(), Vec::new())).collect();
    for round in 0..rounds + 2 {
        for (regime, trainer, times) in &mut arms {
            let began = Instant::now();
            regime.step(trainer, &bench.batch.0, &bench.batch.1)?;
            if round >= 2 {
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let float = median(&arms[0].2).unwrap_or(f64::NAN);
    let row = |(name, (_, _, times)): (&&str, &(Single, Trainer, Vec<f64>))| {
        let at = |q| quantile(times, q).unwrap_or(f64::NAN);
        Timed {
            format: (*name).to_owned(),
            median_ms: at(0.5),
            p10_ms: at(0.1),
            p90_ms: at(0.9),
            ratio: at(0.5) / float,
        }
    };
    Ok(TIMED.iter().zip(&arms).map(row).collect())
}

/// Peak resident memory of a fresh process that trains in these formats, in 1e6 bytes.
fn memory_in_child(formats: &str, batch: usize, common: &Common) -> Result<f64> {
    let failed = |what: String| Error::Failed(format!("cannot measure memory: {what}"));
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let threads = common.thread_count()?.to_string();
    let arguments = ["bench", "step", "--memory-of", formats, "--batch", &batch.to_string(), "--threads", &threads];
    // Every tensor in pages of its own, given back when it is freed: the peak is that of live tensors, not of what the
    // allocator keeps between them.
    let output = Command::new(program)
        .args(arguments)
        .env_remove("MALLOC_TRIM_THRESHOLD_")
        .env_remove("MALLOC_TOP_PAD_")
        .env("MALLOC_MMAP_THRESHOLD_", "65536")
        .output()
        .map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| failed(String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn peak_memory(bench: &Bench, formats: &[Format]) -> Result<f64> {
    let mut trainer = bench.trainer();
    for step in 0..MEMORY_STEPS {
        let mut regime = Single(bench.network(formats[step % formats.len()]));
        regime.step(&mut trainer, &bench.batch.0, &bench.batch.1)?;
    }
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| Error::io("/proc/self/status", error))?;
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    peak.map(|kib| kib * 1024.0 / 1e6)
        .ok_or_else(|| Error::bad_file("/proc/self/status", "no VmHWM line: peak memory is measured on Linux only"))
}

fn markdown(timed: &[Timed], one: f64, eight: f64, args: &StepArgs, common: &Common) -> Result<String> {
    let rows: Vec<Vec<String>> = timed
        .iter()
        .map(|t| {
            let numbers = [t.median_ms, t.p10_ms, t.p90_ms].map(|value| format!("{value:.1}"));
            [vec![t.format.clone()], numbers.to_vec(), vec![format!("{:.2}", t.ratio)]].concat()
        })
        .collect();
    let header = ["format", "median ms", "p10", "p90", "against float32"];
    Ok(format!(
        "# A training step in each format\n\nWritten by `bitfront bench step --rounds {} --batch {}` on {} threads: the demo's ResNet-8, formats\n\
         alternating round by round.\n\n{}\nPeak memory of a process training in one format {one:.0} MB, in eight formats in turn {eight:.0} MB\n\
         (ratio {:.3}).\n",
        args.rounds,
        args.batch,
        common.thread_count()?,
        markdown_table(&header, &rows),
        eight / one
    ))
}
