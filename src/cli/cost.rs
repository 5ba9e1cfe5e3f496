//! `bitfront cost`: what a network costs, or what a space can reach.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};

use super::common::print;
use crate::cost::Convention;
use crate::cost::Costs;
use crate::cost::Hardware;
use crate::cost::LayerCost;
use crate::cost::Metric;
use crate::cost::Pricing;
use crate::cost::codes_mib;
use crate::cost::feasible_range;
use crate::cost::latency::Target;
use crate::error::Error;
use crate::error::Result;
use crate::formats::Format;
use crate::formats::QuantSpec;
use crate::network::ModelName;
use crate::network::ModelSpec;
use crate::network::Network;
use crate::network::build;
use crate::space::NetworkFile;
use crate::space::Space;
use crate::space::SpaceFile;

/// What a network costs: multiplications, bit operations, size, activation memory.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  bitfront cost --model resnet18 --format float4_e2m1fn --convention fliqs")]
pub struct CostArgs {
    /// Model to count
    #[arg(long, required_unless_present_any = ["space", "config"], conflicts_with_all = ["space", "config"])]
    pub model: Option<ModelName>,
    /// Search space (RON): the range of each cost and the cost of each uniform format
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub space: Option<PathBuf>,
    /// One network (RON), as a search writes to front/
    #[arg(long, value_name = "FILE", conflicts_with = "format")]
    pub config: Option<PathBuf>,
    /// Factor on all widths of --model
    #[arg(long, conflicts_with_all = ["space", "config"])]
    pub width: Option<f64>,
    /// Side of the input image of --model in pixels
    #[arg(long, value_name = "PIXELS", conflicts_with_all = ["space", "config"])]
    pub resolution: Option<usize>,
    /// Format of every layer's weights and activations, first and last included; float32 when not given
    #[arg(long)]
    pub format: Option<Format>,
    /// What is counted: the network as built, or the form FLIQS counts
    #[arg(long, value_enum, default_value_t)]
    pub convention: Convention,
    /// Latency table to predict the latency from
    #[arg(long, value_name = "DIR")]
    pub target: Option<PathBuf>,
    /// A row for each layer too
    #[arg(long)]
    pub layers: bool,
}

/// Prints the costs on stdout, as a table or as one JSON object.
///
/// # Errors
/// When a file or value is wrong, or stdout cannot be written.
pub fn run(args: &CostArgs, json: bool) -> Result<()> {
    let mut text = Vec::new();
    write(args, json, &mut text)?;
    print(String::from_utf8_lossy(&text).trim_end())
}

fn write(args: &CostArgs, json: bool, out: &mut impl Write) -> Result<()> {
    let target = args.target.as_deref().map(Target::load).transpose()?.map(Arc::new);
    let pricing = Pricing { convention: args.convention, target };
    let text = match (&args.space, args.format) {
        (Some(path), None) => {
            let space = Space::new(SpaceFile::load(path)?)?;
            pricing.latency(&space.network(&space.widest().0))?;
            if json { space_json(&space, &pricing).to_string() } else { space_table(&space, &pricing) }
        }
        _ => {
            let network = network(args)?;
            let network = args.convention.counted(&network);
            pricing.latency(&network)?;
            if json {
                network_json(&network, args, &pricing)?.to_string()
            } else {
                network_table(&network, args, &pricing)
            }
        }
    };
    writeln!(out, "{text}").map_err(|source| Error::io("stdout", source))
}

/// The one network the arguments name.
fn network(args: &CostArgs) -> Result<Network> {
    if let Some(path) = &args.config {
        return NetworkFile::load(path)?.to_network();
    }
    if let (Some(path), Some(format)) = (&args.space, args.format) {
        let space = Space::new(SpaceFile::load(path)?)?;
        let known = space.formats();
        let none = || Error::unknown_name("--format", format.name(), known.iter().map(|format| format.name()));
        return Ok(space.network(&space.uniform(format).ok_or_else(none)?));
    }
    let model = args.model.ok_or_else(|| Error::bad_value("--model", "", "give --model, --space or --config"))?;
    let width = args.width.unwrap_or(1.0);
    let mut network = build(&ModelSpec { width, resolution: args.resolution, ..ModelSpec::new(model) })?;
    let format = args.format.unwrap_or(Format::Float32);
    let count = network.weighted().len();
    network.assign(&vec![QuantSpec::per_channel(format); count], &vec![QuantSpec::per_tensor(format); count]);
    Ok(network)
}

