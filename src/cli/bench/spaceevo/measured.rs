//! Members of a front, measured in ONNX Runtime; the picked ones exported and run on all test images.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::common::write_result;
use crate::cost::latency::Target;
use crate::engine::{Pick, RunDirectory, Session, Summary, picked};
use crate::error::{Error, Result};
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

/// The members of a run's front by rising cost, from `place` if it is there; those best within `budgets` are exported.
///
/// # Errors
/// ONNX Runtime is missing or refuses a network, an interrupt, or a file that is damaged.
pub(super) fn points(
    (run, folder): (&Summary, &RunDirectory),
    (target, budgets): (&Path, &[f32]),
    place: &Path,
    session: &Session,
) -> Result<Vec<Point>> {
    let bad = |error: csv::Error| Error::bad_file(place, error.to_string());
    if place.is_file() {
        let mut reader = csv::Reader::from_path(place).map_err(bad)?;
        return reader.deserialize().collect::<csv::Result<Vec<Point>>>().map_err(bad);
    }
    let (device, runtime) = (Target::load(target)?.device, Runtime::load()?);
    let space = Space::new(run.settings.space.clone())?;
    let networks: Vec<Network> = run.front.iter().map(|member| space.network(&member.row.genome.0)).collect();
    let times = pinned(|| {
        networks_ms(&runtime, &networks, &device, &mut || session.check_interrupt("the same command goes on"))
    })??;
    let point = |(member, measured_ms): (&crate::engine::Tested, f64)| Point {
        id: member.row.id,
        top1: member.row.top1,
        test_top1: member.test_top1,
        predicted_ms: member.row.latency_ms.unwrap_or_default(),
        measured_ms,
        file_top1: None,
    };
    let mut points: Vec<Point> = run.front.iter().zip(times).map(point).collect();
    let progress = Progress::new("export", budgets.len() as u64, session.quiet);
    for &budget in budgets {
        if let Some(id) = best_within(&points, budget).map(|point| point.id) {
            let top1 = exported(folder, id, &runtime, session)?;
            points.iter_mut().filter(|point| point.id == id).for_each(|point| point.file_top1 = Some(top1));
        }
        progress.step(1);
    }
    progress.finish();
    let mut writer = csv::Writer::from_writer(Vec::new());
    points.iter().try_for_each(|point| writer.serialize(point)).map_err(bad)?;
    let bytes = writer.into_inner().map_err(|error| Error::bad_file(place, error.to_string()))?;
    write_result(Some(place), &String::from_utf8_lossy(&bytes))?;
    Ok(points)
}

/// Test top-1 of a member in ONNX Runtime.
fn exported(folder: &RunDirectory, id: usize, runtime: &Runtime, session: &Session) -> Result<f64> {
    let member = picked(folder, &Pick::Id(id), session)?;
    let file = onnx_file(member.ready.stored(), Profile::OnnxruntimeCpu, false, &[])?;
    let stop = || session.check_interrupt("the same command goes on");
    let shown = verify(runtime, &file, &member.ready, &member.test, session.quiet, &stop)?;
    Ok(shown.exact_top1.unwrap_or(shown.file_top1))
}
