//! `bitfront profile`: a latency table of this device, or what another device needs to make one.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::Common;
use super::common::print;
use super::latency::compare::{ratios, within};
use crate::atomic::write_atomically;
use crate::cost::latency::{Device, Features, Kernel, Kind, Overhead, Row, Table, Target};
use crate::engine::Session;
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::onnx::Runtime;
use crate::profile::{Effort, Kernels, MOST_KERNELS, ROUNDS, Saved};
use crate::profile::{combined, emit, fitted, kernel_time, kernels_of, network_ms, pinned, processor};
use crate::progress::Progress;
use crate::ron_text;
use crate::search::{Clock, WallClock};
use crate::space::Hyperspace;
use crate::space::Space;
use crate::space::SpaceFile;
use crate::stats::median;

/// Measure this device's kernels in ONNX Runtime and write a latency table.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  bitfront profile --space search_spaces/resnet8_fashion.ron --out latency_tables/mine
  bitfront profile --space search_spaces/*_fashion*.ron --out latency_tables/mine
  bitfront profile --space search_spaces/resnet8_fashion.ron --emit kernels/    then on the other device: python run.py > times.csv
  bitfront profile --collect times.csv --name 'Pixel 4' --runtime 'onnxruntime 1.31.0' --out latency_tables/pixel4")]
pub struct ProfileArgs {
    /// Search spaces, or hyperspaces, whose kernels are measured
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "collect")]
    pub space: Vec<PathBuf>,
    /// Write the kernels' models and a runner for another device, and measure nothing
    #[arg(long, value_name = "DIR", conflicts_with = "collect")]
    pub emit: Option<PathBuf>,
    /// Make the table from what the runner printed on the other device
    #[arg(long, value_name = "CSV", conflicts_with = "space")]
    pub collect: Option<PathBuf>,
    /// Name of the device [default: this processor's]
    #[arg(long)]
    pub name: Option<String>,
    /// --collect: runtime and version on the other device
    #[arg(long, requires = "collect")]
    pub runtime: Option<String>,
    /// Most kernels to measure; of more, a sample over operators and sizes
    #[arg(long, value_name = "N", default_value_t = MOST_KERNELS)]
    pub most: usize,
    /// Networks of each space to fit the overhead to
    #[arg(long, value_name = "N", default_value_t = 9)]
    pub networks: usize,
    /// Milliseconds that each kernel is timed for in a round, at least
    #[arg(long, value_name = "MS", default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub least: u64,
}

impl ProfileArgs {
    fn effort(&self) -> Effort {
        Effort { least: Duration::from_millis(self.least), ..Effort::default() }
    }
}

/// Measures, emits or collects.
///
/// # Errors
/// Whatever a step fails with.
pub fn run(args: &ProfileArgs, common: &Common) -> Result<()> {
    if let Some(csv) = &args.collect {
        return collect(csv, args, common);
    }
    if common.threads.is_some_and(|threads| threads != 1) {
        return Err(Error::bad_value("--threads", common.thread_count()?, "kernels are timed on one thread"));
    }
    let spaces = args.space.iter().map(|path| spaces_of(path)).collect::<Result<Vec<_>>>()?.concat();
    let device = described(args, "onnxruntime");
    let kernels = kernels_of(&spaces, &device, args.most)?;
    let session = common.session(1, None)?;
    if let Some(folder) = &args.emit {
        if folder.join("kernels.csv").exists() {
            if !common.force {
                return Err(Error::bad_value(
                    "--emit",
                    folder.display(),
                    "holds kernels already; --force replaces them",
                ));
            }
            let models = folder.join("models");
            std::fs::remove_dir_all(&models).map_err(|source| Error::io(&models, source))?;
        }
        let progress = Progress::new("emit", kernels.measured.len() as u64, common.quiet);
        emit(&kernels.measured, &device, folder, &mut || {
            progress.step(1);
            session.check_interrupt("nothing was listed")
        })?;
        progress.finish();
        if common.json {
            return print(&json!({ "folder": folder, "kernels": kernels.measured.len() }).to_string());
        }
        let how = "copy the folder to the device, run `python run.py > times.csv` there, then \
                   `bitfront profile --collect times.csv --name NAME --out latency_tables/NAME`";
        return print(&format!("{} kernels in {}; {how}", kernels.measured.len(), folder.display()));
    }
    pinned(|| measure(args, common, &session, &spaces, &kernels))?
}

/// The search space of a file; of a hyperspace the uniform spaces on its smallest images, which have all its blocks.
fn spaces_of(path: &Path) -> Result<Vec<Space>> {
    let Ok(hyperspace) = Hyperspace::load(path) else { return Ok(vec![Space::new(SpaceFile::load(path)?)?]) };
    let side = hyperspace.resolutions[0].side;
    hyperspace.uniform().iter().map(|code| Space::new(hyperspace.space_file(code, side)?)).collect()
}

/// What a table says of its device, before anything is fitted.
fn described(args: &ProfileArgs, runtime: &str) -> Device {
    let computes = vec![Format::Float32, Format::Int(8)];
    Device {
        device: args.name.clone().unwrap_or_else(processor),
        processor: String::new(),
        kind: Kind::Cpu,
        runtime: runtime.to_owned(),
        threads: 1,
        batch: 1,
        date: today(),
        command: command(),
        falls_back: Device::usual_fallback(&computes),
        computes,
        kernels: 0,
        not_counted: Vec::new(),
        any_act: false,
        spaces: args.space.iter().filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect(),
        left_out: 0,
        overhead: Overhead::default(),
    }
}

/// Today as year-month-day (UTC).
fn today() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string().chars().take(10).collect()
}

/// The command line, without the place of the program.
pub(super) fn command() -> Vec<String> {
    std::iter::once("bitfront".to_owned()).chain(std::env::args().skip(1)).collect()
}

/// The folder that `--out` names for a table.
///
/// # Errors
/// It is not named, or holds a table already and `--force` is not given.
pub(super) fn table_folder(common: &Common) -> Result<PathBuf> {
    let missing = || Error::missing_option("--out", "the table's folder, such as latency_tables/mine");
    let folder = common.out.clone().ok_or_else(missing)?;
    if folder.join("kernels.csv").exists() && !common.force {
        return Err(Error::bad_value("--out", folder.display(), "holds a latency table already; --force replaces it"));
    }
    Ok(folder)
}

fn measure(args: &ProfileArgs, common: &Common, session: &Session, spaces: &[Space], kernels: &Kernels) -> Result<()> {
    let folder = table_folder(common)?;
    let old = Target::load(&folder).ok();
    std::fs::create_dir_all(&folder).map_err(|source| Error::io(&folder, source))?;
    let runtime = Runtime::load()?;
    let clock = WallClock::start();
    let mut device = Device { left_out: kernels.left_out, ..described(args, &Runtime::version()) };
    let rows = measured_rows(&folder, session, (kernels, &device), (&runtime, args.effort()), &clock)?;
    let fitted = networks(args, session, spaces, &Target::new(device.clone(), &rows), &runtime, &clock)?;
    device.overhead = Overhead::fit(&fitted);
    device.kernels = rows.len();
    device.processor = processor();
    let saved = Saved::open(&folder)?;
    let repeat = agreement(saved.rounds());
    write(&folder, &device, &rows)?;
    saved.remove()?;
    let target = Target::new(device, &rows);
    let again = old.map(|old| within(&ratios(&old, &target), 0.1));
    summary(common, &folder, &target, kernels, [Some(repeat), again])
}

/// Measurements after which it is said how long the others will take.
const SAMPLED: usize = 48;

/// Measures every kernel in every round, from where an interrupted profile left off.
fn measured_rows(
    folder: &Path,
    session: &Session,
    (kernels, device): (&Kernels, &Device),
    (runtime, effort): (&Runtime, Effort),
    clock: &dyn Clock,
) -> Result<Vec<Row>> {
    let mut saved = Saved::open(folder)?;
    let all = kernels.measured.len() * ROUNDS;
    let in_rounds = (0..ROUNDS).flat_map(|round| kernels.measured.iter().map(move |kernel| (round, kernel)));
    let left: Vec<(usize, &Kernel)> = in_rounds.filter(|(round, kernel)| !saved.has(*round, kernel)).collect();
    let mut measure = |round: usize, kernel: &Kernel| {
        session.check_interrupt("what is measured is saved; the same command goes on")?;
        saved.append(round, kernel_time(kernel, device, runtime, clock, effort)?)
    };
    // Some of all sizes, from which the time of the others is known.
    let (tried, others): (Vec<_>, Vec<_>) =
        left.iter().enumerate().partition(|(at, _)| at % left.len().div_ceil(SAMPLED).max(1) == 0);
    let began = Instant::now();
    tried.iter().try_for_each(|(_, (round, kernel))| measure(*round, kernel))?;
    let each = began.elapsed().as_secs_f64() / tried.len().max(1) as f64;
    let left_out = match kernels.left_out {
        0 => String::new(),
        count => format!("; {count} others are left to the regression"),
    };
    session.say(&format!(
        "cost: {} kernels in {ROUNDS} rounds{left_out}, about {:.0} min; {} of {all} measured already",
        kernels.measured.len(),
        (each * others.len() as f64 / 60.0).max(1.0),
        all - others.len(),
    ));
    let progress = Progress::new("kernels", others.len() as u64, session.quiet);
    for (_, (round, kernel)) in others {
        measure(*round, kernel)?;
        progress.step(1);
    }
    progress.finish();
    Ok(combined(&kernels.measured, saved.rounds()))
}

/// Random networks of every space with their times, to fit the overhead to.
fn networks(
    args: &ProfileArgs,
    session: &Session,
    spaces: &[Space],
    target: &Target,
    runtime: &Runtime,
    clock: &dyn Clock,
) -> Result<Vec<(Features, f64)>> {
    let progress = Progress::new("networks", (spaces.len() * args.networks) as u64, session.quiet);
    let effort = Effort { least: 4 * args.effort().least, ..Effort::default() };
    let mut found = Vec::new();
    for (space, name) in spaces.iter().zip(&target.device.spaces) {
        for drawn in fitted(space, name, args.networks)? {
            session.check_interrupt("the kernels are saved; the same command goes on")?;
            let ms = network_ms(runtime, &drawn.network, &target.device, clock, effort)?;
            found.push((target.features(&drawn.network)?.0, ms * 1e3));
            progress.step(1);
        }
    }
    progress.finish();
    Ok(found)
}

/// Share of kernels whose rounds' medians all lie within 10 % of their middle.
fn agreement(rounds: &[Vec<Row>]) -> f64 {
    let mut times: HashMap<Kernel, Vec<f64>> = HashMap::new();
    for row in rounds.iter().flatten() {
        times.entry(row.kernel).or_default().push(row.median_us);
    }
    let agrees = |times: &&Vec<f64>| {
        let centre = median(times).unwrap_or_default();
        times.iter().all(|us| (us / centre - 1.0).abs() <= 0.1)
    };
    times.values().filter(agrees).count() as f64 / times.len().max(1) as f64
}

/// Writes both files of a table.
pub(super) fn write(folder: &Path, device: &Device, rows: &[Row]) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|source| Error::io(folder, source))?;
    let text = Table { rows: rows.to_vec() }.text()?;
    write_atomically(folder.join("kernels.csv"), |out| out.write_all(text.as_bytes()))?;
    let text = ron_text::text(device)?;
    write_atomically(folder.join("device.ron"), |out| out.write_all(text.as_bytes()))
}

fn summary(
    common: &Common,
    folder: &Path,
    target: &Target,
    kernels: &Kernels,
    [repeat, again]: [Option<f64>; 2],
) -> Result<()> {
    let (device, error) = (&target.device, target.leave_one_out());
    if common.json {
        let found = json!({
            "table": folder, "kernels": kernels.measured.len(), "left_out": kernels.left_out,
            "rounds_within_10_percent": repeat, "repeat_within_10_percent": again,
            "estimate_median_error": error, "overhead": device.overhead,
        });
        return print(&found.to_string());
    }
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let mut lines = vec![
        format!("{}: {} kernels of {} ({})", folder.display(), kernels.measured.len(), device.device, device.runtime),
        format!("  left to the regression           {}", kernels.left_out),
    ];
    let more = [
        ("rounds agree within 10 % in", repeat),
        ("the table before agrees in", again),
        ("median error of an estimate", error),
    ];
    lines.extend(more.iter().filter_map(|(words, share)| Some(format!("  {words:<32} {}", percent((*share)?)))));
    let Overhead { call_us, float32, narrow, transitions, networks } = device.overhead;
    lines.push(format!(
        "  a network, by {networks}: {call_us:.1} us + {float32:.3} float32 + {narrow:.3} int8 + {transitions:.3} transitions"
    ));
    print(&lines.join("\n"))
}

fn collect(csv: &Path, args: &ProfileArgs, common: &Common) -> Result<()> {
    let folder = table_folder(common)?;
    let name = args.name.clone().ok_or_else(|| Error::missing_option("--name", "the device's name"))?;
    let table = Table::read(csv)?;
    let mut computes: Vec<Format> = vec![Format::Float32];
    for row in &table.rows {
        if !computes.contains(&row.kernel.w_format) {
            computes.push(row.kernel.w_format);
        }
    }
    let device = Device {
        device: name,
        batch: table.rows[0].batch,
        kernels: table.rows.len(),
        falls_back: Device::usual_fallback(&computes),
        computes,
        ..described(args, args.runtime.as_deref().unwrap_or("not said"))
    };
    if let Some(fault) = device.fault() {
        return Err(Error::bad_value("--name", &device.device, fault));
    }
    write(&folder, &device, &table.rows)?;
    let target = Target::load(&folder)?;
    if common.json {
        return print(&json!({ "table": folder, "kernels": table.rows.len(), "device": device.device }).to_string());
    }
    print(&format!("{}: {} kernels of {}", folder.display(), table.rows.len(), target.device.device))
}
