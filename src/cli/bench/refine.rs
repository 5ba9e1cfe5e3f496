//! `bitfront bench refine`: one trained network in several formats, before and after refinement.

use clap::Args;
use serde::{Deserialize, Serialize};

use super::Common;
use super::seeded::{Reading, Seeded, SeededArgs};
use crate::cli::common::written_by;
use crate::cli::point::Point;
use crate::cli::refinement::RefinementArgs;
use crate::cost::{Convention, Costs};
use crate::error::Result;
use crate::report::markdown_table;
use crate::stats::{mean, standard_error};

/// A trained network in several formats, over seeds.
#[derive(Args, Debug)]
pub struct RefineBenchArgs {
    /// What is refined.
    #[command(flatten)]
    pub begin: SeededArgs,
    /// Formats: WEIGHTS[/ACTIVATIONS][@ENDS]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "POINTS",
        default_value = "int8,int4/int8@int8,int4@int8,e2m1@int8,e4m3,e3m4,e2m5,e5m2"
    )]
    pub points: Vec<Point>,
    /// How.
    #[command(flatten)]
    pub how: RefinementArgs,
}

/// One point with one seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    point: String,
    seed: u64,
    avg_w_bits: f64,
    before: Reading,
    after: Reading,
    seconds: f64,
}

/// Refines every point with every seed and prints the table.
///
/// # Errors
/// A file that cannot be read or does not fit; whatever a refinement fails with.
pub(super) fn run(args: &RefineBenchArgs, common: &Common) -> Result<()> {
    args.how.check()?;
    let rows = |seeded: &Seeded| {
        let how = format!("{:?}", args.how);
        let one = |point: &Point| seeded.kept((&point.to_string(), &how), || row(args, point, seeded));
        args.points.iter().map(one).collect()
    };
    let threads = common.thread_count()?;
    args.begin.each(args.points.len(), common, rows, |rows| markdown(args, rows, threads))
}

fn row(args: &RefineBenchArgs, point: &Point, seeded: &Seeded) -> Result<Row> {
    let network = seeded.in_formats(point);
    let (refined, seconds) = seeded.refined(&network, &args.how)?;
    let before = seeded.test.read(&refined.before);
    let after = if refined.helped() { seeded.test.read(&refined.after) } else { before };
    seeded.say(&format!("{point}, seed {}: {:.2} -> {:.2} in {seconds:.0} s", seeded.seed, before.top1, after.top1));
    let avg_w_bits = Costs::of(&network, Convention::Full).avg_w_bits;
    Ok(Row { point: point.to_string(), seed: seeded.seed, avg_w_bits, before, after, seconds })
}

fn markdown(args: &RefineBenchArgs, rows: &[Row], threads: usize) -> String {
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
    format!(
        "# A trained network in several formats, before and after refinement\n\n{}.\n\nTop-1 in percent and signal to noise of \
         the logits in decibels, on all test images, means over seeds; s.e.: standard\nerror of the top-1 after \
         refinement. Formats: WEIGHTS[/ACTIVATIONS][@FIRST AND LAST LAYER]; {} training images,\nlabels not read; s: \
         seconds of calibration and refinement.\n\n{}",
        written_by(threads),
        args.begin.calibration,
        markdown_table(&header, &args.points.iter().map(of_point).collect::<Vec<_>>())
    )
}
