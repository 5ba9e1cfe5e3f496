//! `bitfront latency report`: what a table says of formats, operators, widths and maps.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::atomic::write_atomically;
use crate::cli::Common;
use crate::cli::common::{print, result_file, write_result};
use crate::cli::profile::command;
use crate::cost::latency::{Gain, Gains, Part, SIDES, Target, WIDTHS, class_name, gains};
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::report::{HeatRow, heat_map, markdown_table};

/// What a narrow format gains, by operator, width and map.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  bitfront latency report --table latency_tables/mine --picture int8.svg")]
pub struct ReportArgs {
    /// The table
    #[arg(long, value_name = "DIR")]
    pub table: PathBuf,
    /// The format
    #[arg(long, default_value = "int8")]
    pub format: Format,
    /// The format that it is compared with
    #[arg(long, value_name = "FORMAT", default_value = "float32")]
    pub against: Format,
    /// Also draw the heat map to this SVG file
    #[arg(long, value_name = "FILE")]
    pub picture: Option<PathBuf>,
    /// Also write the tables to this Markdown file
    #[arg(long, value_name = "FILE", value_parser = result_file)]
    pub write: Option<PathBuf>,
}

/// Prints the tables and draws the picture.
///
/// # Errors
/// A table without both formats, or a file that cannot be written.
pub(super) fn run(args: &ReportArgs, common: &Common) -> Result<()> {
    let target = Target::load(&args.table)?;
    for (option, format) in [("--format", args.format), ("--against", args.against)] {
        if !target.device.computes.contains(&format) {
            let known: Vec<&str> = target.device.computes.iter().map(|format| format.name()).collect();
            let why = format!("the table has no kernel in it; it has {}", known.join(", "));
            return Err(Error::bad_value(option, format, why));
        }
    }
    let gains = gains(&target, args.format, args.against);
    let Some(all) = &gains.all else {
        let why = format!("has no kernel in both {} and {}", args.format, args.against);
        return Err(Error::bad_value("--table", args.table.display(), why));
    };
    if let Some(path) = &args.picture {
        let title = format!("{} over {}, {}", args.format, args.against, target.device.device);
        let columns: Vec<String> = (0..=SIDES.len()).map(|at| class_name(at, &SIDES)).collect();
        let svg = heat_map(&title, "rows of the map", &columns, &heat_rows(&gains))?;
        write_atomically(path, |out| out.write_all(svg.as_bytes()))?;
    }
    let (operators, cells) = (by_operator(&gains), by_width(&gains));
    let by_map = "Median gain by the rows of the map; channels: of the narrower side.";
    let (heading, verdict) = (heading(&target, args, all), verdict(&gains, args.format));
    let text = format!("{heading}\n\n{operators}\n{by_map}\n\n{cells}\n{verdict}");
    if args.write.is_some() {
        let command = command().join(" ");
        write_result(args.write.as_deref(), &format!("# What {} gains\n\n`{command}`\n\n{text}\n", args.format))?;
    }
    if common.json {
        let gain = |gain: &Gain| json!({ "kernels": gain.kernels, "median": gain.median, "p10": gain.p10, "p90": gain.p90, "slower": gain.slower });
        let parts: Vec<_> =
            gains.parts.iter().map(|(part, found)| json!({ "operator": part.name, "gain": gain(found) })).collect();
        let found = json!({ "device": target.device.device, "format": args.format.name(), "against": args.against.name(),
            "all": gain(all), "operators": parts });
        return print(&found.to_string());
    }
    print(&text)
}

fn heading(target: &Target, args: &ReportArgs, all: &Gain) -> String {
    let device = &target.device;
    format!(
        "{}, {}, {} thread, batch {}: {} against {} on {} kernels, median {:.2}x;\nslower on {:.0} % of them",
        device.device,
        device.runtime,
        device.threads,
        device.batch,
        args.format,
        args.against,
        all.kernels,
        all.median,
        100.0 * all.slower
    )
}

fn cells(gain: &Gain) -> Vec<String> {
    vec![
        gain.kernels.to_string(),
        format!("{:.2}x", gain.median),
        format!("{:.2}x", gain.p10),
        format!("{:.2}x", gain.p90),
        format!("{:.0}%", 100.0 * gain.slower),
    ]
}

fn by_operator(gains: &Gains) -> String {
    let rows: Vec<Vec<String>> =
        gains.parts.iter().map(|(part, gain)| [vec![part.name.clone()], cells(gain)].concat()).collect();
    markdown_table(&["operator", "kernels", "median", "p10", "p90", "slower"], &rows)
}

/// A row for each operator and width that has cells: median gains by the map's side.
fn heat_rows(gains: &Gains) -> Vec<HeatRow> {
    let mut rows: Vec<HeatRow> = Vec::new();
    let mut keys: Vec<(&Part, usize)> = gains.cells.keys().map(|(part, width, _)| (part, *width)).collect();
    keys.dedup();
    for (part, width) in keys {
        let cell = |side| gains.cells.get(&(part.clone(), width, side)).map(|gain| gain.median);
        let name = format!("{}, {}", part.name, class_name(width, &WIDTHS));
        rows.push((name, (0..=SIDES.len()).map(cell).collect()));
    }
    rows
}

fn by_width(gains: &Gains) -> String {
    let header: Vec<String> = (0..=SIDES.len()).map(|at| class_name(at, &SIDES)).collect();
    let header: Vec<&str> = std::iter::once("operator, channels").chain(header.iter().map(String::as_str)).collect();
    let cell = |gain: &Option<f64>| gain.map_or(String::new(), |gain| format!("{gain:.2}x"));
    let rows = heat_rows(gains);
    let rows: Vec<Vec<String>> =
        rows.iter().map(|(name, cells)| [vec![name.clone()], cells.iter().map(cell).collect()].concat()).collect();
    markdown_table(&header, &rows)
}

/// Names what the format makes slower.
fn verdict(gains: &Gains, format: Format) -> String {
    let named: Vec<String> = gains
        .parts
        .iter()
        .filter(|(_, gain)| gain.median < 1.0)
        .map(|(part, gain)| format!("- {} ({:.2}x)", part.name, gain.median))
        .collect();
    match named.len() {
        0 => format!("No operator is slower in {format} here."),
        _ => format!("Quantization-unfriendly here, slower in {format}:\n\n{}", named.join("\n")),
    }
}
