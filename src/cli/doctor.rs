//! `bitfront doctor`: versions, devices, threads, formats, and how to mend what is missing.

use clap::Args;
use serde_json::json;

use super::Common;
use super::common::print;
use crate::engine::device;
use crate::error::Result;
use crate::formats::Format;

/// Check the installation and say how to mend it.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  bitfront doctor")]
pub struct DoctorArgs {}

/// Prints what this installation has.
///
/// # Errors
/// A `--device` that is not there; stdout cannot be written.
pub fn run(_args: &DoctorArgs, common: &Common) -> Result<()> {
    device(&common.device)?;
    let cuda = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let folder = env!("BITFRONT_LIBTORCH");
    let threads = tch::get_num_threads();
    let fused = tch::utils::has_mkldnn();
    let formats: Vec<&str> = Format::all().iter().map(|format| format.name()).collect();
    if common.json {
        let found = json!({
            "version": env!("CARGO_PKG_VERSION"), "tch": env!("BITFRONT_TCH"), "libtorch": folder,
            "cuda_devices": cuda, "cores": cores, "libtorch_threads": threads, "onednn": fused, "formats": formats,
        });
        return print(&found.to_string());
    }
    let mut lines = vec![
        format!("bitfront   {}", env!("CARGO_PKG_VERSION")),
        format!("tch        {}", env!("BITFRONT_TCH")),
        format!("libtorch   {folder}"),
        format!("oneDNN     {}", if fused { "yes" } else { "no: convolutions will be slow" }),
        format!("threads    {cores} cores; libtorch would use {threads}"),
    ];
    lines.push(match cuda {
        0 => "devices    cpu (CUDA: set LIBTORCH or LIBTORCH_USE_PYTORCH=1 to a CUDA build of PyTorch, cargo build)"
            .into(),
        _ => format!("devices    cpu, cuda:0 to cuda:{}", cuda - 1),
    });
    lines.push("formats    trained and evaluated exactly here, computed in float32: `bitfront formats`".into());
    lines.push("           which runtimes compute in them: `bitfront formats show F`".into());
    print(&lines.join("\n"))
}
