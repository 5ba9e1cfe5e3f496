//! `bitfront latency import`: a table from a CSV of times measured elsewhere.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::Common;
use crate::cli::common::print;
use crate::cli::profile::{command, table_folder, write};
use crate::cost::latency::{Columns, Device, KernelOp, Kind, Overhead, Table, Target, import};
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::network::Act;

/// Units of a foreign table's times.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
}

/// Make a table from a CSV of times measured elsewhere, a row a shape.
#[derive(Args, Debug)]
#[command(after_help = "Example (columns type,batch,cin,h,w,cout,k,stride,elt_fused,fp32_ms,fp16_ms,int8_ms):
  bitfront latency import v100.csv --name V100 --runtime TensorRT --kind gpu --unit ms \\
      --column op=type --column c_in=cin --column c_out=cout --column kernel=k \\
      --time float32=fp32_ms --time float16=fp16_ms --time int8=int8_ms \\
      --op Regular=conv --op Depthwise=depthwise --keep elt_fused=0 --keep batch=1 \\
      --not-counted add,max_pool,global_avg_pool,pad_shortcut,linear,transition --out latency_tables/v100")]
pub struct ImportArgs {
    /// The file
    #[arg(value_name = "CSV")]
    pub csv: PathBuf,
    /// Name of the device
    #[arg(long)]
    pub name: String,
    /// Runtime and version
    #[arg(long, default_value = "not said")]
    pub runtime: String,
    /// cpu or gpu
    #[arg(long, default_value = "cpu", value_parser = ["cpu", "gpu"])]
    pub kind: String,
    /// Unit of the times
    #[arg(long, value_enum)]
    pub unit: Unit,
    /// What a column of theirs is in ours: op, c_in, c_out, h, w, kernel, stride, groups, act or batch
    #[arg(long, value_name = "OURS=THEIRS")]
    pub column: Vec<String>,
    /// The column with the times in a format; empty fields were not measured
    #[arg(long, value_name = "FORMAT=COLUMN", required = true)]
    pub time: Vec<String>,
    /// Their name of an operator: conv, depthwise, linear, add, ...
    #[arg(long, value_name = "THEIRS=OURS")]
    pub op: Vec<String>,
    /// Take only rows with this value in a column
    #[arg(long, value_name = "COLUMN=VALUE")]
    pub keep: Vec<String>,
    /// Activation of all rows, where no column says it [default: the times hold for every activation]
    #[arg(long)]
    pub act: Option<String>,
    /// Operators that were not measured and count as nothing
    #[arg(long, value_delimiter = ',', value_name = "OPS")]
    pub not_counted: Vec<String>,
    /// What a format that was not measured is computed in [default: int2 to int7 in int8, else float32]
    #[arg(long, value_name = "FORMAT=FORMAT")]
    pub falls_back: Vec<String>,
}

fn pair(option: &str, text: &str) -> Result<(String, String)> {
    let split = text.split_once('=').filter(|(left, right)| !left.is_empty() && !right.is_empty());
    let (left, right) = split.ok_or_else(|| Error::bad_value(option, text, "expected two names joined by ="))?;
    Ok((left.to_owned(), right.to_owned()))
}

fn pairs(option: &str, texts: &[String]) -> Result<Vec<(String, String)>> {
    texts.iter().map(|text| pair(option, text)).collect()
}

/// Our names of columns.
const OURS: [&str; 10] = ["op", "c_in", "c_out", "h", "w", "kernel", "stride", "groups", "act", "batch"];

/// Reads, maps and writes.
///
/// # Errors
/// A mapping that fits nothing, or a damaged file.
pub(super) fn run(args: &ImportArgs, common: &Common) -> Result<()> {
    let folder = table_folder(common)?;
    let names = pairs("--column", &args.column)?;
    if let Some((stray, _)) = names.iter().find(|(ours, _)| !OURS.contains(&ours.as_str())) {
        return Err(Error::unknown_name("--column", stray, OURS));
    }
    let times = formats("--time", &args.time)?;
    let unit_us = match args.unit {
        Unit::Ns => 1e-3,
        Unit::Us => 1.0,
        Unit::Ms => 1e3,
        Unit::S => 1e6,
    };
    let computes: Vec<Format> = times.iter().map(|(format, _)| *format).collect();
    if let Some(at) = (1..computes.len()).find(|&at| computes[..at].contains(&computes[at])) {
        return Err(Error::bad_value("--time", computes[at], "is given twice"));
    }
    let act = args.act.as_deref().map(Act::named).transpose()?;
    let (ops, keep) = (pairs("--op", &args.op)?, pairs("--keep", &args.keep)?);
    let columns = Columns { names: names.clone(), times, ops, keep, unit_us, act };
    let table = import(&args.csv, &columns)?;
    let any_act = act.is_none() && !names.iter().any(|(ours, _)| ours == "act");
    let device = device(args, &table, computes, any_act)?;
    if let Some(fault) = device.fault() {
        return Err(Error::bad_value("table", "", fault));
    }
    write(&folder, &device, &table.rows)?;
    let target = Target::load(&folder)?;
    if common.json {
        return print(&json!({ "table": folder, "kernels": table.rows.len(), "device": args.name }).to_string());
    }
    let uncounted: Vec<String> = target.device.not_counted.iter().map(ToString::to_string).collect();
    let note = if uncounted.is_empty() { String::new() } else { format!("; not counted: {}", uncounted.join(", ")) };
    print(&format!("{}: {} kernels of {}{note}", folder.display(), table.rows.len(), target.device.device))
}

/// `FORMAT=SOMETHING`.
fn formats(option: &str, texts: &[String]) -> Result<Vec<(Format, String)>> {
    pairs(option, texts)?.into_iter().map(|(format, rest)| Ok((format.parse()?, rest))).collect()
}

/// What the table says of its device.
fn device(args: &ImportArgs, table: &Table, computes: Vec<Format>, any_act: bool) -> Result<Device> {
    let mut falls_back = Device::usual_fallback(&computes);
    for (format, other) in formats("--falls-back", &args.falls_back)? {
        falls_back.insert(format, other.parse()?);
    }
    let not_counted = args.not_counted.iter().map(|op| op.parse()).collect::<Result<Vec<KernelOp>>>()?;
    if let Some(row) = table.rows.iter().find(|row| not_counted.contains(&row.kernel.op)) {
        return Err(Error::bad_value("--not-counted", row.kernel.op, "was measured: the file has times for it"));
    }
    Ok(Device {
        device: args.name.clone(),
        processor: String::new(),
        kind: if args.kind == "gpu" { Kind::Gpu } else { Kind::Cpu },
        runtime: args.runtime.clone(),
        threads: 1,
        batch: table.rows[0].batch,
        date: "not said".to_owned(),
        command: command(),
        computes,
        falls_back,
        kernels: table.rows.len(),
        not_counted,
        any_act,
        spaces: Vec::new(),
        left_out: 0,
        overhead: Overhead::default(),
    })
}