fn network_json(network: &Network, args: &CostArgs, pricing: &Pricing) -> Result<Value> {
    let failed = |error: serde_json::Error| Error::Failed(error.to_string());
    let mut object = serde_json::to_value(pricing.costs(network)).map_err(failed)?;
    object["model"] = json!(network.model);
    object["codes_mib"] = json!(codes_mib(network));
    object["convention"] = json!(args.convention.to_string());
    object["hardware"] = serde_json::to_value(Hardware::of(network)).map_err(failed)?;
    if let Some(target) = &pricing.target {
        object["latency_estimated"] = json!(target.predict(network)?.estimated);
    }
    if args.layers {
        object["layers"] = serde_json::to_value(LayerCost::rows(network, args.convention)).map_err(failed)?;
    }
    Ok(object)
}

fn network_table(network: &Network, args: &CostArgs, pricing: &Pricing) -> String {
    let costs = pricing.costs(network);
    let mut table = table(&["cost", &network.model]);
    for metric in Metric::all() {
        if let Some(value) = metric.of(&costs) {
            table.add_row([metric.name().to_owned(), number(value)]);
        }
    }
    if let Some(prediction) = pricing.target.as_ref().and_then(|target| target.predict(network).ok()) {
        table.add_row(["latency_estimated".to_owned(), format!("{:.0} %", 100.0 * prediction.estimated)]);
    }
    table.add_row(["codes_mib".to_owned(), number(codes_mib(network))]);
    let Hardware { gates_over_int8, mac_area_um2, train_mcycles, train_kb } = Hardware::of(network);
    let analytic = [("gates_over_int8", gates_over_int8), ("mac_area_um2", mac_area_um2)];
    let training = [("train_mcycles", Some(train_mcycles)), ("train_kb", Some(train_kb))];
    for (name, value) in analytic.into_iter().chain(training).filter_map(|(name, value)| Some((name, value?))) {
        table.add_row([name.to_owned(), number(value)]);
    }
    if args.layers { format!("{}\n\n{table}", layer_table(network, args.convention)) } else { table.to_string() }
}

fn layer_table(network: &Network, convention: Convention) -> Table {
    let mut table = table(&["layer", "weights", "inputs", "mmacs", "gbops", "size_kb"]);
    for row in LayerCost::rows(network, convention) {
        let macs = number(row.macs as f64 / 1e6);
        let formats = [row.weight.name().to_owned(), row.activation.name().to_owned()];
        table.add_row(
            [vec![row.name], formats.into(), vec![macs, number(row.gbops), number(row.size_mb * 1e3)]].concat(),
        );
    }
    for column in 1..3 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Left);
        }
    }
    table
}

/// The limited costs that depend on formats.
fn ranged<'a>(space: &'a Space, pricing: &'a Pricing) -> impl Iterator<Item = (Metric, f64, f64)> + 'a {
    let by_format =
        [Metric::Gbops, Metric::SizeMb, Metric::ActMemKb, Metric::AvgWBits, Metric::AvgABits, Metric::LatencyMs];
    by_format
        .into_iter()
        .filter_map(move |metric| feasible_range(space, pricing, metric).map(|(low, high)| (metric, low, high)))
}

/// Each format that the whole space can take, with its costs.
fn uniform(space: &Space, pricing: &Pricing) -> Vec<(Format, Costs)> {
    let costs = |format| Some((format, pricing.costs(&space.network(&space.uniform(format)?))));
    space.formats().into_iter().filter_map(costs).collect()
}

fn space_json(space: &Space, pricing: &Pricing) -> Value {
    let ranges: Map<String, Value> =
        ranged(space, pricing).map(|(metric, low, high)| (metric.name().to_owned(), json!([low, high]))).collect();
    let uniform: Map<String, Value> =
        uniform(space, pricing).into_iter().map(|(format, costs)| (format.name().to_owned(), json!(costs))).collect();
    json!({
        "model": space.model_spec().model,
        "convention": pricing.convention.to_string(),
        "decisions": space.decisions().len(),
        "log10_networks": space.log10_count(),
        "ranges": ranges,
        "uniform": uniform,
    })
}

