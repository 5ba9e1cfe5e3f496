//! Members of a front, measured in ONNX Runtime; the picked ones exported and run on all test images.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::kept::{keep, kept};
use crate::cost::latency::Target;
use crate::engine::{Pick, RunDirectory, Session, Summary, Tested, picked};
use crate::error::Result;
use crate::export::{Profile, onnx_file, verify};
use crate::network::Network;
use crate::onnx::Runtime;
use crate::profile::{networks_ms, pinned};
use crate::progress::Progress;
use crate::space::Space;

/// A member of a front.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Point {
    /// Id in its run.
    pub(super) id: usize,
    /// Validation top-1 in percent.
    pub(super) top1: f64,
    /// Test top-1 in percent.
    pub(super) test_top1: f64,
    /// Latency by the table, in ms.
    pub(super) predicted_ms: f64,
    /// Latency in ONNX Runtime, in ms.
    pub(super) measured_ms: f64,
    /// Test top-1 of the exported file, with kernels that do not saturate, where it was exported.
    pub(super) file_top1: Option<f64>,
}

/// The member of the best validation accuracy within a budget.
pub(super) fn best_within(points: &[Point], budget: f32) -> Option<&Point> {
    let within = points.iter().filter(|point| point.measured_ms <= f64::from(budget));
    within.max_by(|a, b| a.top1.total_cmp(&b.top1))
}

/// The members of a run's front by rising cost, as far as known from `members.csv` in its folder; those best within `budgets`
/// are exported.
///
/// # Errors
/// ONNX Runtime is missing or refuses a network, an interrupt, or a file that is damaged.
pub(super) fn points(
    (run, folder): (&Summary, &RunDirectory),
    (target, budgets): (&Path, &[f32]),
    session: &Session,
) -> Result<Vec<Point>> {
    let place = folder.state().join("members.csv");
    let runtime = Runtime::load()?;
    let mut points = match kept(&place)? {
        Some(points) => points,
        None => measured(run, target, &runtime, session)?,
    };
    keep(&place, &points)?;
    let best = budgets.iter().filter_map(|&budget| best_within(&points, budget));
    let missing: BTreeSet<usize> = best.filter(|point| point.file_top1.is_none()).map(|point| point.id).collect();
    let progress = Progress::new("export", missing.len() as u64, session.quiet || missing.is_empty());
    for id in missing {
        let top1 = exported(folder, id, &runtime, session)?;
        points.iter_mut().filter(|point| point.id == id).for_each(|point| point.file_top1 = Some(top1));
        keep(&place, &points)?;
        progress.step(1);
    }
    progress.finish();
    Ok(points)
}

/// The members of a run's front with their latency in ONNX Runtime.
fn measured(run: &Summary, target: &Path, runtime: &Runtime, session: &Session) -> Result<Vec<Point>> {
    let device = Target::load(target)?.device;
    let space = Space::new(run.settings.space.clone())?;
    let networks: Vec<Network> = run.front.iter().map(|member| space.network(&member.row.genome.0)).collect();
    let times = pinned(|| {
        networks_ms(runtime, &networks, &device, &mut || session.check_interrupt("the same command goes on"))
    })??;
    let point = |(member, measured_ms): (&Tested, f64)| Point {
        id: member.row.id,
        top1: member.row.top1,
        test_top1: member.test_top1,
        predicted_ms: member.row.latency_ms.unwrap_or_default(),
        measured_ms,
        file_top1: None,
    };
    Ok(run.front.iter().zip(times).map(point).collect())
}

/// Test top-1 of a member in ONNX Runtime.
fn exported(folder: &RunDirectory, id: usize, runtime: &Runtime, session: &Session) -> Result<f64> {
    let member = picked(folder, &Pick::Id(id), session)?;
    let file = onnx_file(member.ready.stored(), Profile::OnnxruntimeCpu, false, &[])?;
    let stop = || session.check_interrupt("the same command goes on");
    let shown = verify(runtime, &file, &member.ready, &member.test, session.quiet, &stop)?;
    Ok(shown.exact_top1.unwrap_or(shown.file_top1))
}
