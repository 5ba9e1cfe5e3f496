//! How time and memory of a training step grow with images and layers: both should be straight lines.

use serde_json::json;

use super::memory::peak_in_child;
use super::turns::{Arm, take_turns};
use super::{Found, SpeedArgs, Subject};
use crate::engine::Session;
use crate::error::Result;
use crate::formats::Format;
use crate::network::ModelName;
use crate::report::markdown_table;
use crate::stats::line;
use crate::train::{Regime, Single};

/// Images a step.
const BATCHES: [u32; 4] = [32, 64, 128, 256];
/// Layers of the networks of one family.
const DEPTHS: [usize; 4] = [20, 32, 44, 56];
/// Images a step of these.
const IMAGES: u32 = 64;
const FORMAT: &str = "int8";

/// One size, and what it took.
struct Sized {
    size: f64,
    ms: f64,
    megabytes: f64,
}

/// Measures.
///
/// # Errors
/// A step that fails; memory that cannot be read; an interrupt.
pub(super) fn measured(args: &SpeedArgs, threads: usize, session: &Session) -> Result<Found> {
    let images: Vec<_> = BATCHES.iter().map(|&batch| (f64::from(batch), args.model, batch)).collect();
    let layers: Vec<_> = DEPTHS.iter().map(|&depth| (depth as f64, ModelName::SmallResnet { depth }, IMAGES)).collect();
    let mut rows = Vec::new();
    for (what, sizes) in [("images", images), ("layers", layers)] {
        let found = sized(&sizes, args, threads, (what, session))?;
        for (unit, value) in [("ms", (|own| own.ms) as fn(&Sized) -> f64), ("MB", |own| own.megabytes)] {
            let points: Vec<(f64, f64)> = found.iter().map(|own| (own.size, value(own))).collect();
            let (at_zero, slope, determination) = line(&points).unwrap_or_default();
            let mut row = vec![format!("{unit} by {what}")];
            row.extend(points.iter().map(|(size, value)| format!("{size}: {value:.0}")));
            row.extend([format!("{at_zero:.1} + {slope:.3} n"), format!("{determination:.4}")]);
            rows.push(row);
        }
    }
    let header = ["of a step", "", "", "", "", "line", "r2"];
    let text = format!(
        "## Growth\n\nSteps in {FORMAT}: {} of so many images, and of {IMAGES} images resnets of so many layers; the best straight \
         line through\nthem, and the share of the variance that it explains.\n\n{}",
        args.model,
        markdown_table(&header, &rows)
    );
    Ok((text, json!(rows)))
}

fn sized(
    sizes: &[(f64, ModelName, u32)],
    args: &SpeedArgs,
    threads: usize,
    (what, session): (&str, &Session),
) -> Result<Vec<Sized>> {
    let format: Format = FORMAT.parse()?;
    let mut arms: Vec<Arm<'_>> = Vec::new();
    for (size, model, batch) in sizes {
        let subject = Subject::new(*model, *batch)?;
        let (mut regime, mut trainer) = (Single(subject.network(format)), subject.trainer(false));
        let work = move || regime.step(&mut trainer, &subject.batch.0, &subject.batch.1).map(|_| ());
        arms.push((size.to_string(), Box::new(work)));
    }
    let timed = take_turns(&mut arms, args.rounds.min(9), (&format!("growth with {what}"), session))?;
    let one = |(&(size, model, batch), timed): (&(f64, ModelName, u32), &super::turns::Timed)| {
        Ok(Sized { size, ms: timed.median_ms, megabytes: peak_in_child(FORMAT, model, batch, threads)? })
    };
    sizes.iter().zip(&timed).map(one).collect()
}
