//! `bitfront sensitivity`.

mod measure;
mod rows;
mod shown;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Common;
use super::common::print;
use super::network_choice::NetworkChoice;
use crate::atomic::write_atomically;
use crate::engine::{calibration_images, labelled_images};
use crate::error::{Error, Result};
use crate::formats::Format;
use measure::Subject;
use rows::Rows;
use shown::Figure;
pub(super) use shown::short;

/// Measure how much each layer of a trained network suffers in each format.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  bitfront sensitivity --model resnet20 --weights resnet20.safetensors --data cifar10:DIR --formats int4,int8,fp4,fp8 --csv s.csv
  bitfront sensitivity --model resnet20 --weights resnet20.safetensors --data cifar10:DIR --csv s.csv --show output --picture s.svg
The second measures only what s.csv does not hold yet. Columns of the file: sqnr_db (logits), divergence (nats from the float
network's classes), loss_change (cross entropy), output_sqnr_db (the layer's own output, measured), analytic_sqnr_db (the same
from histograms, by the closed forms of arXiv 2303.17951), fisher_trace (the layer's summed mean squared gradient).")]
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
    /// Training images to measure on
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub calibration: usize,
    /// Whose labels the loss takes: the float network's own, or those of the data
    #[arg(long, value_enum, default_value_t)]
    pub labels: Labels,
    /// Keep the numbers in this CSV file; rows that it holds of the same network, weights and images are not measured again
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Which figure the tables and the picture show
    #[arg(long, value_enum, default_value_t)]
    pub show: Figure,
    /// Also draw layers against formats to this SVG file
    #[arg(long, value_name = "FILE")]
    pub picture: Option<PathBuf>,
}

/// Whose labels the loss takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Labels {
    /// The class that the float network sees; for Fisher traces one drawn from its distribution.
    #[default]
    Own,
    /// The labels of the data.
    Data,
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
    let float = args.network.network()?.in_float();
    let (data, count, device) = (&args.network.data, args.calibration, session.device);
    let images = match args.labels {
        Labels::Own => calibration_images(data, &float, count, device, None)?,
        Labels::Data => labelled_images(data, &float, count, device)?,
    };
    let mut formats = args.formats.clone();
    let mut seen = Vec::new();
    formats.retain(|format| !seen.contains(format) && (seen.push(*format), true).1);
    let subject = Subject { args, float: &float, images: &images, formats: &formats };
    let id = subject.id(common.root())?;
    let mut rows = Rows::read(args.csv.as_deref(), id)?;
    let measured = subject.complete(&mut rows, &session, common);
    if let Some(path) = &args.csv {
        let bytes = rows.csv()?;
        write_atomically(path, |out| out.write_all(&bytes))?;
    }
    measured?;
    let own = rows.chosen(&float, &formats);
    if let Some(path) = &args.picture {
        let svg = shown::picture(&own, args.show, &formats, &float.model)?;
        write_atomically(path, |out| out.write_all(svg.as_bytes()))?;
    }
    if common.json {
        return print(&serde_json::json!({ "rows": own }).to_string());
    }
    print(&shown::tables(&own, args.show, &formats))
}
