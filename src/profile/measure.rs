//! Kernels and networks as ONNX models, and their times in ONNX Runtime.

use prost::Message;

use super::{Effort, Times, paired};
use crate::cost::latency::{Device, Kernel, KernelOp, Row, as_computed};
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::formats::QuantSpec;
use crate::network::{BEFORE, InContext, KERNEL, Network, Shape, in_context, passage};
use crate::onnx::{Dialect, Runtime, Session, model};
use crate::search::Clock;
use crate::seed::Seed;
use crate::stored::StoredNetwork;

/// The shortest time a table holds, in microseconds: less is within the noise of a difference.
const SHORTEST_US: f64 = 0.1;

/// The two models whose difference is a kernel.
#[derive(Clone, Debug)]
pub struct KernelModels {
    /// With the kernel.
    pub with: Network,
    /// Without it.
    pub without: Network,
}

impl KernelModels {
    /// The networks of a kernel in the formats that the device computes.
    ///
    /// # Errors
    /// Sizes that do not fit the operator.
    pub fn of(kernel: &Kernel, device: &Device) -> Result<Self> {
        let Self { with, without } = Self::in_formats(kernel)?;
        Ok(Self { with: as_computed(&with, device), without: as_computed(&without, device) })
    }

    fn in_formats(kernel: &Kernel) -> Result<Self> {
        let wrong = |error: Error| Error::bad_value("kernel", kernel, error.to_string());
        if let Some(op) = kernel.operator() {
            let InContext { mut with, mut without } =
                in_context(op, kernel.act, kernel.input(), kernel.c_out).map_err(wrong)?;
            in_format(&mut with, &[kernel.a_format]);
            in_format(&mut without, &[kernel.a_format]);
            if kernel.op == KernelOp::Attention {
                // The kernel makes its queries, keys and values narrow itself.
                in_format(&mut with, &[Format::Float32, kernel.a_format]);
                in_format(&mut without, &[Format::Float32]);
            }
            if kernel.op == KernelOp::ConvDequantized {
                // All that follows is float32.
                let narrow =
                    with.weighted().iter().position(|&index| with.layers[index].name == KERNEL).unwrap_or(0) + 1;
                in_format(&mut with, &[vec![kernel.a_format; narrow], vec![Format::Float32]].concat());
            }
            return Ok(Self { with, without });
        }
        let (mut with, mut without) =
            (passage(kernel.input()).map_err(wrong)?, passage(kernel.input()).map_err(wrong)?);
        // The layer behind the tensor decides its format. One with narrow weights and a float32 result reads it in float32.
        let made = usize::from(with.layers[0].name == BEFORE);
        let narrow = kernel.a_format != Format::Float32;
        let begin = vec![kernel.a_format; made + usize::from(narrow)];
        in_format(&mut with, &[begin.as_slice(), &[kernel.w_format]].concat());
        in_format(&mut without, &[kernel.a_format]);
        Ok(Self { with, without })
    }

    /// Time of the kernel: that of the network with it less that of the one without.
    ///
    /// # Errors
    /// ONNX Runtime refuses a model or fails.
    pub fn time(&self, kernel: &Kernel, runtime: &Runtime, clock: &dyn Clock, effort: Effort) -> Result<Row> {
        let (mut with, mut without) = (opened(runtime, &self.with)?, opened(runtime, &self.without)?);
        let [all, context] = paired(clock, effort, &mut || with.run(), &mut || without.run())?;
        Ok(row(kernel, &all, &context))
    }
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
pub struct Opened {
    session: Session,
    image: Vec<f32>,
}

impl Opened {
    /// Runs it once.
    ///
    /// # Errors
    /// ONNX Runtime fails.
    pub fn run(&mut self) -> Result<()> {
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

/// A network as a device computes it, ready to run.
///
/// # Errors
/// ONNX Runtime refuses the model.
pub fn network_session(runtime: &Runtime, network: &Network, device: &Device) -> Result<Opened> {
    opened(runtime, &as_computed(network, device))
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
    let mut opened = network_session(runtime, network, device)?;
    let mut idle = || Ok(());
    let [times, _] = paired(clock, effort, &mut || opened.run(), &mut idle)?;
    Ok(times.median_us / 1e3)
}
