//! `bitfront latency verify`: random networks, predicted and measured.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::Common;
use crate::cli::common::{print, result_file, write_result};
use crate::cli::profile::command;
use crate::cost::latency::Target;
use crate::error::{Error, Result};
use crate::network::Network;
use crate::onnx::Runtime;
use crate::profile::{Drawn, Mix, NETWORK_ROUNDS, distinct, fitted, networks_ms, pinned, processor};
use crate::progress::Progress;
use crate::report::markdown_table;
use crate::report::scatter;
use crate::seed::Seed;
use crate::space::Space;
use crate::space::SpaceFile;
use crate::stats::{mean, spearman};

/// Predict and measure random networks of search spaces.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  bitfront latency verify --table latency_tables/mine --space search_spaces/resnet8_fashion.ron -n 30")]
pub struct VerifyArgs {
    /// The table
    #[arg(long, value_name = "DIR")]
    pub table: PathBuf,
    /// Search spaces to draw networks from
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub space: Vec<PathBuf>,
    /// Networks of each space
    #[arg(short, value_name = "N", default_value_t = 30)]
    pub n: usize,
    /// Also write the table to this Markdown file, and the picture beside it as SVG
    #[arg(long, value_name = "FILE", value_parser = result_file)]
    pub write: Option<PathBuf>,
}

/// One network.
struct Seen {
    mix: Mix,
    predicted: f64,
    measured: f64,
    estimated: f64,
}

impl Seen {
    fn error(&self) -> f64 {
        self.predicted / self.measured - 1.0
    }
}

