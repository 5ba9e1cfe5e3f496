//! The Q-T loss of whole networks: the noise of their stages, one by one behind the teacher, added up.

use std::path::Path;

use super::features::{Features, TeacherImages};
use super::settings::BlockSettings;
use super::supernet::BlockPlace;
use super::teacher::teacher;
use crate::engine::Session;
use crate::engine::workers::{in_order, scoring_threads};
use crate::error::{Error, Result};
use crate::network::{Block, StagedModel};
use crate::progress::Progress;
use crate::ron_text;
use crate::space::SubStage;
use crate::train::{Evaluation, Phase, stage_noise};

/// The loss of each network of stages by the blocks of a finished table; lower is better.
///
/// # Errors
/// The folder's table is not finished, a network is not of its hyperspace, or an interrupt.
pub fn stage_losses(folder: &Path, models: &[StagedModel], (threads, session): (usize, &Session)) -> Result<Vec<f64>> {
    let settings: BlockSettings = ron_text::read(&folder.join("blocks.ron"))?;
    let (network, ready, _) = teacher(&settings, &folder.join("teacher"), session)?;
    let images =
        TeacherImages::load(&BlockSettings { images: settings.judging, ..settings.clone() }, &network, session)?;
    let mut losses = vec![0.0; models.len()];
    let progress = Progress::new("proxy", (models.len() * settings.space.stages.len()) as u64, session.quiet);
    for stage in 0..settings.space.stages.len() {
        let features = images.features(&ready, &network, stage, settings.judging);
        let noise = |features: &Features, model: &StagedModel| -> Result<f64> {
            let own = sub_stage(model, stage)?;
            let kind = kind_of(&settings, &own.blocks[0])?;
            let place = BlockPlace::new(stage, kind, &network);
            let quantized = place.network(&own, false, Phase::Int8)?;
            let evaluation = Evaluation { statistics: &features.statistics, ranges: &features.statistics };
            let mut sum = 0.0;
            for seed in 0..settings.seeds {
                sum += stage_noise(&quantized, &place.read(&settings, folder, seed)?, evaluation, &features.held);
            }
            Ok(sum / settings.seeds as f64)
        };
        let mut at = 0;
        let go_on = || !crate::interrupt::requested();
        in_order(
            scoring_threads(threads, session.device),
            models,
            || features.shallow_clone(),
            noise,
            &go_on,
            |found| {
                losses[at] += found?;
                at += 1;
                progress.step(1);
                Ok(())
            },
        )?;
        session.check_interrupt("nothing was written")?;
    }
    progress.finish();
    Ok(losses)
}

/// A stage of a network, counted as the hyperspace does: without the one behind the stem.
fn sub_stage(model: &StagedModel, stage: usize) -> Result<SubStage> {
    let missing =
        || Error::bad_value("network", model.stages.len(), format!("stages; stage {} is asked for", stage + 1));
    let before = model.stages.get(stage).and_then(|blocks| blocks.last()).ok_or_else(missing)?;
    let blocks = model.stages.get(stage + 1).filter(|blocks| !blocks.is_empty()).ok_or_else(missing)?;
    Ok(SubStage { c_in: before.width, blocks: blocks.clone() })
}

fn kind_of(settings: &BlockSettings, block: &Block) -> Result<usize> {
    let found = settings.space.blocks.iter().position(|choice| choice.kind == block.kind);
    found.ok_or_else(|| {
        Error::unknown_name("block type", block.kind.name(), settings.space.blocks.iter().map(|b| b.kind.name()))
    })
}
