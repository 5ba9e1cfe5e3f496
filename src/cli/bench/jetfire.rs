//! `bitfront bench jetfire`: does training in INT8 blocks cost accuracy, and how much memory does it save?

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Common;
use super::demo::demo_settings;
use super::trained::{Trained, trained_or_read};
use crate::cli::common::{print, result_file, write_result, written_by};
use crate::engine::TrainSettings;
use crate::error::Result;
use crate::report::{Difference, markdown_table};
use crate::seed::Seed;
use crate::space::Space;
use crate::stats::mean;
use crate::train::{Flow, TrainConfig};

/// Training in INT8 blocks against training in float32.
#[derive(Args, Debug)]
pub struct JetfireArgs {
    /// Number of seeds, counted from --seed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Passes over the training images
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub epochs: usize,
    /// Space whose network is trained, in float32 [default: the demo, ResNet-8 on Fashion-MNIST]
    #[arg(long, value_name = "FILE")]
    pub space: Option<String>,
    /// Also write the table to this Markdown file
    #[arg(long, value_name = "FILE", value_parser = result_file)]
    pub write: Option<PathBuf>,
}

/// Points within which the two count as equal.
const MARGIN: f64 = 0.5;

/// Trains with every seed in both flows and prints the table.
///
/// # Errors
/// Whatever a training fails with.
pub(super) fn run(args: &JetfireArgs, common: &Common) -> Result<()> {
    let line: Vec<&str> = args.space.iter().flat_map(|space| ["--space", space]).collect();
    let mut pairs = Vec::new();
    for seed in common.root()..common.root() + args.seeds.max(1) {
        let settings = demo_settings(&line, common, seed)?;
        let space = Space::new(settings.space.clone())?;
        let network = space.network(&space.widest().0).in_float();
        let trained = |flow| {
            let train = TrainConfig { epochs: args.epochs, flow, ..settings.train.clone() };
            let name = format!("{}-{flow}", network.model);
            trained_or_read(&name, &TrainSettings { train, ..settings.training() }, &network, common)
                .map(|(trained, _)| trained)
        };
        pairs.push((seed, trained(Flow::Float32)?, trained(Flow::Int8Blocks)?));
    }
    let mut rng = Seed::new(common.root()).child("bootstrap").rng();
    let gains = pairs.iter().map(|(_, float, blocks)| blocks.test_top1 - float.test_top1).collect();
    let difference = Difference::of(gains, &mut rng)?;
    let text = markdown(&pairs, &difference, common)?;
    write_result(args.write.as_deref(), &text)?;
    if !common.json {
        return print(&text);
    }
    let seeds =
        pairs.iter().map(|(seed, float, blocks)| json!({ "seed": seed, "float32": float, "int8_blocks": blocks }));
    let found = json!({ "epochs": args.epochs, "seeds": seeds.collect::<Vec<_>>(), "mean_difference": difference.mean,
        "standard_error": difference.standard_error, "higher": difference.verdict.to_string(),
        "equal_within": MARGIN, "equal": equal(&difference) });
    print(&found.to_string())
}

/// Whether the mean and two standard errors on either side lie within the margin.
fn equal(difference: &Difference) -> &'static str {
    match difference.standard_error {
        Some(error) if difference.mean.abs() + 2.0 * error <= MARGIN => "held",
        Some(error) if difference.mean.abs() - 2.0 * error > MARGIN => "not held",
        _ => "undecided",
    }
}

fn markdown(pairs: &[(u64, Trained, Trained)], difference: &Difference, common: &Common) -> Result<String> {
    let row = |(seed, float, blocks): &(u64, Trained, Trained)| {
        let mut row = vec![seed.to_string()];
        row.extend([float.test_top1, blocks.test_top1].map(|top1| format!("{top1:.2}")));
        row.push(format!("{:+.2}", blocks.test_top1 - float.test_top1));
        row.extend([float.wall_s, blocks.wall_s].map(|seconds| format!("{seconds:.0}")));
        row
    };
    let header = ["seed", "float32", "int8 blocks", "difference", "float32 s", "int8 blocks s"];
    let saved = pairs.iter().find_map(|(_, _, blocks)| blocks.saved).unwrap_or_default();
    let error = difference.standard_error.map_or("-".into(), |error| format!("{error:.2}"));
    let of = |pick: fn(&(u64, Trained, Trained)) -> f64| mean(&pairs.iter().map(pick).collect::<Vec<_>>());
    let slower = of(|pair| pair.2.wall_s).zip(of(|pair| pair.1.wall_s)).map_or(0.0, |(blocks, float)| blocks / float);
    Ok(format!(
        "# Training in INT8 blocks\n\n{}: test top-1 of one network trained in\n\
         float32 and in INT8 blocks of 32 x 32 (Jetfire), from the same weights on the same batches.\n\n{}\n\
         INT8 blocks minus float32: {:+.2} points, standard error {error}. Equal within {MARGIN} points: {}; higher: {}.\n\n\
         Kept for the backward pass of a step: {:.3} MB in blocks, scales included; the same tensors in float32 {:.3} MB, {:.2} times\n\
         as much. INT8 is simulated in float here and every step is computed twice: {slower:.2} times as long.\n",
        written_by(common.thread_count()?),
        markdown_table(&header, &pairs.iter().map(row).collect::<Vec<_>>()),
        difference.mean,
        equal(difference),
        difference.verdict,
        saved.kept as f64 / 1e6,
        saved.float32 as f64 / 1e6,
        saved.float32 as f64 / saved.kept.max(1) as f64,
    ))
}
