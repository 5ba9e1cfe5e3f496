//! `bitfront report --network`: for each layer its format, what it loses, and what others would.

use std::path::Path;

use serde::Serialize;
use tch::Tensor;

use super::ReportArgs;
use super::text;
use crate::cli::Common;
use crate::cli::common::print;
use crate::cli::network_choice::NetworkChoice;
use crate::cli::ready::weights_of;
use crate::cost::{TrainingStep, half_dot_error};
use crate::engine::{Session, calibration_images};
use crate::error::{Error, Result};
use crate::formats::{QuantSpec, Split};
use crate::models::Folded;
use crate::network::Network;
use crate::progress::Progress;
use crate::ptq::{Calibrated, Clips, Measured, Reason};
use crate::ptq::{analytic_noise, carrier, output_noise};
use crate::stored::StoredNetwork;

/// A layer.
#[derive(Debug, Serialize)]
pub(super) struct LayerReport {
    pub layer: String,
    pub weights: Reason,
    /// Of what the layer reads.
    pub reads: Option<Reason>,
    /// Signal to noise of its output with both in their formats, rounded to the nearest: measured.
    pub output_sqnr_db: f64,
    /// The same by theory from histograms.
    pub analytic_sqnr_db: f64,
}

/// What fine-tuning on a microcontroller takes.
#[derive(Debug, Serialize)]
pub(super) struct OnDevice {
    pub memory_bytes: u64,
    /// A step that trains all layers.
    pub all: TrainingStep,
    /// One that trains as many of the last layers as fit.
    pub fitting: Option<TrainingStep>,
    /// The longest sum of a layer.
    pub longest_sum: usize,
    /// By how much sums of that length in binary16 are off, as a share of the sum of magnitudes: the worst seen.
    pub worst_half_sum: f64,
}

