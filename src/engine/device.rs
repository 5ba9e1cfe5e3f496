//! The device of a run: its latency table, kept in the run's folder, and the front measured on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::history::csv_text;
use super::{Row, RunDirectory, Session, Settings};
use crate::cost::latency::Target;
use crate::cost::{Constraint, Convention, Metric, Pricing};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::onnx::Runtime;
use crate::profile::{NETWORK_ROUNDS, networks_ms, pinned, processor};
use crate::progress::Progress;
use crate::space::Space;

/// The files of a latency table.
const FILES: [&str; 2] = ["device.ron", "kernels.csv"];

/// How a run prices networks: by the table that its folder keeps, else by the one its settings name.
///
/// # Errors
/// The table is missing or damaged.
pub(super) fn pricing(settings: &Settings, folder: Option<&RunDirectory>) -> Result<Pricing> {
    let Some(table) = &settings.target else { return Ok(Pricing::default()) };
    let kept = folder.map(kept).filter(|kept| kept.join(FILES[1]).exists());
    let target = Target::load(&kept.unwrap_or_else(|| table.clone()))?;
    Ok(Pricing { convention: Convention::Full, target: Some(Arc::new(target)) })
}

fn kept(folder: &RunDirectory) -> PathBuf {
    folder.state().join("target")
}

/// Copies the table into the run's folder, so that resuming does not depend on what happens to it.
///
/// # Errors
/// A file cannot be copied.
pub(super) fn keep(settings: &Settings, folder: &RunDirectory) -> Result<()> {
    let Some(table) = &settings.target else { return Ok(()) };
    let kept = kept(folder);
    if kept.join(FILES[1]).exists() {
        return Ok(());
    }
    std::fs::create_dir_all(&kept).map_err(|source| Error::io(&kept, source))?;
    for file in FILES {
        let text = std::fs::read_to_string(table.join(file)).map_err(|source| Error::io(table.join(file), source))?;
        folder.write(&kept.join(file), &text)?;
    }
    Ok(())
}

/// Refuses a space that the table cannot price, and under `--strict` formats that the device cannot compute in.
///
/// # Errors
/// The missing kernel, or the format.
pub(super) fn check(settings: &Settings, space: &Space, pricing: &Pricing) -> Result<()> {
    let Some(target) = &pricing.target else { return Ok(()) };
    if settings.strict {
        let computes = &target.device.computes;
        if let Some(format) = space.formats().into_iter().find(|&format| target.device.computed(format) != format) {
            let known: Vec<String> = computes.iter().map(ToString::to_string).collect();
            let why = format!(
                "{} cannot compute in it; --formats {} leaves what it can",
                target.device.device,
                known.join(",")
            );
            return Err(Error::bad_value("--strict", format, why));
        }
    }
    let uniform = space.formats().into_iter().filter_map(|format| space.uniform(format));
    let ends = [space.widest().0, space.narrowest().0];
    ends.into_iter().chain(uniform).try_for_each(|genome| pricing.latency(&space.network(&genome)).map(drop))
}

/// The limit on latency that holds for measured times too.
fn limit(constraints: &[Constraint]) -> Option<&Constraint> {
    let of_latency = constraints.iter().filter(|limit| limit.metric == Metric::LatencyMs);
    of_latency.min_by(|a, b| a.limit.total_cmp(&b.limit))
}

/// A candidate's measured latency, as `state/measured.csv` keeps it.
#[derive(Serialize, Deserialize)]
struct Measurement {
    id: usize,
    latency_meas_ms: f64,
}

/// Measured latencies of a run's candidates.
#[derive(Debug, Default)]
pub(super) struct Measured {
    by_id: BTreeMap<usize, f64>,
}

impl Measured {
    /// The candidate's latency in milliseconds, if it was measured.
    pub(super) fn of(&self, id: usize) -> Option<f64> {
        self.by_id.get(&id).copied()
    }

    fn path(folder: &RunDirectory) -> PathBuf {
        folder.state().join("measured.csv")
    }

