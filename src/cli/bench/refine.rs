//! `bitfront bench refine`: one trained network in several formats, before and after refinement.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use tch::{Kind, Tensor};

use super::Common;
use crate::cli::common::{print, write_result};
use crate::cli::network_choice::NetworkChoice;
use crate::cli::point::Point;
use crate::cli::ready::weights_of;
use crate::cli::refinement::{RefinementArgs, images};
use crate::cost::{Convention, Costs};
use crate::engine::{RunImages, Session};
use crate::error::{Error, Result};
use crate::models::{Folded, Weights};
use crate::network::Network;
use crate::ptq::{Calibrated, Clips};
use crate::report::markdown_table;
use crate::stats::{mean, standard_error};

/// A trained network in several formats, over seeds.
#[derive(Args, Debug)]
pub struct RefineBenchArgs {
    /// Which network.
    #[command(flatten)]
    pub network: NetworkChoice,
    /// Trained weights in float: safetensors, or a torch file of either kind
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// Training images to calibrate and refine on; their labels are not read
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub calibration: usize,
    /// Formats: WEIGHTS[/ACTIVATIONS][@ENDS]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "POINTS",
        default_value = "int8,int4/int8@int8,int4@int8,e2m1@int8,e4m3,e3m4,e2m5,e5m2"
    )]
    pub points: Vec<Point>,
    /// Number of seeds, counted from --seed
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub seeds: u64,
    /// How.
    #[command(flatten)]
    pub how: RefinementArgs,
    /// Also write the table to this Markdown file
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// A network on the test images.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Reading {
    /// In percent.
    pub(super) top1: f64,
    /// Signal to noise of the logits, in decibels.
    pub(super) sqnr_db: f64,
}

/// One point with one seed.
#[derive(Clone, Debug, Serialize)]
struct Row {
    point: String,
    seed: u64,
    avg_w_bits: f64,
    before: Reading,
    after: Reading,
    seconds: f64,
}

/// The test images with what the float network says of them.
pub(super) struct Test {
    batches: Vec<(Tensor, Tensor)>,
    exact: Vec<Tensor>,
}

impl Test {
    pub(super) fn new(images: &RunImages, network: &Network, float: &Folded) -> Result<Self> {
        let loader = images.test(network)?;
        let batches = loader.whole(loader.indices(), None)?;
        let exact = batches.iter().map(|(x, _)| float.logits(x)).collect();
        Ok(Self { batches, exact })
    }

    pub(super) fn read(&self, ready: &Folded) -> Reading {
        let sum = |x: Tensor| x.sum(Kind::Double).double_value(&[]);
        let (mut right, mut count, mut signal, mut noise) = (0.0, 0.0, 0.0, 0.0);
        for ((x, labels), exact) in self.batches.iter().zip(&self.exact) {
            let own = ready.logits(x);
            right += sum(own.argmax(1, false).eq_tensor(labels));
            count += labels.numel() as f64;
            signal += sum(exact.square());
            noise += sum((own - exact).square());
        }
        Reading { top1: 100.0 * right / count, sqnr_db: 10.0 * (signal / noise).log10() }
    }
}

/// Refines every point with every seed and prints the table.
///
/// # Errors
/// A file that cannot be read or does not fit; whatever a refinement fails with.
pub(super) fn run(args: &RefineBenchArgs, common: &Common) -> Result<()> {
    args.how.check()?;
    if args.network.format.is_some() {
        return Err(Error::bad_value("--format", "given", "has no effect here: --points lists the formats"));
    }
    let session = common.session(common.thread_count()?, None)?;
    let network = args.network.network()?;
    let weights = weights_of(&args.weights, false, &network, &session, common)?;
    session.say(&format!("cost: {} refinements", args.points.len() as u64 * args.seeds));
    let mut rows = Vec::new();
    for seed in common.root()..common.root() + args.seeds.max(1) {
        let images = images((&args.network.data, args.calibration), &network, seed, session.device)?;
        let calibrated = Calibrated::new(&network, &weights, &images.judging.calibration(), Clips::default());
        let test = Test::new(&images, &network, &calibrated.exact(session.device))?;
        for point in &args.points {
            rows.push(row(args, point, (&network, &weights, &images), &test, seed, &session)?);
        }
    }
    let text = markdown(args, &rows, common);
    write_result(args.write.as_deref(), &text)?;
    if common.json {
        return print(&serde_json::json!({ "rows": rows }).to_string());
    }
    print(&text)
}

fn row(
    args: &RefineBenchArgs,
    point: &Point,
    (network, weights, images): (&Network, &Weights, &RunImages),
    test: &Test,
    seed: u64,
    session: &Session,
) -> Result<Row> {
    let mut network = network.clone();
    point.assign(&mut network);
    let began = Instant::now();
    let refined = args.how.refine((&network, weights, images), seed, session)?;
    let seconds = began.elapsed().as_secs_f64();
    let before = test.read(&refined.before);
    let after = if refined.helped() { test.read(&refined.after) } else { before };
    session.say(&format!("{point}, seed {seed}: {:.2} -> {:.2} in {seconds:.0} s", before.top1, after.top1));
    let avg_w_bits = Costs::of(&network, Convention::Full).avg_w_bits;
    Ok(Row { point: point.to_string(), seed, avg_w_bits, before, after, seconds })
}

fn markdown(args: &RefineBenchArgs, rows: &[Row], common: &Common) -> String {
    let of_point = |point: &Point| {
        let own: Vec<&Row> = rows.iter().filter(|row| row.point == point.to_string()).collect();
        let of = |number: fn(&Row) -> f64| own.iter().map(|row| number(row)).collect::<Vec<f64>>();
        let average = |number| mean(&of(number)).unwrap_or_default();
        let error = standard_error(&of(|row| row.after.top1)).map_or("-".into(), |error| format!("{error:.2}"));
        vec![
            point.to_string(),
            format!("{:.2}", average(|row| row.avg_w_bits)),
            format!("{:.2}", average(|row| row.before.top1)),
            format!("{:.2}", average(|row| row.after.top1)),
            error,
            format!("{:.2}", average(|row| row.before.sqnr_db)),
            format!("{:.2}", average(|row| row.after.sqnr_db)),
            format!("{:.0}", average(|row| row.seconds)),
        ]
    };
    let header = ["formats", "w bits", "before", "after", "s.e.", "dB before", "dB after", "s"];
    let points: Vec<String> = args.points.iter().map(Point::to_string).collect();
    format!(
        "# A trained network in several formats, before and after refinement\n\nWritten by `bitfront bench refine \
         --points {} --seeds {} --steps {} --views {} --finetune {}` (bitfront {}).\n\nTop-1 in percent and signal to \
         noise of the logits in decibels, on all test images, means over seeds; s.e.: standard\nerror of the top-1 after \
         refinement. Formats: WEIGHTS[/ACTIVATIONS][@FIRST AND LAST LAYER]; {} training images,\nlabels not read; s: \
         seconds of calibration and refinement.\n\n{}",
        points.join(","),
        args.seeds,
        args.how.steps,
        args.how.views,
        args.how.finetune,
        env!("CARGO_PKG_VERSION"),
        args.calibration,
        markdown_table(&header, &args.points.iter().map(of_point).collect::<Vec<_>>())
    ) + if common.root() > 0 { "\n(seeds from --seed)\n" } else { "" }
}
