//! The table of blocks that `bitfront evolve-space --target` makes from one's own images.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::cli::Common;
use crate::cli::kept::fingerprint;
use crate::cost::latency::Target;
use crate::data::{DataSource, Holdout, Split};
use crate::engine::{BlockFolder, BlockSettings, Session, TeacherResult, make_blocks, smallest_ms};
use crate::error::{Error, Result};
use crate::space::{Hyperspace, Resolution};
use crate::train::{BlockTraining, TrainConfig};

/// How a table of blocks is made.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "A table of your own blocks")]
pub struct OwnTableArgs {
    /// Latency table of the device: makes the table of blocks from --data, in --out, and evolves on it
    #[arg(long, value_name = "DIR", conflicts_with = "lut")]
    pub target: Option<PathBuf>,
    /// Images: fashion-mnist-mini, idx:DIR, cifar10:DIR or imagefolder:DIR [default: fashion-mnist-mini]
    #[arg(long, requires = "target")]
    pub data: Option<DataSource>,
    /// Training images held out; noise is measured on some of them
    #[arg(long, value_name = "N", default_value = "1000")]
    pub validation: Holdout,
    /// Passes over the training images of the teacher
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub teacher_epochs: usize,
    /// Steps of each stage and block type in float32; a third as many follow under int8
    #[arg(long, value_name = "N", default_value_t = BlockTraining::default().float_steps)]
    pub block_steps: usize,
    /// Trainings of each stage and block type, whose noise is averaged
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub block_seeds: u64,
    /// Training images that stages learn from
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub block_images: usize,
    /// Images that noise is measured on, and as many for batch-norm statistics
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub judging: usize,
    /// Random sub-stages of each stage, block type and window
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub rows: usize,
}

impl OwnTableArgs {
    fn settings(&self, space: &Hyperspace, target: &Path, common: &Common) -> Result<BlockSettings> {
        let data = self.data.clone().unwrap_or_default();
        if !(1..=1_000_000).contains(&self.teacher_epochs) {
            return Err(Error::bad_value("--teacher-epochs", self.teacher_epochs, "must be from 1 to 1000000"));
        }
        let usual = BlockTraining::default();
        let settings = BlockSettings {
            seed: common.root(),
            space: of_images(space, &data)?,
            data,
            validation: self.validation,
            target: std::path::absolute(target).unwrap_or_else(|_| target.to_owned()),
            latencies: ["device.ron", "kernels.csv"]
                .map(|file| fingerprint(&target.join(file)))
                .into_iter()
                .collect::<Result<Vec<_>>>()?
                .join(", "),
            teacher: TrainConfig { epochs: self.teacher_epochs, batch: 64, lr: 0.1, ..TrainConfig::default() },
            training: BlockTraining {
                float_steps: self.block_steps,
                int8_steps: self.block_steps.div_ceil(3),
                ..usual
            },
            seeds: self.block_seeds,
            images: self.block_images,
            judging: self.judging,
            rows: self.rows,
        };
        settings.check()?;
        Ok(settings)
    }
}

/// Folder of a run without `--out`.
pub(super) fn usual_place(space: &Hyperspace) -> PathBuf {
    Path::new("runs").join(format!("evolve-{}", space.name))
}

/// Makes the table, or what is missing of it; its folder, the hyperspace with what its ends take, what the teacher reaches.
///
/// # Errors
/// Images that the hyperspace has not the side of, a folder of other settings, or whatever a step fails with.
pub(super) fn own_table(
    args: &OwnTableArgs,
    target: &Path,
    (space, budgets): (&Hyperspace, &[f32]),
    (common, session): (&Common, &Session),
) -> Result<(PathBuf, Hyperspace, TeacherResult)> {
    let settings = args.settings(space, target, common)?;
    let device = Arc::new(Target::load(target)?);
    refuse_unreachable(&device, &settings.space, budgets)?;
    let place = common.out.clone().unwrap_or_else(|| usual_place(space));
    let folder = BlockFolder::open(&place, &settings, common.force)?;
    session.say(&format!("table of blocks: {}", folder.table().display()));
    let reached = make_blocks(&settings, &folder, &device, (common.thread_count()?, session))?;
    session.say(&format!("teacher: test top-1 {:.2} %", reached.test_top1));
    Ok((folder.table(), folder.space()?, reached))
}

/// Smaller than the smallest network's time by this factor, a budget has no network: another size may be a little faster.
const CERTAINLY: f64 = 0.8;

/// Refuses budgets that no network meets before anything is trained.
fn refuse_unreachable(target: &Target, space: &Hyperspace, budgets: &[f32]) -> Result<()> {
    let least = smallest_ms(target, space)?;
    match budgets.iter().find(|ms| f64::from(**ms) < CERTAINLY * least) {
        Some(ms) => {
            Err(Error::Infeasible(format!("--budget-ms {ms}: the smallest network of all spaces takes {least:.2} ms")))
        }
        None => Ok(()),
    }
}

/// The hyperspace with the one side that the images have.
fn of_images(space: &Hyperspace, data: &DataSource) -> Result<Hyperspace> {
    let plain = data.transform();
    let images = data.load(Split::Train, &plain)?;
    let (shape, classes) = (images.shape(), images.classes().len());
    let sides: Vec<usize> = space.resolutions.iter().map(|resolution| resolution.side).collect();
    if shape.h != shape.w || !sides.contains(&shape.h) || shape.c != space.channels {
        let found = format!("has images of {}x{}x{}", shape.c, shape.h, shape.w);
        let expected = format!("{found}; {} is for {} channels and sides {sides:?}", space.name, space.channels);
        return Err(Error::bad_value("--data", data, expected));
    }
    let resolutions = vec![Resolution { side: shape.h, ends_ms: None }];
    Ok(Hyperspace { resolutions, classes, ..space.clone() })
}