/// A width of the network's floats with its layouts by the scaling law, best first.
#[derive(Debug, Serialize)]
pub(super) struct Prior {
    pub bits: u32,
    pub layouts: Vec<String>,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct NetworkReport {
    pub network: String,
    pub model: String,
    pub images: usize,
    /// Whether the weights in float are known.
    pub float_weights: bool,
    pub layers: Vec<LayerReport>,
    pub prior: Vec<Prior>,
    pub on_device: OnDevice,
}

/// Measures and prints.
pub(super) fn run(path: &Path, args: &ReportArgs, common: &Common) -> Result<()> {
    let session = common.session(common.thread_count()?, None)?;
    let choice = NetworkChoice {
        model: None,
        config: Some(path.to_path_buf()),
        format: None,
        activations: None,
        ends: None,
        data: args.data.clone(),
        classes: None,
        mean: None,
        std: None,
    };
    let network = choice.network()?;
    let batches = calibration_images(&args.data, &network, args.calibration, session.device, None)?;
    let images: Vec<&Tensor> = batches.iter().map(|(x, _)| x).collect();
    let packed = choice.packed()?;
    let calibrated = calibrated(args, (&network, packed.as_ref()), &images, &session, common)?;
    let layers = layers(&calibrated, (&network, packed.as_ref()), args.weights.is_some(), &images, &session)?;
    let report = NetworkReport {
        network: path.display().to_string(),
        model: network.model.clone(),
        images: images.iter().map(|x| usize::try_from(x.size()[0]).unwrap_or_default()).sum(),
        float_weights: args.weights.is_some(),
        prior: prior(&layers),
        layers,
        on_device: on_device(&calibrated, &network, args.memory.saturating_mul(1024)),
    };
    if common.json {
        let text = serde_json::to_string(&report).map_err(|error| Error::Failed(error.to_string()))?;
        return print(&text);
    }
    print(&text::network(&report))
}

/// The network in float: as `--weights` has it, else as its packed weights give it.
fn calibrated(
    args: &ReportArgs,
    (network, packed): (&Network, Option<&StoredNetwork>),
    images: &[&Tensor],
    session: &Session,
    common: &Common,
) -> Result<Calibrated> {
    if let Some(path) = &args.weights {
        let float = network.in_float();
        let weights = weights_of(path, false, &float, session, common)?;
        return Ok(Calibrated::new(&float, &weights, images, Clips::default()));
    }
    let none =
        || Error::missing_option("--weights", "the network comes without packed weights; name its weights in float");
    let float = Folded::from_stored(packed.ok_or_else(none)?.in_float32(), session.device);
    Ok(Calibrated::of(&float, images, Clips::default()))
}

fn layers(
    calibrated: &Calibrated,
    (network, packed): (&Network, Option<&StoredNetwork>),
    is_float: bool,
    images: &[&Tensor],
    session: &Session,
) -> Result<Vec<LayerReport>> {
    let how = "nothing was written";
    let measured =
        output_noise(calibrated, std::slice::from_ref(network), images, &mut || session.check_interrupt(how))?;
    let theory = analytic_noise(calibrated, network);
    let weighted = network.weighted();
    let progress = Progress::new("report", weighted.len() as u64, session.quiet);
    let mut found = Vec::with_capacity(weighted.len());
    for (rank, &index) in weighted.iter().enumerate() {
        session.check_interrupt(how)?;
        let layer = &network.layers[index];
        let (Some(own), Some(spec)) = (&calibrated.float().layers[index], layer.weight) else { continue };
        let stored = packed.and_then(|packed| packed.layers[index].as_ref()).map(|own| own.weight.values());
        let values = own.weight.values();
        let weights = Measured {
            values: &values,
            shape: &own.weight.shape,
            spec,
            stored: stored.as_deref(),
            is_float,
            nonnegative: false,
        };
        let reads = network.point(layer.inputs[0]).map(|point| {
            let values = calibrated.sample(carrier(network, layer.inputs[0]));
            // A token's own scale counts as the tensor's.
            let spec = QuantSpec { granularity: Default::default(), ..point.spec };
            let shape = [values.len()];
            let nonnegative = point.nonnegative;
            Measured { values, shape: &shape, spec, stored: None, is_float: true, nonnegative }.reason()
        });
        found.push(LayerReport {
            layer: layer.name.clone(),
            weights: weights.reason(),
            reads,
            output_sqnr_db: measured[0][rank].both,
            analytic_sqnr_db: theory[rank].both,
        });
        progress.step(1);
    }
    progress.finish();
    Ok(found)
}

/// The layouts of each width at which some tensor is a float; integers have none.
fn prior(layers: &[LayerReport]) -> Vec<Prior> {
    let reasons = layers.iter().flat_map(|layer| [Some(&layer.weights), layer.reads.as_ref()]).flatten();
    let mut widths: Vec<u32> = reasons
        .filter(|reason| reason.format.takes_scale())
        .filter_map(|reason| Some(Split::of(reason.format)?.bits()))
        .collect();
    widths.sort_unstable();
    widths.dedup();
    let layouts = |bits| Split::ranked(bits).iter().map(Split::to_string).collect();
    widths.into_iter().map(|bits| Prior { bits, layouts: layouts(bits) }).collect()
}

/// Sums that are tried for each layer.
const TRIED: usize = 16;

fn on_device(calibrated: &Calibrated, network: &Network, memory_bytes: u64) -> OnDevice {
    let (mut longest_sum, mut worst) = (0, 0.0_f64);
    for index in network.weighted() {
        let Some(own) = &calibrated.float().layers[index] else { continue };
        let values = own.weight.values();
        let terms = own.weight.shape.iter().skip(1).product::<usize>().max(1);
        let read = calibrated.sample(carrier(network, network.layers[index].inputs[0]));
        longest_sum = longest_sum.max(terms);
        for (row, x) in values.chunks(terms).zip(read.chunks_exact(terms)).take(TRIED) {
            worst = worst.max(half_dot_error(row, x));
        }
    }
    OnDevice {
        memory_bytes,
        all: TrainingStep::of(network),
        fitting: TrainingStep::within(network, memory_bytes),
        longest_sum,
        worst_half_sum: worst,
    }
}
