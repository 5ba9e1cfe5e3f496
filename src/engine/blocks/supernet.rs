//! One stage of one block type, trained at all its sizes.

use std::path::{Path, PathBuf};
use std::time::Instant;

use tch::Device;

use super::features::{Features, stage_layers};
use super::settings::BlockSettings;
use crate::checkpoint;
use crate::error::Result;
use crate::formats::Format;
use crate::interrupt;
use crate::models::Weights;
use crate::network::{LoneStage, Network, Shape, stage_between};
use crate::seed::Seed;
use crate::space::SubStage;
use crate::train::{Phase, distil_stage};

/// A stage and a block type between a teacher's tensors.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockPlace {
    /// Index among the hyperspace's stages.
    pub(super) stage: usize,
    /// Index among its block types.
    pub(super) kind: usize,
    /// What the teacher's stage reads.
    pub(super) input: Shape,
    /// Channels that the teacher's stage gives.
    pub(super) c_out: usize,
}

impl BlockPlace {
    /// The place at a stage of the hyperspace for a teacher's network.
    pub(super) fn new(stage: usize, kind: usize, teacher: &Network) -> Self {
        let layers = stage_layers(teacher, stage + 1);
        let input = teacher.shape(teacher.layers[layers.start].inputs[0]);
        Self { stage, kind, input, c_out: teacher.layers[layers.end - 1].output.c }
    }

    /// The network of a sub-stage at this place, int8 or float32.
    ///
    /// # Errors
    /// Maps that are too small for a kernel.
    pub(super) fn network(&self, stage: &SubStage, every_shortcut: bool, phase: Phase) -> Result<Network> {
        let SubStage { c_in, blocks } = stage;
        let lone = LoneStage { index: self.stage + 1, c_in: *c_in, blocks, every_shortcut };
        let network = stage_between(&lone, self.input, self.c_out)?;
        Ok(if phase == Phase::Int8 { network.uniform(Format::Int(8)) } else { network })
    }

    /// The two networks that together have all parameters of the place.
    pub(super) fn whole(&self, settings: &BlockSettings) -> Result<[Network; 2]> {
        let largest = settings.space.extreme_stage((self.stage, self.kind), true);
        Ok([self.network(&largest, false, Phase::Int8)?, self.network(&largest, true, Phase::Int8)?])
    }

    /// The file of its weights.
    pub(super) fn file(&self, folder: &Path, seed: u64) -> PathBuf {
        folder.join("blocks").join(format!("stage{}_{}-seed{seed}.safetensors", self.stage + 1, self.kind))
    }

    /// Its trained weights.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub(super) fn read(&self, settings: &BlockSettings, folder: &Path, seed: u64) -> Result<Weights> {
        let file = checkpoint::read(self.file(folder, seed))?;
        let [largest, every] = self.whole(settings)?;
        let read = |network| Weights::from_arrays(network, &file.arrays, Device::Cpu);
        Ok(read(&largest)?.with(read(&every)?))
    }
}

/// One row of `blocks.csv`.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Trained {
    /// Stage, counted from 1.
    pub(super) stage: usize,
    /// Block type by name.
    pub(super) block: String,
    /// Which training.
    pub(super) seed: u64,
    /// Loss of the largest sub-stage at the end of the phase in float32.
    pub(super) float_loss: f64,
    /// The same under int8.
    pub(super) int8_loss: f64,
    /// Seconds that it took.
    pub(super) seconds: f64,
}

/// Trains a place and writes its weights.
///
/// # Errors
/// An interrupt, a loss that is not finite, or a file that cannot be written.
pub(super) fn train_place(
    place: &BlockPlace,
    which: u64,
    features: &Features,
    settings: &BlockSettings,
    folder: &Path,
) -> Result<Trained> {
    let began = Instant::now();
    let (space, at) = (&settings.space, (place.stage, place.kind));
    let name = space.blocks[place.kind].kind.name();
    let seed = Seed::new(settings.seed).child(&format!("block {} {name}", place.stage + 1)).at(which);
    let whole = place.whole(settings)?;
    let [largest, every] = &whole;
    let device = features.learning.input.device();
    let fresh = |network| Weights::initialised(network, seed.child("weights"), device);
    let mut weights = fresh(largest).with(fresh(every));
    let ends = [space.extreme_stage(at, true), space.extreme_stage(at, false)];
    let widths = &space.stages[place.stage].widths;
    let mut sampled = |phase, rng: &mut _| {
        let random = (0..settings.training.random).map(|_| space.random_stage(at, widths, rng));
        ends.iter().cloned().chain(random).map(|stage| place.network(&stage, false, phase)).collect()
    };
    let losses = distil_stage(
        &mut weights,
        (&mut sampled, &whole),
        &features.learning,
        &settings.training,
        seed.child("steps"),
        &interrupt::requested,
    )?;
    checkpoint::write_safetensors(place.file(folder, which), &weights.to_arrays(), &[].into())?;
    Ok(Trained {
        stage: place.stage + 1,
        block: name.to_owned(),
        seed: which,
        float_loss: losses[0],
        int8_loss: losses[1],
        seconds: (began.elapsed().as_secs_f64() * 10.0).round() / 10.0,
    })
}
