//! Proof that a file computes what was promised: the same images through it and through our own evaluation.

use std::collections::BTreeMap;

use serde::Serialize;
use tch::Tensor;

use super::OnnxFile;
use super::Profile;
use super::onnx_file;
use crate::data::Loader;
use crate::error::{Error, Result};
use crate::models::Folded;
use crate::network::{LayerSpec, Op};
use crate::onnx::Runtime;
use crate::onnx::Session;
use crate::onnx::kernels_saturate;
use crate::progress::Progress;
use crate::stats::{median, quantile};

/// Images timed, and images before them that are not.
const TIMED: usize = 400;
const WARM: usize = 50;
/// Rounds in which float32 and quantized take turns.
const ROUNDS: usize = 5;

/// What running the file showed.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Images.
    pub n: usize,
    /// Top-1 of our evaluation, in percent.
    pub top1: f64,
    /// Top-1 of the file.
    pub file_top1: f64,
    /// Top-1 of the file with kernels that do not saturate, where the default ones do on this CPU.
    pub exact_top1: Option<f64>,
    /// Images on which both choose the same class, in percent.
    pub agreement: f64,
    /// Largest difference of a logit.
    pub max_logit_difference: f64,
    /// Median time of an image in the float32 network, in milliseconds, one thread.
    pub float_ms: f64,
    /// The same for the file; `None` where `untimed` says why.
    pub quantized_ms: Option<f64>,
    /// Half the distance of the quartiles of the quantized times, in milliseconds.
    pub spread_ms: Option<f64>,
    /// Why the file is not timed, if it is not.
    pub untimed: Option<&'static str>,
    /// Convolutions, fully connected layers, adds and padded shortcuts that became integer kernels.
    pub fused: usize,
    /// All of them.
    pub layers: usize,
}

/// Operators of ONNX Runtime that compute in integers.
const INTEGER_KERNELS: [&str; 6] =
    ["QLinearConv", "QLinearAdd", "QGemm", "QLinearMatMul", "ConvInteger", "MatMulInteger"];

/// Runs `file` and `ready` over all images of `loader` and times the file against the same network in float32.
///
/// # Errors
/// ONNX Runtime refuses the file or computes something that is no number; a batch cannot be read; an interrupt, told
/// by `stop`.
pub fn verify(
    runtime: &Runtime,
    file: &OnnxFile,
    ready: &Folded,
    loader: &Loader,
    quiet: bool,
    stop: &dyn Fn() -> Result<()>,
) -> Result<Verification> {
    let stored = ready.stored();
    let network = &stored.network;
    let shape = [network.input.c, network.input.h, network.input.w];
    let bytes = file.bytes();
    let open = if file.is_foreign() { Runtime::plain_session } else { Runtime::session };
    let mut quantized = open(runtime, &bytes, shape, 1)?;
    let mut float =
        runtime.session(&onnx_file(&stored.in_float32(), Profile::OnnxruntimeCpu, false, &[])?.bytes(), shape, 1)?;
    let operators = if file.is_foreign() { BTreeMap::new() } else { runtime.operators(&bytes)? };
    let fused = INTEGER_KERNELS.iter().filter_map(|kernel| operators.get(*kernel)).sum();
    let saturates = fused > 0 && file.has_signed_weights() && kernels_saturate();
    let mut exact = saturates.then(|| runtime.exact_session(&bytes, shape, 1)).transpose()?;
    let progress = Progress::new("verify", loader.steps() as u64, quiet);
    let (mut tally, mut timed) = (Tally::default(), Vec::new());
    for batch in loader.epoch(0, 0) {
        stop()?;
        let (x, y) = batch?;
        let images = floats(&x);
        let (ours, theirs) = (floats(&ready.logits(&x)), quantized.logits(&images)?);
        if theirs.len() != ours.len() || theirs.iter().any(|logit| !logit.is_finite()) {
            let got = format!("{} logits where {} finite ones were expected", theirs.len(), ours.len());
            return Err(Error::Unverified(format!("ONNX Runtime gives {got}")));
        }
        let unsaturated = exact.as_mut().map(|exact| exact.logits(&images)).transpose()?;
        let labels = Vec::<i64>::try_from(&y).unwrap_or_default();
        tally.add(&labels, &ours, &theirs, unsaturated.as_deref().unwrap_or(&theirs));
        if timed.is_empty() {
            timed = images;
        }
        progress.step(1);
    }
    progress.finish();
    let (float_times, times) = alternated(&mut float, &mut quantized, &timed, stop)?;
    let kinds = |layer: &&LayerSpec| layer.weight.is_some() || matches!(layer.op, Op::Add | Op::PadShortcut { .. });
    let percent = |count: usize| 100.0 * count as f64 / tally.n.max(1) as f64;
    Ok(Verification {
        n: tally.n,
        top1: percent(tally.right),
        file_top1: percent(tally.file_right),
        exact_top1: exact.map(|_| percent(tally.exact_right)),
        agreement: percent(tally.same),
        max_logit_difference: tally.difference,
        float_ms: median(&float_times).unwrap_or_default(),
        quantized_ms: median(&times).filter(|_| file.untimed().is_none()),
        spread_ms: half_spread(&times).filter(|_| file.untimed().is_none()),
        untimed: file.untimed(),
        fused,
        layers: network.layers.iter().filter(kinds).count(),
    })
}

/// Counts over the images so far.
#[derive(Debug, Default)]
struct Tally {
    n: usize,
    right: usize,
    file_right: usize,
    exact_right: usize,
    same: usize,
    difference: f64,
}

impl Tally {
    /// Adds a batch: labels, then logits of ours, of the file, and of the file with kernels that do not saturate.
    fn add(&mut self, labels: &[i64], ours: &[f32], theirs: &[f32], exact: &[f32]) {
        let classes = ours.len() / labels.len().max(1);
        let rows = ours.chunks(classes).zip(theirs.chunks(classes)).zip(exact.chunks(classes));
        for (((ours, theirs), exact), &label) in rows.zip(labels) {
            let (a, b, c) = (largest(ours), largest(theirs), largest(exact));
            self.n += 1;
            self.right += usize::from(a as i64 == label);
            self.file_right += usize::from(b as i64 == label);
            self.exact_right += usize::from(c as i64 == label);
            self.same += usize::from(a == b);
            let gap = ours.iter().zip(theirs).map(|(a, b)| f64::from((a - b).abs()));
            self.difference = gap.fold(self.difference, f64::max);
        }
    }
}

/// Times of both sessions, in turn, in milliseconds.
fn alternated(
    float: &mut Session,
    quantized: &mut Session,
    images: &[f32],
    stop: &dyn Fn() -> Result<()>,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut float_times, mut times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        stop()?;
        float_times.extend(milliseconds(&float.times(images, WARM, TIMED / ROUNDS)?));
        times.extend(milliseconds(&quantized.times(images, WARM, TIMED / ROUNDS)?));
    }
    Ok((float_times, times))
}

/// Half the distance of the quartiles.
fn half_spread(times: &[f64]) -> Option<f64> {
    Some((quantile(times, 0.75)? - quantile(times, 0.25)?) / 2.0)
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.to_device(tch::Device::Cpu).contiguous().view([-1])).unwrap_or_default()
}

fn largest(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, at| if logits[at] > logits[best] { at } else { best })
}

fn milliseconds(times: &[std::time::Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1e3).collect()
}
