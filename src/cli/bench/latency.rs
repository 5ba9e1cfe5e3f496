//! `bitfront bench latency`: searches under latency limits, their fronts measured again.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::Common;
use super::demo::{demo_settings, run_or_read};
use crate::cli::common::print;
use crate::cli::common::result_file;
use crate::cli::common::write_result;
use crate::cli::common::written_by;
use crate::cost::latency::Target;
use crate::cost::{Convention, Metric, Pricing, feasible_range};
use crate::engine::{Summary, Tested};
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::network::Network;
use crate::onnx::Runtime;
use crate::profile::{networks_ms, pinned};
use crate::report::markdown_table;
use crate::space::Space;
use crate::space::SpaceFile;

/// Searches under latency limits.
#[derive(Args, Debug)]
pub struct LatencyBenchArgs {
    /// The device's table
    #[arg(long, value_name = "DIR")]
    pub target: PathBuf,
    /// Space to search
    #[arg(long, value_name = "FILE", default_value = "search_spaces/mobilenet_v2_fashion_elastic.ron")]
    pub space: String,
    /// Formats to choose from
    #[arg(long, value_name = "FORMATS", default_value = "int8,float32")]
    pub formats: String,
    /// Limits, as shares of the way from the fastest to the slowest network
    #[arg(long, value_delimiter = ',', value_name = "SHARES", default_value = "0.3,0.6")]
    pub shares: Vec<f64>,
    /// Passes over the training images, of each search
    #[arg(long, value_name = "N", default_value = "3")]
    pub epochs: String,
    /// Candidates that each search evaluates
    #[arg(long, value_name = "N", default_value = "100")]
    pub evaluations: String,
    /// Also write the table to this Markdown file
    #[arg(long, value_name = "FILE", value_parser = result_file)]
    pub write: Option<PathBuf>,
}

/// One search, its limit, and its members' latencies measured again.
struct Found {
    share: f64,
    limit: f64,
    run: Summary,
    again: Vec<f64>,
}

/// Runs or continues the searches, measures their fronts again and prints the table.
///
/// # Errors
/// Whatever a run fails with.
pub(super) fn run(args: &LatencyBenchArgs, common: &Common) -> Result<()> {
    let target = Arc::new(Target::load(&args.target)?);
    let file = SpaceFile::load(std::path::Path::new(&args.space))?;
    let formats = args.formats.split(',').map(str::parse::<Format>).collect::<Result<Vec<_>>>()?;
    let space = Space::new(SpaceFile { formats, ..file })?;
    let pricing = Pricing { convention: Convention::Full, target: Some(target.clone()) };
    pricing.latency(&space.network(&space.widest().0))?;
    let range = feasible_range(&space, &pricing, Metric::LatencyMs);
    let (least, most) = range.ok_or_else(|| Error::Failed("the table gives no latency".into()))?;
    let mut found = Vec::new();
    for &share in &args.shares {
        if !(share > 0.0 && share <= 1.0) {
            return Err(Error::bad_value("--shares", share, "must be above 0, at most 1"));
        }
        let limit = least + share * (most - least);
        let (table, constraint) = (args.target.display().to_string(), format!("latency_ms<={limit:.4}"));
        let line = [
            "--space",
            &args.space,
            "--formats",
            &args.formats,
            "--target",
            &table,
            "--constraint",
            &constraint,
            "--objective",
            "latency_ms",
            "--epochs",
            &args.epochs,
            "--evaluations",
            &args.evaluations,
        ];
        let settings = demo_settings(&line, common, common.root())?;
        let run = run_or_read(&settings, &format!("bench-latency-{share}"), common)?.0;
        let again = pinned(|| measured_again(&run.front, &space, &target))??;
        found.push(Found { share, limit, run, again });
    }
    let text = markdown(args, &target, (least, most), &found);
    write_result(args.write.as_deref(), &text)?;
    if !common.json {
        return print(&text);
    }
    let search = |found: &Found| {
        let members = found.run.front.iter().zip(&found.again);
        let member = |(member, again): (&Tested, &f64)| {
            json!({ "id": member.row.id, "test_top1": member.test_top1, "predicted_ms": member.row.latency_ms,
                "measured_ms": member.latency_meas_ms, "again_ms": again })
        };
        json!({ "share": found.share, "limit_ms": found.limit, "front": members.map(member).collect::<Vec<_>>() })
    };
    print(&json!({ "range_ms": [least, most], "searches": found.iter().map(search).collect::<Vec<_>>() }).to_string())
}

fn measured_again(front: &[Tested], space: &Space, target: &Target) -> Result<Vec<f64>> {
    let networks: Vec<Network> = front.iter().map(|member| space.network(&member.row.genome.0)).collect();
    networks_ms(&Runtime::load()?, &networks, &target.device, &mut || Ok(()))
}

/// How many layers with weights a member keeps in float32, of how many.
fn kept_float(member: &Tested, space: &Space) -> (usize, usize) {
    let network = space.network(&member.row.genome.0);
    let weighted = network.weighted();
    let float = |index: &&usize| network.layers[**index].weight.is_some_and(|spec| spec.format == Format::Float32);
    (weighted.iter().filter(float).count(), weighted.len())
}

fn markdown(args: &LatencyBenchArgs, target: &Target, (least, most): (f64, f64), found: &[Found]) -> String {
    let settings = &found[0].run.settings;
    let over =
        |found: &Found| found.again.iter().map(|again| 100.0 * (again / found.limit - 1.0)).fold(f64::MIN, f64::max);
    let worst = found.iter().map(over).fold(f64::MIN, f64::max);
    let members: usize = found.iter().map(|found| found.again.len()).sum();
    let tables: Vec<String> = found.iter().map(table).collect();
    format!(
        "# Searches under a latency limit\n\n{}\non `{}` with the formats {}.\nTimes in ms for one image on one thread of \
         {} ({}).\n\nThe space reaches {least:.3} to {most:.3} ms by the table; a limit stands at a share of that way. Measured: \
         when the\nfront was chosen; slower ones were left out. Again: after the run, in five rounds. float32: layers that the\n\
         search kept in float32.\n\n{}\nOf {members} members the slowest, measured again, is {worst:+.1} % off its limit.\n",
        written_by(settings.threads),
        args.space,
        args.formats,
        target.device.device,
        target.device.runtime,
        tables.join("\n")
    )
}

/// One search's front.
fn table(found: &Found) -> String {
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.3}"));
    let space = Space::new(found.run.settings.space.clone());
    let row = |(member, again): (&Tested, &f64)| {
        let float = space.as_ref().map_or_else(
            |_| String::new(),
            |space| {
                let (float, all) = kept_float(member, space);
                format!("{float} of {all}")
            },
        );
        let over = 100.0 * (again / found.limit - 1.0);
        let (predicted, measured) = (ms(member.row.latency_ms), ms(member.latency_meas_ms));
        let (network, top1) = (format!("#{}", member.row.id), format!("{:.2}", member.test_top1));
        vec![network, top1, predicted, measured, format!("{again:.3}"), format!("{over:+.1}%"), float]
    };
    let rows: Vec<Vec<String>> = found.run.front.iter().zip(&found.again).map(row).collect();
    let header = ["network", "test top-1", "predicted", "measured", "again", "over limit", "float32"];
    format!("**{:.0} %: at most {:.4} ms**\n\n{}", 100.0 * found.share, found.limit, markdown_table(&header, &rows))
}
