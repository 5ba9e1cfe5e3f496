//! One file of a table: random sub-stages of a stage, block type and window, their noise and their latency.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::features::Features;
use super::latency::stage_ms;
use super::settings::BlockSettings;
use super::supernet::BlockPlace;
use crate::atomic::write_atomically;
use crate::cost::latency::{Measured, Target, block_row};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::models::Weights;
use crate::network::Shape;
use crate::seed::Seed;
use crate::train::{Evaluation, Phase, stage_noise};

/// Noise below which a row would divide by nothing.
const LEAST_NOISE: f64 = 1e-6;

/// The file of a window.
pub(super) fn cell_file(folder: &Path, place: &BlockPlace, window: usize) -> PathBuf {
    folder.join("table").join(format!("stage{}_{}_{window}.csv", place.stage + 1, place.kind))
}

/// Draws, judges and prices the rows of a window and writes its file.
///
/// # Errors
/// An interrupt, a kernel that the target has nothing like, or a file that cannot be written.
pub(super) fn write_cell(
    (place, window): (&BlockPlace, usize),
    weights: &[Weights],
    features: &Features,
    (settings, target): (&BlockSettings, &Target),
    folder: &Path,
) -> Result<()> {
    let space = &settings.space;
    let choice = &space.stages[place.stage];
    let name = format!("rows {} {} {window}", place.stage + 1, space.blocks[place.kind].kind.name());
    let mut rng = Seed::new(settings.seed).child(&name).rng();
    let side = features.held.input.size()[2] as usize;
    let evaluation = Evaluation { statistics: &features.statistics, ranges: &features.statistics };
    let mut text = String::new();
    for _ in 0..settings.rows {
        if interrupt::requested() {
            return Err(Error::Interrupted(": finished files are kept; the same command goes on".into()));
        }
        let stage = space.random_stage((place.stage, place.kind), choice.window(window), &mut rng);
        let network = place.network(&stage, false, Phase::Int8)?;
        let noise = weights.iter().map(|weights| stage_noise(&network, weights, evaluation, &features.held));
        let loss = (noise.sum::<f64>() / weights.len() as f64).max(LEAST_NOISE);
        let input = Shape { c: stage.c_in, h: side, w: side };
        let latency_ms = stage_ms(target, &stage, place.stage + 1, input)?;
        text += &block_row(&stage, input, Measured { loss: loss as f32, latency_ms: latency_ms as f32 })?;
    }
    write_atomically(cell_file(folder, place, window), |out| out.write_all(text.as_bytes()))
}
