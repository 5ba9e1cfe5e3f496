//! The network that blocks learn from: wider than any of the hyperspace, with its strides.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::Device;

use super::settings::BlockSettings;
use crate::engine::{RunDirectory, Session, train_single};
use crate::error::{Error, Result};
use crate::models::{Folded, Weights};
use crate::network::{Act, Block, BlockType, ModelName, ModelSpec, Network, StagedModel, build};
use crate::space::Hyperspace;

/// Factor from the widest stage of the hyperspace to the teacher's.
const WIDER: f64 = 1.5;

/// What training the teacher gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TeacherResult {
    /// Test top-1 in percent.
    pub test_top1: f64,
    /// Validation top-1 in percent.
    pub validation_top1: f64,
}

/// The teacher of a hyperspace: stages of its strides and most blocks, of the block type that trains best in few epochs (a full
/// convolution that doubles the channels, linear projection), one and a half times as wide as the widest.
pub fn teacher_model(space: &Hyperspace) -> StagedModel {
    let wider = |widths: &[usize]| {
        let widest = widths.last().copied().unwrap_or(8) as f64;
        ((WIDER * widest / 8.0).round() as usize * 8).max(8)
    };
    let block = |width: usize, stride| Block {
        kind: BlockType::FusedMB,
        act: Act::Relu,
        kernel: 3,
        expansion: Some(2.0),
        width,
        stride,
        projects: true,
    };
    let first = vec![block(wider(&space.first.widths), space.first.stride)];
    let further = space.stages.iter().map(|stage| {
        let width = wider(&stage.widths);
        (0..stage.depths.1.min(2)).map(|at| block(width, if at == 0 { stage.stride } else { 1 })).collect()
    });
    StagedModel {
        stem: (wider(&space.stem.widths), space.stem.stride, Act::Relu),
        stages: std::iter::once(first).chain(further).collect(),
        head: (2 * space.head.expand, space.head.mix, Act::Relu),
        every_shortcut: false,
    }
}

/// The teacher's network for the settings' images.
fn network(settings: &BlockSettings) -> Result<Network> {
    let space = &settings.space;
    build(&ModelSpec {
        resolution: space.resolutions.first().map(|resolution| resolution.side),
        channels: Some(space.channels),
        classes: Some(space.classes),
        staged: Some(teacher_model(space)),
        ..ModelSpec::new(ModelName::Staged)
    })
}

/// The trained teacher, batch norm folded with its running statistics; trained if the folder does not hold it.
///
/// # Errors
/// Whatever its training fails with, or a folder that is damaged.
pub(super) fn teacher(
    settings: &BlockSettings,
    folder: &Path,
    session: &Session,
) -> Result<(Network, Folded, TeacherResult)> {
    let network = network(settings)?;
    let result = folder.join("state").join("result.json");
    let weights = folder.join("supernet.safetensors");
    if !result.is_file() || !weights.is_file() {
        let config = format!("{:#?}\n", settings.training());
        // One that was interrupted goes on.
        let begun = RunDirectory::open(folder).ok();
        let run = match begun.filter(|run| std::fs::read_to_string(run.config()).is_ok_and(|known| known == config)) {
            Some(run) => run,
            None => RunDirectory::create(Some(folder), "teacher", true)?,
        };
        run.write(&run.config(), &config)?;
        session.say(&format!("teacher: {:.1} million parameters", network.parameter_count() as f64 / 1e6));
        let goes_on = |error| match error {
            Error::Interrupted(_) => Error::Interrupted(": what is trained is saved; the same command goes on".into()),
            other => other,
        };
        let found = train_single(&settings.training(), &network, None, &run, session).map_err(goes_on)?;
        let found = TeacherResult { test_top1: found.top1, validation_top1: found.validation_top1 };
        let text = serde_json::to_string(&found).map_err(|error| Error::Failed(error.to_string()))?;
        run.write(&result, &text)?;
    }
    let text = std::fs::read_to_string(&result).map_err(|source| Error::io(&result, source))?;
    let found = serde_json::from_str(&text).map_err(|error| Error::bad_file(&result, error.to_string()))?;
    let file = crate::checkpoint::read(&weights)?;
    let weights = Weights::from_arrays(&network, &file.arrays, Device::Cpu)?;
    let folded = Folded::new(&network, &weights, &weights.ranges);
    Ok((network, folded, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_teacher_has_the_strides_of_its_hyperspace_and_is_wider() {
        let small = Hyperspace::shipped("smallw").unwrap();
        let model = teacher_model(&small);
        let strides: Vec<usize> = model.stages.iter().map(|stage| stage[0].stride).collect();
        assert_eq!((model.stem.1, strides), (1, vec![1, 2, 2, 2, 1]));
        for (stage, choice) in model.stages[1..].iter().zip(&small.stages) {
            assert!(stage.iter().all(|block| block.width > *choice.widths.last().unwrap()));
        }
    }
}
