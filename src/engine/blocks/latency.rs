//! What stages, and what stands around them, take on a device.

use super::features::stage_layers;
use crate::cost::latency::Target;
use crate::error::Result;
use crate::formats::Format;
use crate::network::{LoneStage, Network, Shape, stage_between};
use crate::space::{Hyperspace, SpaceCode, SubStage};

/// Channels of the tensors around a stage that is priced; they are not counted.
const AROUND: usize = 16;

/// Predicted time of a stage by itself under int8, in milliseconds; `input` is what its first block reads.
///
/// # Errors
/// A kernel that the target has nothing like.
pub(super) fn stage_ms(target: &Target, stage: &SubStage, index: usize, input: Shape) -> Result<f64> {
    let lone = LoneStage { index, c_in: stage.c_in, blocks: &stage.blocks, every_shortcut: false };
    let network = stage_between(&lone, Shape { c: AROUND, ..input }, AROUND)?.uniform(Format::Int(8));
    target.part_ms(&network, stage_layers(&network, index))
}

/// Predicted time under int8 of stem, first stage and head of the smallest network, in milliseconds, the call included.
///
/// # Errors
/// As [`stage_ms`].
pub(super) fn ends_ms(target: &Target, space: &Hyperspace) -> Result<f64> {
    let zeros = vec![0; space.stages.len()];
    let smallest: Network =
        space.smallest(&SpaceCode { blocks: zeros.clone(), windows: zeros })?.uniform(Format::Int(8));
    let stages = (1..=space.stages.len()).map(|stage| target.part_ms(&smallest, stage_layers(&smallest, stage)));
    Ok(target.predict(&smallest)?.latency_ms - stages.sum::<Result<f64>>()?)
}

/// Predicted time under int8 of the smallest network of any space, in milliseconds: the fastest block type in every stage.
///
/// # Errors
/// As for a table's rows: a kernel that the target has nothing like.
pub fn smallest_ms(target: &Target, space: &Hyperspace) -> Result<f64> {
    let side = space.resolutions.first().map_or(1, |resolution| resolution.side);
    let mut total = ends_ms(target, space)?;
    for stage in 0..space.stages.len() {
        let side = side.div_ceil(space.reduction(stage));
        let mut fastest = f64::INFINITY;
        for kind in 0..space.blocks.len() {
            let own = space.extreme_stage((stage, kind), false);
            fastest = fastest.min(stage_ms(target, &own, stage + 1, Shape { c: own.c_in, h: side, w: side })?);
        }
        total += fastest;
    }
    Ok(total)
}
