//! `bitfront export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::Common;
use super::common::print;
use super::network_choice::NetworkChoice;
use super::ready::ReadyArgs;
use crate::atomic::write_atomically;
use crate::data::Loader;
use crate::engine::Pick;
use crate::engine::RunDirectory;
use crate::engine::Session;
use crate::engine::picked;
use crate::engine::test_images;
use crate::error::{Error, Result};
use crate::export::Verification;
use crate::export::onnx_file;
use crate::export::verify;
use crate::models::Folded;
use crate::onnx::EXACT_OPTION;
use crate::onnx::Runtime;

/// Kinds of files.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Target {
    /// ONNX with quantized weights and QuantizeLinear, DequantizeLinear pairs.
    Onnx,
}

/// Write a network as an ONNX file and prove that it runs.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  bitfront export runs/resnet8_fashion-1 --pick knee --to onnx --out net.onnx
  bitfront export --model resnet20 --weights resnet20.safetensors --data cifar10:DIR --format int8 --out net.onnx")]
pub struct ExportArgs {
    /// A finished run's folder
    #[arg(value_name = "RUN", conflicts_with_all = ["model", "config", "format", "data", "weights", "mean", "std"])]
    pub run: Option<PathBuf>,
    /// Which member of the run's front: an id, knee, or best:COST<=LIMIT
    #[arg(long, default_value = "knee", value_name = "PICK")]
    pub pick: Pick,
    /// Kind of the file that --out names
    #[arg(long, value_enum, default_value = "onnx")]
    pub to: Target,
    /// Write the file without running it
    #[arg(long)]
    pub no_verify: bool,
    /// Points of top-1 by which the file may differ from our evaluation
    #[arg(long, value_name = "POINTS", default_value_t = 0.1)]
    pub tolerance: f64,
    /// Which network, without a run.
    #[command(flatten)]
    pub network: NetworkChoice,
    /// Its weights, and how it is made ready.
    #[command(flatten)]
    pub ready: ReadyArgs,
}

/// Writes the file, runs it, prints what that showed.
///
/// # Errors
/// A network that cannot be written; a file that does not compute what was promised (exit 4).
pub fn run(args: &ExportArgs, common: &Common) -> Result<()> {
    if !(0.0..=100.0).contains(&args.tolerance) {
        return Err(Error::bad_value("--tolerance", args.tolerance, "must be from 0 to 100 points"));
    }
    let Target::Onnx = args.to;
    let path = common.out.as_ref().ok_or_else(|| Error::bad_value("--out", "", "name the file to write"))?;
    if path.exists() && !common.force {
        return Err(Error::bad_value("--out", path.display(), "exists already; --force replaces it"));
    }
    let session = common.session(common.thread_count()?, None)?;
    let (ready, test) = source(args, &session, common)?;
    let facts = [("tool".to_owned(), format!("bitfront {}", env!("CARGO_PKG_VERSION")))];
    let file = onnx_file(&ready.stored(), &facts)?;
    write_atomically(path, |out| std::io::Write::write_all(out, &file.bytes))?;
    let size = file.bytes.len() as f64 / 1e6;
    let written = format!("{}: {size:.4} MB", path.display());
    if args.no_verify {
        return report(args, common, &format!("{written}, verified: no"), None);
    }
    let runtime = match Runtime::load() {
        Ok(runtime) => runtime,
        Err(error) => {
            session.say(&error.to_string());
            return report(args, common, &format!("{written}, verified: no"), None);
        }
    };
    let stop = || session.check_interrupt("the file is written but not verified");
    let shown = verify(&runtime, &file, &ready, &test, session.quiet, &stop)?;
    let off = (shown.top1 - shown.file_top1).abs();
    if off > args.tolerance {
        report(args, common, &format!("{written}, verified: no\n{}", table(&shown)), Some(&shown))?;
        let cause = match shown.exact_top1 {
            Some(exact) => format!(
                ". This CPU has no VNNI: the default integer kernels saturate on it; session option {EXACT_OPTION}=1 \
                 gives {exact:.2} %"
            ),
            None => String::new(),
        };
        return Err(Error::Unverified(format!(
            "top-1 in ONNX Runtime is {off:.2} points from ours; --tolerance allows {}{cause}",
            args.tolerance
        )));
    }
    report(args, common, &format!("{written}, verified: yes\n{}", table(&shown)), Some(&shown))
}

/// The network ready to run, and its test images.
fn source(args: &ExportArgs, session: &Session, common: &Common) -> Result<(Folded, Loader)> {
    if let Some(run) = &args.run {
        let picked = picked(&RunDirectory::open(run)?, &args.pick, session)?;
        return Ok((picked.ready, picked.test));
    }
    let network = args.network.network()?;
    let ready = args.ready.ready(&network, &args.network.data, session, common)?;
    let test = test_images(&args.network.data, &network, session.device)?;
    Ok((ready, test))
}

fn report(args: &ExportArgs, common: &Common, text: &str, shown: Option<&Verification>) -> Result<()> {
    if common.json {
        let verified = shown.is_some_and(|v| (v.top1 - v.file_top1).abs() <= args.tolerance);
        return print(&json!({ "file": common.out, "verified": verified, "verification": shown }).to_string());
    }
    print(text)
}

fn table(v: &Verification) -> String {
    let quantized = match (v.quantized_ms, v.spread_ms) {
        (Some(time), Some(spread)) => {
            format!("{time:.3} ms +- {spread:.3}, {:.2}x faster than float32", v.float_ms / time)
        }
        _ => "simulated: the file imitates a format in float32".to_owned(),
    };
    let exact = v.exact_top1.map_or(String::new(), |top1| format!("\n  top-1, exact kernels {top1:.2} %"));
    format!(
        "  images               {}\n  top-1, ours          {:.2} %\n  top-1, ONNX Runtime  {:.2} %{exact}\n  \
         same class           {:.2} %\n  max |logit diff|     {:.2e}\n  float32, 1 thread    {:.3} ms\n  \
         quantized, 1 thread  {quantized}\n  integer kernels      {} of {} layers",
        v.n, v.top1, v.file_top1, v.agreement, v.max_logit_difference, v.float_ms, v.fused, v.layers
    )
}