/// Draws, predicts, measures, compares.
///
/// # Errors
/// A table, space or network that cannot be used.
pub(super) fn run(args: &VerifyArgs, common: &Common) -> Result<()> {
    let target = Target::load(&args.table)?;
    if !target.device.is(&processor()) {
        let why = format!(
            "is of {}, this is {}: verify it on the device that it was measured on",
            target.device.device,
            processor()
        );
        return Err(Error::bad_value("--table", args.table.display(), why));
    }
    let runtime = Runtime::load()?;
    let session = common.session(1, None)?;
    if args.n == 0 {
        return Err(Error::bad_value("-n", args.n, "must be 1 or more"));
    }
    let (mut tables, mut points, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for path in &args.space {
        let space = Space::new(SpaceFile::load(path)?)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let seen = pinned(|| networks(&target, &runtime, &space, (&name, args.n), common, &session))??;
        let mut rows = Vec::new();
        for mix in [None, Some(Mix::Float32), Some(Mix::Narrow), Some(Mix::Mixed)] {
            let some: Vec<&Seen> = seen.iter().filter(|network| mix.is_none_or(|mix| network.mix == mix)).collect();
            if !some.is_empty() {
                rows.push(row(mix, &some));
            }
        }
        tables.push(format!("**{name}**\n\n{}", markdown_table(&HEADER, &rows)));
        let group: Vec<(f64, f64)> = seen.iter().map(|network| (network.measured, network.predicted)).collect();
        points.push((name.clone(), group));
        found.push(summary(&name, &seen));
    }
    let table = tables.join("\n");
    if let Some(path) = &args.write {
        let picture = path.with_extension("svg");
        let svg = scatter("measured (ms)", "predicted (ms)", &points)?;
        crate::atomic::write_atomically(&picture, |out| std::io::Write::write_all(out, svg.as_bytes()))?;
        let device = &target.device;
        let text = format!(
            "# Predicted and measured latency\n\n{} with {}, {} thread, batch {}. `{}`\n\n{table}\n![]({})\n",
            device.device,
            device.runtime,
            device.threads,
            device.batch,
            command().join(" "),
            picture.file_name().unwrap_or_default().to_string_lossy(),
        );
        write_result(Some(path), &text)?;
    }
    if common.json {
        return print(&json!({ "device": target.device.device, "spaces": found }).to_string());
    }
    print(table.trim_end())
}

fn networks(
    target: &Target,
    runtime: &Runtime,
    space: &Space,
    (name, n): (&str, usize),
    common: &Common,
    session: &crate::engine::Session,
) -> Result<Vec<Seen>> {
    let mut rng = Seed::new(common.root()).child("verify").rng();
    // None that the table's overhead was fitted to.
    let per_space = target.device.overhead.networks / target.device.spaces.len().max(1);
    let known = fitted(space, name, per_space)?;
    let drawn = distinct(space, n, &mut rng, &known)?;
    // A kernel that the table lacks is found before anything is measured.
    drawn.iter().try_for_each(|drawn| target.predict(&drawn.network).map(drop))?;
    let progress = Progress::new(name, (n * NETWORK_ROUNDS) as u64, common.quiet);
    let networks: Vec<Network> = drawn.iter().map(|drawn| drawn.network.clone()).collect();
    let times = networks_ms(runtime, &networks, &target.device, &mut || {
        progress.step(1);
        session.check_interrupt("nothing is kept")
    })?;
    progress.finish();
    let seen = |(drawn, &measured): (&Drawn, &f64)| {
        let prediction = target.predict(&drawn.network)?;
        common.detail(&format!(
            "{name} {}: predicted {:.3} ms, measured {measured:.3} ms",
            drawn.mix, prediction.latency_ms
        ));
        Ok(Seen { mix: drawn.mix, predicted: prediction.latency_ms, measured, estimated: prediction.estimated })
    };
    drawn.iter().zip(&times).map(seen).collect()
}

/// Share within a bound, root of the mean squared relative error, mean relative error, rank correlation.
fn figures(seen: &[&Seen]) -> ([f64; 3], f64, f64, Option<f64>) {
    let errors: Vec<f64> = seen.iter().map(|network| network.error()).collect();
    let within = |bound: f64| errors.iter().filter(|error| error.abs() <= bound).count() as f64 / errors.len() as f64;
    let squares: Vec<f64> = errors.iter().map(|error| error * error).collect();
    let pairs: Vec<(f64, f64)> = seen.iter().map(|network| (network.predicted, network.measured)).collect();
    let (rmspe, bias) = (mean(&squares).unwrap_or_default().sqrt(), mean(&errors).unwrap_or_default());
    ([0.05, 0.1, 0.15].map(within), rmspe, bias, spearman(&pairs))
}

/// Share of networks within 5, 10 and 15 %, root of the mean squared and mean relative error, rank correlation, share of the
/// time that comes from kernels that were not measured.
const HEADER: [&str; 9] = ["formats", "n", "<=5%", "<=10%", "<=15%", "rmspe", "bias", "spearman", "estimated"];

fn row(mix: Option<Mix>, seen: &[&Seen]) -> Vec<String> {
    let (within, rmspe, bias, rank) = figures(seen);
    let estimated = mean(&seen.iter().map(|network| network.estimated).collect::<Vec<f64>>()).unwrap_or_default();
    let mut cells = vec![mix.map_or("all".to_owned(), |mix| mix.to_string()), seen.len().to_string()];
    cells.extend(within.map(|share| format!("{:.0}%", 100.0 * share)));
    cells.push(format!("{:.1}%", 100.0 * rmspe));
    cells.push(format!("{:+.1}%", 100.0 * bias));
    cells.push(rank.map_or(String::new(), |rank| format!("{rank:.3}")));
    cells.push(format!("{:.0}%", 100.0 * estimated));
    cells
}

fn summary(name: &str, seen: &[Seen]) -> serde_json::Value {
    let all: Vec<&Seen> = seen.iter().collect();
    let ([five, ten, fifteen], rmspe, bias, rank) = figures(&all);
    json!({
        "space": name, "n": seen.len(), "within_5": five, "within_10": ten, "within_15": fifteen, "rmspe": rmspe,
        "bias": bias, "spearman": rank,
        "networks": seen.iter().map(|network| json!({
            "formats": network.mix.to_string(), "predicted_ms": network.predicted, "measured_ms": network.measured,
            "estimated": network.estimated,
        })).collect::<Vec<_>>(),
    })
}
