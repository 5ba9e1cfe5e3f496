//! `bitfront bench predict`: latency predictions a second, on one core.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::Common;
use crate::cli::common::print;
use crate::cost::latency::Target;
use crate::error::Result;
use crate::formats::Format;
use crate::formats::QuantSpec;
use crate::network::{ModelName, ModelSpec, build};
use crate::stats::{median, quantile};

/// Rounds, and predictions in each.
const ROUNDS: usize = 15;
const PREDICTIONS: usize = 20_000;

/// Latency predictions a second.
#[derive(Args, Debug)]
pub struct PredictArgs {
    /// The device's table
    #[arg(long, value_name = "DIR")]
    pub target: PathBuf,
    /// Network, every third layer in float32 and the others in int8
    #[arg(long, default_value = "resnet20")]
    pub model: ModelName,
}

/// Predicts one network many times.
///
/// # Errors
/// A table without a kernel of the network.
pub(super) fn run(args: &PredictArgs, common: &Common) -> Result<()> {
    let target = Target::load(&args.target)?;
    let mut network = build(&ModelSpec::new(args.model))?;
    let layers = network.weighted().len();
    let format = |rank: usize| if rank.is_multiple_of(3) { Format::Float32 } else { Format::Int(8) };
    let weights: Vec<QuantSpec> = (0..layers).map(|rank| QuantSpec::per_channel(format(rank))).collect();
    let activations: Vec<QuantSpec> = (0..layers).map(|rank| QuantSpec::per_tensor(format(rank))).collect();
    network.assign(&weights, &activations);
    let prediction = target.predict(&network)?;
    let mut rates = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..PREDICTIONS {
            black_box(target.predict(black_box(&network))?);
        }
        rates.push(PREDICTIONS as f64 / began.elapsed().as_secs_f64());
    }
    let at = |q| quantile(&rates, q).unwrap_or_default();
    let middle = median(&rates).unwrap_or_default();
    if common.json {
        let found = json!({ "model": args.model.to_string(), "layers": layers, "predictions_a_second": middle,
            "q1": at(0.25), "q3": at(0.75), "latency_ms": prediction.latency_ms });
        return print(&found.to_string());
    }
    print(&format!(
        "{} ({layers} layers with weights): {middle:.0} predictions a second on one core (quartiles {:.0} and {:.0})",
        args.model,
        at(0.25),
        at(0.75)
    ))
}
