//! Kernels and networks as ONNX models, and their times in ONNX Runtime.

use std::time::Duration;

use prost::Message;

use super::{Effort, Times, paired};
use crate::cost::latency::{Device, Kernel, KernelOp, Row, as_computed};
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::formats::QuantSpec;
use crate::network::{BEFORE, InContext, Network, Shape, in_context, passage};
use crate::onnx::{Dialect, Runtime, Session, model};
use crate::search::{Clock, WallClock};
use crate::seed::Seed;
use crate::stats::median;
use crate::stored::StoredNetwork;

/// The shortest time a table holds, in microseconds: less is within the noise of a difference.
const SHORTEST_US: f64 = 0.1;

/// The two networks whose difference is a kernel, in the formats that the device computes.
///
/// # Errors
/// Sizes that do not fit the operator.
pub fn kernel_networks(kernel: &Kernel, device: &Device) -> Result<InContext> {
    let wrong = |error: Error| Error::bad_value("kernel", kernel, error.to_string());
    let pair = match kernel.operator() {
        Some(op) => in_context(op, kernel.act, kernel.input(), kernel.c_out),
        None => passage(kernel.input()).map(|network| InContext { with: network.clone(), without: network }),
    };
    let InContext { mut with, mut without } = pair.map_err(wrong)?;
    let (own, float) = (kernel.a_format, Format::Float32);
    let before = usize::from(with.layers[0].name == BEFORE);
    let (formats, plain) = match kernel.op {
        // The layer behind the tensor decides its format. One with narrow weights and a float32 result reads it in float32.
        KernelOp::Transition => ([vec![own; before + usize::from(own != float)], vec![kernel.w_format]].concat(), own),
        // The kernel makes its queries, keys and values narrow itself.
        KernelOp::Attention => (vec![float, own], float),
        // All that follows is float32.
        KernelOp::ConvDequantized => ([vec![own; before + 1], vec![float]].concat(), own),
        _ => (vec![own], own),
    };
    in_format(&mut with, &formats);
    in_format(&mut without, &[plain]);
    Ok(InContext { with: as_computed(&with, device), without: as_computed(&without, device) })
}

/// Time of a kernel: that of the network with it less that of the one without.
///
/// # Errors
/// ONNX Runtime refuses a model or fails.
pub fn kernel_time(
    kernel: &Kernel,
    device: &Device,
    runtime: &Runtime,
    clock: &dyn Clock,
    effort: Effort,
) -> Result<Row> {
    let InContext { with, without } = kernel_networks(kernel, device)?;
    let (mut with, mut without) = (opened(runtime, &with)?, opened(runtime, &without)?);
    let [all, context] = paired(clock, effort, &mut || with.run(), &mut || without.run())?;
    Ok(row(kernel, &all, &context))
}

/// A table's row from the times with and without a kernel.
fn row(kernel: &Kernel, all: &Times, context: &Times) -> Row {
    let left = |us: f64| (us - context.median_us).max(SHORTEST_US);
    Row {
        kernel: *kernel,
        batch: 1,
        runs: all.runs,
        median_us: left(all.median_us),
        p10_us: left(all.p10_us),
        p90_us: left(all.p90_us),
        mad_us: all.mad_us + context.mad_us,
    }
}

/// Sets the formats of a network's layers; the last one given holds for all that follow.
fn in_format(network: &mut Network, formats: &[Format]) {
    let count = network.weighted().len();
    let format = |rank: usize| formats[rank.min(formats.len() - 1)];
    let weights: Vec<QuantSpec> = (0..count).map(|rank| QuantSpec::per_channel(format(rank))).collect();
    let activations: Vec<QuantSpec> = (0..count).map(|rank| QuantSpec::per_tensor(format(rank))).collect();
    network.assign(&weights, &activations);
}

/// A model with its image, ready to run.
struct Opened {
    session: Session,
    image: Vec<f32>,
}

impl Opened {
    /// Runs it once.
    ///
    /// # Errors
    /// ONNX Runtime fails.
    fn run(&mut self) -> Result<()> {
        self.session.logits(&self.image).map(drop)
    }
}

/// A network's model, filled with random numbers.
///
/// # Errors
/// A granularity that cannot be written.
pub(super) fn bytes(network: &Network) -> Result<Vec<u8>> {
    let stored = StoredNetwork::filled(network, Seed::new(0));
    Ok(model(&stored, Dialect::default(), &[])?.proto.encode_to_vec())
}

fn opened(runtime: &Runtime, network: &Network) -> Result<Opened> {
    let Shape { c, h, w } = network.input;
    let session = runtime.session(&bytes(network)?, [c, h, w], 1)?;
    // Half of the pixels are below zero.
    let image = (0..network.input.elements()).map(|at| (at % 7) as f32 / 3.0 - 1.0).collect();
    Ok(Opened { session, image })
}

/// Median time of one image in milliseconds, on one thread.
///
/// # Errors
/// ONNX Runtime refuses the model or fails.
pub fn network_ms(
    runtime: &Runtime,
    network: &Network,
    device: &Device,
    clock: &dyn Clock,
    effort: Effort,
) -> Result<f64> {
    let mut opened = opened(runtime, &as_computed(network, device))?;
    let mut idle = || Ok(());
    let [times, _] = paired(clock, effort, &mut || opened.run(), &mut idle)?;
    Ok(times.median_us / 1e3)
}

/// Rounds in which networks take turns.
pub const NETWORK_ROUNDS: usize = 5;

/// Median times of some networks in milliseconds, each the median of five rounds through them all; `step` is told before each
/// measurement and may end it.
///
/// # Errors
/// ONNX Runtime refuses a model or fails; what `step` returns.
pub fn networks_ms(
    runtime: &Runtime,
    networks: &[Network],
    device: &Device,
    step: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<f64>> {
    let (clock, effort) = (WallClock::start(), Effort { least: Duration::from_millis(80), ..Effort::default() });
    let mut times = vec![Vec::new(); networks.len()];
    for _ in 0..NETWORK_ROUNDS {
        for (network, times) in networks.iter().zip(&mut times) {
            step()?;
            times.push(network_ms(runtime, network, device, &clock, effort)?);
        }
    }
    Ok(times.iter().map(|times| median(times).unwrap_or_default()).collect())
}
