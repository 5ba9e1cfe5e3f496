//! The draws behind the Q-T score, column by column.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::qt_kernel::add;
use crate::cost::latency::Cell;

/// The draws of one cell: a latency in ms and a loss a sample.
pub(super) struct Columns {
    pub(super) latency: Vec<f32>,
    pub(super) loss: Vec<f32>,
}

impl Columns {
    /// Draws from a cell's rows, as many samples of each resolution as `counts` says; `ends` is added to each latency.
    pub(super) fn draw(cell: &Cell, counts: &[usize], ends: impl Fn(usize) -> f32, mut rng: ChaCha8Rng) -> Self {
        let samples = counts.iter().sum();
        let mut drawn = Self { latency: Vec::with_capacity(samples), loss: Vec::with_capacity(samples) };
        for (resolution, &count) in counts.iter().enumerate() {
            let (rows, ends) = (&cell[resolution], ends(resolution));
            for _ in 0..count {
                let row = rows[rng.random_range(0..rows.len() as u32) as usize];
                drawn.latency.push(row.latency_ms + ends);
                drawn.loss.push(row.loss);
            }
        }
        drawn
    }

    /// The samples of one resolution, read from `turn` on and round the end.
    pub(super) fn turned(&self, part: &Range<usize>, turn: usize) -> Turned<'_> {
        Turned { latency: &self.latency[part.clone()], loss: &self.loss[part.clone()], turn }
    }
}

/// A cell's columns at one resolution, read from `turn` on and round the end.
pub(super) struct Turned<'a> {
    latency: &'a [f32],
    loss: &'a [f32],
    turn: usize,
}

impl Turned<'_> {
    /// Adds the samples from `start` on to sums of any length up to that of the columns.
    pub(super) fn add_to(&self, latency: &mut [f32], loss: &mut [f32], start: usize) {
        let from = (start + self.turn) % self.latency.len();
        let straight = latency.len().min(self.latency.len() - from);
        for (sums, column) in [(latency, self.latency), (loss, self.loss)] {
            let (before, behind) = sums.split_at_mut(straight);
            add(before, &column[from..from + straight]);
            add(behind, &column[..behind.len()]);
        }
    }
}

/// Samples of each resolution: one is drawn for every `batch`.
pub(super) fn counts(resolutions: usize, (samples, batch): (usize, usize), mut rng: ChaCha8Rng) -> Vec<usize> {
    let mut counts = vec![0; resolutions];
    for start in (0..samples).step_by(batch) {
        counts[rng.random_range(0..resolutions)] += batch.min(samples - start);
    }
    counts
}