    fn load(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let bad = |error: csv::Error| Error::bad_file(path, error.to_string());
        let mut reader = csv::Reader::from_path(path).map_err(bad)?;
        let rows = reader.deserialize().map(|row| row.map(|row: Measurement| (row.id, row.latency_meas_ms)));
        let by_id: BTreeMap<usize, f64> = rows.collect::<csv::Result<_>>().map_err(bad)?;
        match by_id.iter().find(|(_, ms)| !(ms.is_finite() && **ms > 0.0)) {
            Some((id, ms)) => {
                Err(Error::bad_file(path, format!("candidate {id}: latency_meas_ms `{ms}`: must be above 0")))
            }
            None => Ok(Self { by_id }),
        }
    }

    fn save(&self, folder: &RunDirectory) -> Result<()> {
        let row = |(&id, &latency_meas_ms): (&usize, &f64)| Measurement { id, latency_meas_ms };
        let rows: Vec<Measurement> = self.by_id.iter().map(row).collect();
        folder.write(&Self::path(folder), &csv_text(&rows, true)?)
    }
}

/// Chooses a front whose members keep the latency limit when measured: `choose` picks among the rows it is given; members that are
/// too slow are taken from those rows and it picks again. Nothing is measured without a target, or where the table is of another
/// device; that is said.
///
/// # Errors
/// ONNX Runtime fails, an interrupt, or a file that cannot be written.
pub(super) fn measured_front<'a>(
    settings: &Settings,
    (folder, session): (&RunDirectory, &Session),
    (space, pricing): (&Space, &Pricing),
    mut rows: Vec<&'a Row>,
    choose: impl Fn(&[&'a Row]) -> Result<Vec<&'a Row>>,
) -> Result<(Vec<&'a Row>, Measured)> {
    let Some((target, runtime)) = measurable(pricing, session) else {
        return Ok((choose(&rows)?, Measured::default()));
    };
    let mut known = Measured::load(&Measured::path(folder))?;
    let limit = limit(&settings.constraints);
    let mut slow = 0;
    loop {
        let front = choose(&rows)?;
        let missing: Vec<&Row> = front.iter().copied().filter(|row| known.of(row.id).is_none()).collect();
        for (id, ms) in measure(&missing, (&target, &runtime), session, space)? {
            known.by_id.insert(id, ms);
        }
        known.save(folder)?;
        let over = |row: &&Row| limit.is_some_and(|limit| known.of(row.id).is_some_and(|ms| ms > limit.limit));
        let before = rows.len();
        let too_slow: Vec<usize> = front.iter().copied().filter(|row| over(row)).map(|row| row.id).collect();
        rows.retain(|row| !too_slow.contains(&row.id));
        slow += too_slow.len();
        if rows.len() == before {
            if let (Some(limit), 1..) = (limit, slow) {
                session
                    .say(&format!("{slow} candidates that were predicted within {limit} measured above it: left out"));
            }
            return Ok((front, known));
        }
    }
}

/// The target and the runtime to measure with, if the table is of this machine; says why not.
fn measurable(pricing: &Pricing, session: &Session) -> Option<(Arc<Target>, Runtime)> {
    let target = pricing.target.clone()?;
    let here = processor();
    if !target.device.is(&here) {
        session.say(&format!("not measured: the latency table is of {}, this is {here}", target.device.device));
        return None;
    }
    match Runtime::load() {
        Ok(runtime) => Some((target, runtime)),
        Err(error) => {
            session.say(&format!("not measured: {error}"));
            None
        }
    }
}

fn measure(
    rows: &[&Row],
    (target, runtime): (&Target, &Runtime),
    session: &Session,
    space: &Space,
) -> Result<Vec<(usize, f64)>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let progress = Progress::new("measure", (rows.len() * NETWORK_ROUNDS) as u64, session.quiet);
    let networks: Vec<Network> = rows.iter().map(|row| space.network(&row.genome.0)).collect();
    let times = pinned(|| {
        networks_ms(runtime, &networks, &target.device, &mut || {
            progress.step(1);
            session.check_interrupt("`bitfront resume` continues")
        })
    })??;
    progress.finish();
    Ok(rows.iter().map(|row| row.id).zip(times).collect())
}
