//! `bitfront sensitivity`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tch::Tensor;

use super::Common;
use super::common::print;
use super::network_choice::NetworkChoice;
use super::ready::weights_of;
use crate::atomic::write_atomically;
use crate::engine::calibration_images;
use crate::error::{Error, Result};
use crate::formats::{Format, QuantSpec};
use crate::network::Network;
use crate::progress::Progress;
use crate::ptq::{Calibrated, Clips, Prober, in_float};
use crate::report::markdown_table;

/// Measure how much each layer of a trained network suffers in each format.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  bitfront sensitivity --model resnet20 --weights resnet20.safetensors --data cifar10:DIR --formats int4,int8,fp4,fp8 --csv s.csv")]
pub struct SensitivityArgs {
    /// Which network.
    #[command(flatten)]
    pub network: NetworkChoice,
    /// Trained weights in float: safetensors, or a torch file of either kind
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// Formats to try
    #[arg(long, value_delimiter = ',', value_name = "FORMATS", default_value = "int2,int4,int8,fp4,fp8")]
    pub formats: Vec<Format>,
    /// Training images to measure on; their labels are not read
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub calibration: usize,
    /// Also write the numbers as CSV
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
}

/// One measurement: all of the network in float but this.
#[derive(Clone, Debug, Serialize)]
struct Row {
    layer: String,
    /// `weights`, or `activations`: what the layer reads and what else its format decides.
    tensor: &'static str,
    format: Format,
    /// Signal to noise of the logits.
    sqnr_db: f64,
    /// Divergence of the predicted classes from the float network's, in nats.
    divergence: f64,
}

/// Measures and prints.
///
/// # Errors
/// A file that cannot be read, written or does not fit.
pub fn run(args: &SensitivityArgs, common: &Common) -> Result<()> {
    if args.network.format.is_some() {
        return Err(Error::bad_value("--format", "given", "has no effect here: --formats lists those to try"));
    }
    let session = common.session(common.thread_count()?, None)?;
    let float = in_float(&args.network.network()?);
    let weights = weights_of(&args.weights, false, &float, &session, common)?;
    let batches = calibration_images(&args.network.data, &float, args.calibration, session.device, None)?;
    let images: Vec<&Tensor> = batches.iter().map(|(x, _)| x).collect();
    let calibrated = Calibrated::new(&float, &weights, &images, Clips::default());
    let prober = Prober::new(&calibrated, &float, &images);
    let layers = float.weighted();
    let total = layers.len() * args.formats.len() * 2;
    session.say(&format!("cost: {total} measurements on {} images", args.calibration));
    let progress = Progress::new("sensitivity", total as u64, session.quiet);
    let mut rows = Vec::with_capacity(total);
    for (rank, &index) in layers.iter().enumerate() {
        for (tensor, weight) in [("weights", true), ("activations", false)] {
            for &format in &args.formats {
                session.check_interrupt("nothing was written")?;
                let distance = prober.distance(&with(&float, rank, format, weight));
                let (sqnr_db, divergence) = (distance.sqnr_db, distance.divergence);
                rows.push(Row { layer: float.layers[index].name.clone(), tensor, format, sqnr_db, divergence });
                progress.step(1);
            }
        }
    }
    progress.finish();
    if let Some(path) = &args.csv {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("cannot write a CSV row: {error}"));
        rows.iter().try_for_each(|row| writer.serialize(row)).map_err(|error| failed(&error))?;
        let bytes = writer.into_inner().map_err(|error| failed(&error))?;
        write_atomically(path, |out| out.write_all(&bytes))?;
    }
    if common.json {
        return print(&serde_json::json!({ "rows": rows }).to_string());
    }
    let table = |tensor: &str| {
        let header: Vec<String> =
            [tensor.to_owned()].into_iter().chain(args.formats.iter().map(|format| short(*format))).collect();
        let lines = layers.iter().map(|&index| {
            let name = &float.layers[index].name;
            let own = rows.iter().filter(|row| row.tensor == tensor && row.layer == *name);
            [name.clone()].into_iter().chain(own.map(|row| decibels(row.sqnr_db))).collect()
        });
        markdown_table(&header.iter().map(String::as_str).collect::<Vec<_>>(), &lines.collect::<Vec<Vec<String>>>())
    };
    print(&format!(
        "Signal to noise of the logits in dB, all else in float (lower: more sensitive)\n\n{}\n{}",
        table("weights"),
        table("activations")
    ))
}

/// A cell; empty where the layer decides no tensor of its own, so that nothing changed.
fn decibels(sqnr_db: f64) -> String {
    if sqnr_db.is_finite() { format!("{sqnr_db:.1}") } else { String::new() }
}

/// The format's shortest name.
fn short(format: Format) -> String {
    let names = format.aliases().iter().copied().chain([format.name()]);
    names.min_by_key(|name| name.len()).unwrap_or_default().to_owned()
}

/// The float network with one layer's weights, or the activations that it decides, in a format.
fn with(float: &Network, rank: usize, format: Format, weight: bool) -> Network {
    let (mut weights, mut activations) = float.assigned();
    if weight {
        weights[rank] = QuantSpec::per_channel(format);
    } else {
        activations[rank] = QuantSpec::per_tensor(format);
    }
    let mut network = float.clone();
    network.assign(&weights, &activations);
    network
}
