//! `targets.csv`: how each target of a one-shot search ended.

use serde::{Deserialize, Serialize};

use super::RunDirectory;
use super::history::csv_text;
use crate::error::{Error, Result};

/// How one target ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetRow {
    /// Number of its candidate.
    pub id: usize,
    /// Share of the int8 cost.
    pub target_share: f64,
    /// The same as a cost.
    pub target: f64,
    /// Cost of the network that was found.
    pub achieved: f64,
    /// Their ratio.
    pub achieved_over_target: f64,
    /// Probability of the chosen option in the least certain decision.
    pub least_certain: f64,
    /// Mean entropy of the policy at the end, in nats.
    pub mean_entropy: f64,
    /// Decisions that were moved to meet the target.
    pub moved: usize,
    /// Whether a hard limit was broken and repaired.
    pub repaired: bool,
}

/// Writes the file of a run.
///
/// # Errors
/// It cannot be written.
pub(super) fn write_targets(folder: &RunDirectory, rows: &[TargetRow]) -> Result<()> {
    folder.write(&folder.targets(), &csv_text(rows, true)?)
}

/// Reads the file of a run.
///
/// # Errors
/// It is missing or holds something else.
pub fn read_targets(folder: &RunDirectory) -> Result<Vec<TargetRow>> {
    let path = folder.targets();
    let rows: csv::Result<Vec<TargetRow>> =
        csv::Reader::from_path(&path).and_then(|mut reader| reader.deserialize().collect());
    rows.map_err(|error| Error::bad_file(&path, error.to_string()))
}
