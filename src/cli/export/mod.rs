//! `bitfront export`.

mod onnx;
pub(super) mod packed;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Common;
use super::network_choice::NetworkChoice;
use super::ready::ReadyArgs;
use crate::data::Loader;
use crate::engine::Pick;
use crate::engine::RunDirectory;
use crate::engine::Session;
use crate::engine::picked;
use crate::engine::test_images;
use crate::error::{Error, Result};
use crate::export::Profile;
use crate::export::TOOL;
use crate::models::Folded;
use crate::space::NetworkFile;

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// ONNX with quantized weights and QuantizeLinear, DequantizeLinear pairs
    Onnx,
    /// Formats, scales, costs and origin in RON; the packed weights beside it
    Ron,
    /// The same in JSON
    Json,
    /// Codes, scales and biases alone, in as few bits as they take
    Safetensors,
}

/// Write a network as a file (ONNX, RON, JSON, safetensors) and prove that it runs.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  bitfront export runs/resnet8_fashion-1 --pick knee --to onnx --out net.onnx
  bitfront export runs/resnet8_fashion-1 --pick 'best:gbops<=0.1' --to ron --out net.ron    # and net.safetensors
  bitfront eval --config net.ron                                                            # the same accuracy
  bitfront export --config net.ron --to onnx --out net.onnx
  bitfront export --model resnet20 --weights resnet20.safetensors --data cifar10:DIR --format int8 --out net.onnx")]
pub struct ExportArgs {
    /// A finished run's folder
    #[arg(value_name = "RUN", conflicts_with_all = ["model", "config", "format", "data", "weights", "mean", "std",
        "classes", "allow_missing", "calibration", "reestimate"])]
    pub run: Option<PathBuf>,
    /// Which member of the run's front: an id, knee, or best:COST<=LIMIT [default: knee]
    #[arg(long, value_name = "PICK")]
    pub pick: Option<Pick>,
    /// Kind of the file that --out names
    #[arg(long, value_enum, default_value = "onnx")]
    pub to: Target,
    /// Runtime that must accept an ONNX file: onnxruntime-cpu, tensorrt or openvino
    #[arg(long, default_value = "onnxruntime-cpu", value_name = "RUNTIME")]
    pub profile: Profile,
    /// Store integer weights around 128: exact with default options on x86 CPUs without VNNI, but slower
    #[arg(long)]
    pub unsigned_weights: bool,
    /// Write the file without running it
    #[arg(long)]
    pub no_verify: bool,
    /// Points of top-1 by which an ONNX file may differ from our evaluation
    #[arg(long, value_name = "POINTS", default_value_t = 0.1)]
    pub tolerance: f64,
    /// Which network, without a run.
    #[command(flatten)]
    pub network: NetworkChoice,
    /// Its weights, and how it is made ready.
    #[command(flatten)]
    pub ready: ReadyArgs,
}

/// A network to be written, and what is known of it.
pub(super) struct Subject {
    pub(super) ready: Folded,
    pub(super) described: NetworkFile,
    pub(super) test: Loader,
    pub(super) seed: u64,
    /// Id and test top-1 of a run's member.
    pub(super) member: Option<(usize, f64)>,
}

impl Subject {
    /// What every file's metadata says of where it comes from.
    fn origin(&self) -> [(String, String); 2] {
        [("tool".to_owned(), TOOL.to_owned()), ("seed".to_owned(), self.seed.to_string())]
    }

    /// Refuses a network that is no longer what its run measured.
    fn check_member(&self, top1: f64, tolerance: f64) -> Result<()> {
        match self.member {
            Some((id, found)) if (found - top1).abs() > tolerance => Err(Error::Unverified(format!(
                "#{id} has {top1:.2} % on the test images here, {found:.2} % when its run measured it: the run's weights \
                 have changed, or this machine computes otherwise"
            ))),
            _ => Ok(()),
        }
    }

    /// What the first line begins with: the member, if it is one.
    fn title(&self) -> String {
        self.member.map_or(String::new(), |(id, _)| format!("#{id} as "))
    }
}

/// Writes the file, runs it, prints what that showed.
///
/// # Errors
/// A network that cannot be written; a file that does not compute what was promised (exit 4).
pub fn run(args: &ExportArgs, common: &Common) -> Result<()> {
    if !(0.0..=100.0).contains(&args.tolerance) {
        return Err(Error::bad_value("--tolerance", args.tolerance, "must be from 0 to 100 points"));
    }
    let path = common.out.as_deref().ok_or_else(|| Error::missing_option("--out", "name the file to write"))?;
    let weights = (args.to != Target::Onnx).then(|| path.with_extension("safetensors"));
    refuse_existing([Some(path), weights.as_deref()].into_iter().flatten(), common)?;
    refuse_extension(args.to, path)?;
    if let (Some(pick), None) = (&args.pick, &args.run) {
        return Err(Error::bad_value("--pick", pick, "picks from a front: name a run's folder"));
    }
    if args.to != Target::Onnx {
        for (option, given) in
            [("--profile", args.profile != Profile::default()), ("--unsigned-weights", args.unsigned_weights)]
        {
            if given {
                return Err(Error::bad_value(option, "given", "is for --to onnx"));
            }
        }
    }
    let session = common.session(common.thread_count()?, None)?;
    let subject = subject(args, &session, common)?;
    match args.to {
        Target::Onnx => onnx::write(args, common, &session, &subject, path),
        Target::Ron | Target::Json | Target::Safetensors => packed::run(args, common, &session, &subject, path),
    }
}

/// Refuses to write over files unless `--force` says so.
pub(super) fn refuse_existing<'a>(mut paths: impl Iterator<Item = &'a Path>, common: &Common) -> Result<()> {
    match paths.find(|path| path.exists() && !common.force) {
        Some(path) => Err(Error::bad_value("--out", path.display(), "exists already; --force replaces it")),
        None => Ok(()),
    }
}

/// The description names the packed weights beside it, which end in `.safetensors`; readers tell the kinds by the ending.
pub(super) fn refuse_extension(to: Target, path: &Path) -> Result<()> {
    let own = match to {
        Target::Onnx => "onnx",
        Target::Ron => "ron",
        Target::Json => "json",
        Target::Safetensors => "safetensors",
    };
    let found = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let others = ["ron", "json", "safetensors"];
    if found == own || to == Target::Onnx && !others.contains(&found) {
        return Ok(());
    }
    let hint = format!("--to {own} writes a file that ends in .{own}; other kinds: --to onnx, ron, json, safetensors");
    Err(Error::bad_value("--out", path.display(), hint))
}

/// The network ready to run, and its test images.
fn subject(args: &ExportArgs, session: &Session, common: &Common) -> Result<Subject> {
    if let Some(run) = &args.run {
        let picked = picked(&RunDirectory::open(run)?, args.pick.as_ref().unwrap_or(&Pick::Knee), session)?;
        let (ready, described, test) = (picked.ready, picked.described, picked.test);
        return Ok(Subject { ready, described, test, seed: picked.seed, member: Some((picked.id, picked.test_top1)) });
    }
    let (described, ready) = args.ready.of(&args.network, session, common)?;
    let test = test_images(&args.network.data, &ready.stored().network, session.device)?;
    Ok(Subject { ready, described, test, seed: common.root(), member: None })
}
