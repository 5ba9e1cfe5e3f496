//! Options of `bitfront refine` that find quantizers before it trains and correct what it leaves.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};
use tch::{Device, Tensor};

use crate::engine::Session;
use crate::error::Result;
use crate::models::Folded;
use crate::network::Network;
use crate::progress::Progress;
use crate::ptq::{Calibrated, Chosen, Correction, Joint, Metric, Prober, Shifted};
use crate::ptq::{corrected, joint, joint_steps, preshifted};
use crate::stored::StoredNetwork;

/// Which of them.
#[derive(Args, Clone, Debug)]
pub struct CalibrationArgs {
    /// Find clips of weights and activations together, by what each layer gives: output (squared error) or fisher (each
    /// output's by the squared gradient of the loss)
    #[arg(long, value_name = "METRIC")]
    pub joint: Option<Metric>,
    /// Let --joint take other small floats of the same width where a layer gives less error: e3m0, e2m1, e1m2; e5m2, e4m3,
    /// e3m4, e2m5
    #[arg(long, requires = "joint")]
    pub flavours: bool,
    /// Move channels of activations in small floats by powers of two, folded into the float weights around them
    #[arg(long)]
    pub preshift: bool,
    /// Re-estimate folded batch norms: match mean and variance of their channels to the float network's
    #[arg(long)]
    pub reestimate: bool,
    /// Take the mean error of each output channel out of its bias
    #[arg(long)]
    pub correct_biases: bool,
}

/// What a network is quantized by.
#[derive(Debug)]
pub(super) struct Quantizers {
    /// Float weights, clips.
    pub(super) calibrated: Calibrated,
    /// Formats.
    pub(super) network: Network,
    chosen: Vec<Chosen>,
    shifted: Vec<Shifted>,
}

/// A correction with the divergence on the validation images before and after; kept where that is smaller.
#[derive(Debug)]
pub(super) struct Tried {
    option: &'static str,
    divergence: [f64; 2],
}

impl Tried {
    fn kept(&self) -> bool {
        self.divergence[1] < self.divergence[0]
    }
}

impl CalibrationArgs {
    /// Shifts channels, then finds clips and formats, as asked.
    ///
    /// # Errors
    /// An interrupt.
    pub(super) fn quantizers(
        &self,
        calibrated: Calibrated,
        network: &Network,
        images: &[&Tensor],
        session: &Session,
    ) -> Result<Quantizers> {
        let network = network.clone();
        let mut made = Quantizers { calibrated, network, chosen: Vec::new(), shifted: Vec::new() };
        if self.preshift {
            let progress = Progress::new("preshift", made.network.layers.len() as u64, session.quiet);
            let mut step = || stepped(&progress, session);
            (made.calibrated, made.shifted) = preshifted(&made.calibrated, &made.network, images, &mut step)?;
            progress.finish();
        }
        if let Some(metric) = self.joint {
            let progress = Progress::new("joint", joint_steps(&made.network) as u64, session.quiet);
            let (options, mut step) = (Joint { metric, flavours: self.flavours }, || stepped(&progress, session));
            (made.network, made.chosen) = joint(&made.calibrated, &made.network, images, options, &mut step)?;
            progress.finish();
        }
        Ok(made)
    }

    /// Corrects a quantized network, keeping what brings it nearer to float on the images that `prober` holds; gives that
    /// with what was tried.
    pub(super) fn corrected(
        &self,
        calibrated: &Calibrated,
        mut quantized: StoredNetwork,
        prober: &Prober,
        images: &[&Tensor],
    ) -> (StoredNetwork, Vec<Tried>) {
        let device = images.first().map_or(Device::Cpu, |x| x.device());
        let far =
            |network: &StoredNetwork| prober.distance_of(&Folded::from_stored(network.clone(), device)).divergence;
        let ways = [
            (self.reestimate, "reestimate", Correction::BatchNorms),
            (self.correct_biases, "correct_biases", Correction::Biases),
        ];
        let mut tried = Vec::new();
        for (_, option, way) in ways.into_iter().filter(|(asked, ..)| *asked) {
            let other = corrected(calibrated, &quantized, images, way);
            let found = Tried { option, divergence: [far(&quantized), far(&other)] };
            if found.kept() {
                quantized = other;
            }
            tried.push(found);
        }
        (quantized, tried)
    }
}

/// What the options did, as lines to print; empty where none was given.
pub(super) fn lines(made: &Quantizers, tried: &[Tried]) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        let _ = write!(text, "\n  {words}");
    };
    for Shifted { layer, exponents, error } in &made.shifted {
        let most = exponents.iter().max().copied().unwrap_or(0);
        line(format!("{layer}: channels up to 2^{most} larger, readers' error {:.5} -> {:.5}", error[0], error[1]));
    }
    for Chosen { layer, weight, activation, error } in &made.chosen {
        let [weight, activation] = [weight, activation].map(|[asked, own]| match asked == own {
            true => own.to_string(),
            false => format!("{asked} -> {own}"),
        });
        line(format!("{layer}: weights {weight}, activation {activation}, error {:.5} -> {:.5}", error[0], error[1]));
    }
    for own in tried {
        let [before, after] = own.divergence;
        let verdict = if own.kept() { "kept" } else { "not kept" };
        line(format!("{}: {before:.4} -> {after:.4} nats (val), {verdict}", own.option));
    }
    text
}

/// The same as keys of a JSON object.
pub(super) fn keys(made: &Quantizers, tried: &[Tried]) -> [(&'static str, Value); 3] {
    let chosen = made.chosen.iter().map(|own| {
        json!({
            "layer": own.layer, "weight": own.weight[1], "activation": own.activation[1],
            "error_before": own.error[0], "error": own.error[1],
        })
    });
    let shifted = made.shifted.iter().map(|own| {
        json!({ "layer": own.layer, "exponents": own.exponents, "error_before": own.error[0], "error": own.error[1] })
    });
    let tried = tried.iter().map(|own| {
        json!({
            "option": own.option, "divergence_before": own.divergence[0], "divergence": own.divergence[1],
            "kept": own.kept(),
        })
    });
    [("joint", chosen.collect()), ("preshift", shifted.collect()), ("corrections", tried.collect())]
}

/// Counts a step; ends the work where the user asks.
fn stepped(progress: &Progress, session: &Session) -> Result<()> {
    progress.step(1);
    session.check_interrupt("nothing was written")
}
