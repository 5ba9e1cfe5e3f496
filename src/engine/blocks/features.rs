//! What the teacher's stages read and give.

use std::ops::Range;

use tch::Tensor;

use super::settings::BlockSettings;
use crate::engine::{RunImages, Session};
use crate::error::Result;
use crate::models::Folded;
use crate::network::Network;
use crate::train::StageFeatures;

/// Images a batch while the teacher runs.
const BATCH: usize = 128;

/// Images that stages learn from, and images that judge them; as the teacher reads them.
pub(super) struct TeacherImages {
    learning: Vec<Tensor>,
    judging: Vec<Tensor>,
}

/// The features of one stage.
pub(super) struct Features {
    /// Of the images that it learns from.
    pub(super) learning: StageFeatures,
    /// Of the first of these, for batch-norm statistics and ranges.
    pub(super) statistics: Vec<(Tensor, Tensor)>,
    /// Of images that no training has seen.
    pub(super) held: StageFeatures,
}

impl TeacherImages {
    /// Reads them; the test images are not touched.
    ///
    /// # Errors
    /// The data cannot be read, or does not fit the network.
    pub(super) fn load(settings: &BlockSettings, network: &Network, session: &Session) -> Result<Self> {
        let images = RunImages::load(&settings.training(), network, session.device)?;
        let all = images.training.indices();
        let count = settings.images.min(all.len());
        let places: Vec<usize> = (0..count).map(|at| all[at * all.len() / count]).collect();
        let learning = places.chunks(BATCH).map(|part| images.training.whole(part, None));
        let learning: Vec<(Tensor, Tensor)> = learning.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        let mut judging = Vec::new();
        for batch in images.judging.validation() {
            judging.push(batch?.0);
        }
        let judging = Tensor::cat(&judging, 0);
        let held = judging.size()[0].min(settings.judging as i64);
        Ok(Self {
            learning: learning.into_iter().map(|(x, _)| x).collect(),
            judging: judging.narrow(0, 0, held).split(BATCH as i64, 0),
        })
    }

    /// What the stage at this index of the hyperspace (behind the first stage) reads and gives in the teacher.
    pub(super) fn features(&self, teacher: &Folded, network: &Network, stage: usize, count: usize) -> Features {
        let parts = [0..stage_layers(network, stage + 1).start, stage_layers(network, stage + 1)];
        let run = |batches: &[Tensor]| {
            let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
            for x in batches {
                let input = teacher.part(parts[0].clone(), &teacher.input(x));
                outputs.push(teacher.part(parts[1].clone(), &input));
                inputs.push(input);
            }
            StageFeatures { input: Tensor::cat(&inputs, 0), output: Tensor::cat(&outputs, 0) }
        };
        let (learning, held) = (run(&self.learning), run(&self.judging));
        let count = (count as i64).min(learning.input.size()[0]);
        let first = |all: &Tensor| all.narrow(0, 0, count).split(BATCH as i64, 0);
        let statistics = first(&learning.input).into_iter().zip(first(&learning.output)).collect();
        Features { learning, statistics, held }
    }
}

impl Features {
    /// Further handles on the same tensors, for another thread.
    pub(super) fn shallow_clone(&self) -> Self {
        let statistics = self.statistics.iter().map(|(x, y)| (x.shallow_clone(), y.shallow_clone())).collect();
        Self { learning: self.learning.shallow_clone(), statistics, held: self.held.shallow_clone() }
    }
}

/// The layers of a stage of a staged network.
pub(super) fn stage_layers(network: &Network, stage: usize) -> Range<usize> {
    let own = |index: &usize| network.layers[*index].name.starts_with(&format!("stage{stage}."));
    let mut places = (0..network.layers.len()).filter(own);
    let first = places.next().unwrap_or(0);
    first..places.next_back().unwrap_or(first) + 1
}
