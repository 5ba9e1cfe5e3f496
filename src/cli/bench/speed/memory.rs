//! Peak memory of training steps, each in a process of its own.

use std::process::Command;

use serde_json::json;

use super::{Found, SpeedArgs, Subject};
use crate::engine::Session;
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::network::ModelName;
use crate::progress::Progress;
use crate::report::markdown_table;
use crate::train::{Regime, Single};

/// What is measured: float32 first, the others are compared with it; last the steps of a supernet, a format each.
const MEASURED: [&str; 4] =
    ["float32", "int8", "float8_e4m3fn", "int2,int3,int4,float4_e2m1fn,int6,float6_e3m2fn,int8,float8_e4m3fn"];
/// Steps before memory is read.
const STEPS: usize = 16;

/// Measures.
///
/// # Errors
/// The process cannot start itself, or memory cannot be read.
pub(super) fn measured(args: &SpeedArgs, threads: usize, session: &Session) -> Result<Found> {
    let progress = Progress::new("memory", MEASURED.len() as u64, session.quiet);
    let mut found = Vec::new();
    for formats in MEASURED {
        session.check_interrupt("nothing is kept")?;
        found.push((formats, peak_in_child(formats, args.model, args.batch, threads)?));
        progress.step(1);
    }
    progress.finish();
    let float = found[0].1;
    let row = |(formats, megabytes): &(&str, f64)| {
        vec![formats.replace(',', ", "), format!("{megabytes:.0}"), format!("{:.2}", megabytes / float)]
    };
    let table = markdown_table(&["formats in turn", "MB", "of float32"], &found.iter().map(row).collect::<Vec<_>>());
    let text = format!(
        "## Memory\n\nPeak of a process that trains {} on {} images, less what it held before the first step.\n\n{table}",
        args.model, args.batch
    );
    Ok((text, json!(found)))
}

/// Peak memory of a fresh process that trains in these formats in turn, in 1e6 bytes.
///
/// # Errors
/// The process cannot start itself; it fails.
pub(super) fn peak_in_child(formats: &str, model: ModelName, batch: u32, threads: usize) -> Result<f64> {
    let failed = |what: String| Error::Failed(format!("cannot measure memory: {what}"));
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let (model, batch, threads) = (model.to_string(), batch.to_string(), threads.to_string());
    let given = ["--peak-of", formats, "--model", &model, "--batch", &batch, "--threads", &threads];
    // Every tensor in pages of its own, given back when it is freed: the peak is that of live tensors, not of what the
    // allocator keeps between them.
    let output = Command::new(program)
        .args(["bench", "speed"])
        .args(given)
        .env_remove("MALLOC_TRIM_THRESHOLD_")
        .env_remove("MALLOC_TOP_PAD_")
        .env("MALLOC_MMAP_THRESHOLD_", "65536")
        .output()
        .map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| failed(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Peak memory of this process while it trains in these formats in turn, less what it holds before, in 1e6 bytes.
///
/// # Errors
/// A step that fails; memory cannot be read.
pub(super) fn peak(args: &SpeedArgs, formats: &[Format]) -> Result<f64> {
    let subject = Subject::new(args.model, args.batch)?;
    let mut trainer = subject.trainer(false);
    let before = megabytes("VmRSS:")?;
    for step in 0..STEPS {
        let mut regime = Single(subject.network(formats[step % formats.len()]));
        regime.step(&mut trainer, &subject.batch.0, &subject.batch.1)?;
    }
    Ok(megabytes("VmHWM:")? - before)
}

/// A line of the kernel's account of this process, in 1e6 bytes.
fn megabytes(key: &str) -> Result<f64> {
    let path = "/proc/self/status";
    let status = std::fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
    let kib = status.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0 / 1e6)
        .ok_or_else(|| Error::bad_file(path, format!("no {key} line: memory is measured on Linux only")))
}