fn space_table(space: &Space, pricing: &Pricing) -> String {
    let mut ranges = table(&["cost", "least", "most"]);
    for (metric, low, high) in ranged(space, pricing) {
        ranges.add_row([metric.name().to_owned(), number(low), number(high)]);
    }
    let latency = pricing.target.as_ref().map(|_| "latency_ms");
    let header: Vec<&str> = ["uniform", "gbops", "size_mb", "act_mem_kb"].into_iter().chain(latency).collect();
    let mut formats = table(&header);
    for (format, costs) in uniform(space, pricing) {
        let row = [number(costs.gbops), number(costs.size_mb), number(costs.act_mem_kb)];
        let latency: Vec<String> = costs.latency_ms.map(number).into_iter().collect();
        formats.add_row([vec![format.name().to_owned()], row.into(), latency].concat());
    }
    let count = format!(
        "{}: {} decisions, 10^{:.1} networks",
        space.model_spec().model,
        space.decisions().len(),
        space.log10_count()
    );
    format!("{count}\n\n{ranges}\n\n{formats}")
}

/// An empty table without lines; all columns but the first are flush right.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.to_vec());
    for (place, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if place > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Four significant digits, or all of a whole number.
fn number(value: f64) -> String {
    if value.fract().abs() < 1e-9 && value.abs() < 1e15 {
        return format!("{value:.0}");
    }
    let before = value.abs().log10().floor() as i32 + 1;
    format!("{value:.0$}", usize::try_from(4 - before).unwrap_or(0).min(9))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        cost: CostArgs,
    }

    /// What a command line prints.
    fn printed(line: &str, json: bool) -> Result<String> {
        let args = Line::try_parse_from(std::iter::once("cost").chain(line.split_whitespace())).unwrap().cost;
        let mut out = Vec::new();
        write(&args, json, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn object(line: &str) -> Value {
        serde_json::from_str(&printed(line, true).unwrap()).unwrap()
    }

    #[test]
    fn numbers_keep_four_digits() {
        let shown = [0.012_345, 1.234_56, 123.456, 12_345.6, 1_814_073_344.0].map(number);
        assert_eq!(shown, ["0.01235", "1.235", "123.5", "12346", "1814073344"]);
    }

    #[test]
    fn json_has_the_designs_keys() {
        let costs = object("--model resnet18 --format int8");
        assert_eq!(costs["params"], 11_689_512);
        assert!((costs["gbops"].as_f64().unwrap() - 116.1).abs() < 0.01);
        for key in ["macs", "size_mb", "act_mem_kb", "latency_ms"] {
            assert!(costs.get(key).is_some(), "{key}");
        }
        let layers = object("--model resnet18 --convention fliqs --layers");
        assert_eq!(layers["layers"].as_array().unwrap().len(), 22);
    }

    #[test]
    fn tables_fit_in_eighty_columns() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/search_spaces");
        for line in [
            "--model resnet50 --layers --format float8_e4m3fn".to_owned(),
            "--model resnet20".to_owned(),
            format!("--space {folder}/resnet18_imagenet.ron"),
            format!("--space {folder}/resnet8_fashion.ron --format int4 --layers"),
        ] {
            let text = printed(&line, false).unwrap();
            let widest = text.lines().map(|row| row.trim_end().chars().count()).max().unwrap();
            assert!(widest <= 80, "{widest} columns:\n{text}");
            assert!(text.contains("gbops"));
        }
    }

    #[test]
    fn a_spaces_ranges_enclose_its_uniform_networks() {
        let space = object(concat!("--space ", env!("CARGO_MANIFEST_DIR"), "/search_spaces/resnet8_fashion.ron"));
        let range = |end: usize| space["ranges"]["gbops"][end].as_f64().unwrap();
        for costs in space["uniform"].as_object().unwrap().values() {
            let gbops = costs["gbops"].as_f64().unwrap();
            assert!(range(0) <= gbops && gbops <= range(1));
        }
        assert_eq!(space["uniform"].as_object().unwrap().len(), 8);
    }

    #[test]
    fn a_format_outside_the_space_is_refused() {
        let line = concat!("--format int7 --space ", env!("CARGO_MANIFEST_DIR"), "/search_spaces/resnet8_fashion.ron");
        assert!(printed(line, true).unwrap_err().to_string().contains("--format `int7`"));
    }
}
