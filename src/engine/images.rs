//! A run's images: training batches, the images that calibrate and judge candidates, the test images.

use std::sync::Arc;

use tch::{Device, Tensor};

use super::TrainSettings;
use crate::data::DataSource;
use crate::data::Images;
use crate::data::Loader;
use crate::data::Split;
use crate::data::imagenet_classes;
use crate::data::map_classes;
use crate::data::split;
use crate::error::Error;
use crate::error::Result;
use crate::network::Network;
use crate::seed::Seed;
use crate::train::Evaluation;

/// Most images a batch when candidates are scored: small enough that a layer's output stays in cache.
const SCORING_BATCH: usize = 128;

/// Batches in memory: images and labels.
type Batches = Vec<(Tensor, Tensor)>;

/// The images that make candidates ready and choose among them.
#[derive(Debug)]
pub struct JudgingImages {
    /// Training images under the training augmentation, for batch-norm statistics.
    statistics: Batches,
    /// The same images without augmentation, for ranges.
    ranges: Batches,
    /// Images that no training sees.
    validation: Batches,
}

impl JudgingImages {
    /// How candidates are made ready.
    pub fn evaluation(&self) -> Evaluation<'_> {
        Evaluation { statistics: &self.statistics, ranges: &self.ranges }
    }

    /// The images that ranges are recorded from.
    pub fn calibration(&self) -> Vec<&Tensor> {
        self.ranges.iter().map(|(x, _)| x).collect()
    }

    /// Where the images live.
    pub fn device(&self) -> Device {
        self.ranges.first().map_or(Device::Cpu, |(x, _)| x.device())
    }

    /// The validation batches as an evaluation reads them.
    pub fn validation(&self) -> impl Iterator<Item = Result<(Tensor, Tensor)>> + '_ {
        handles(&self.validation).into_iter().map(Ok)
    }

    /// Further handles on the same images, for another thread.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        Self {
            statistics: handles(&self.statistics),
            ranges: handles(&self.ranges),
            validation: handles(&self.validation),
        }
    }
}

fn handles(batches: &Batches) -> Batches {
    batches.iter().map(|(x, y)| (x.shallow_clone(), y.shallow_clone())).collect()
}

/// What a run reads from its data set.
#[derive(Debug)]
pub struct RunImages {
    /// Shuffled, augmented training batches.
    pub training: Loader,
    /// The images that candidates are judged by.
    pub judging: JudgingImages,
    /// Makes batches of the images that ranges are recorded from.
    calibrating: Loader,
    seed: Seed,
    data: DataSource,
    classes: usize,
    device: Device,
}

impl RunImages {
    /// Reads the training images and splits them.
    ///
    /// # Errors
    /// The data cannot be read, or does not fit the network.
    pub fn load(settings: &TrainSettings, network: &Network, device: Device) -> Result<Self> {
        let seed = Seed::new(settings.seed).child("data");
        let images = Arc::new(settings.data.load(Split::Train, &network.transform)?);
        check_fit(&settings.data, &images, network)?;
        let classes = images.classes().len();
        let parts = split(&images, settings.validation, seed.child("split"))?;
        let calibration: Vec<usize> = spread(&parts.train, settings.calibration);
        let make = |indices: Vec<usize>, batch| Loader::new(images.clone(), indices, &network.transform, batch);
        let augment = Some(settings.data.augment(network.input.h));
        let training = make(parts.train, settings.train.batch)?.for_training(seed.child("batches"), augment).on(device);
        let scoring = make(parts.validation.clone(), SCORING_BATCH)?.on(device);
        let calibrating = make(calibration.clone(), equal_batch(calibration.len()))?.on(device);
        let calibrating = calibrating.for_training(seed, augment);
        let judging = JudgingImages {
            validation: scoring.whole(&parts.validation, None)?,
            ranges: calibrating.whole(&calibration, None)?,
            statistics: calibrating.whole(&calibration, Some(seed.child("statistics")))?,
        };
        Ok(Self { training, judging, calibrating, seed, data: settings.data.clone(), classes, device })
    }

    /// The images that ranges are recorded from, `count` times: as they are, then under the training augmentation, each time
    /// changed in another way.
    ///
    /// # Errors
    /// An image cannot be read, or memory runs out.
    pub fn views(&self, count: usize) -> Result<Vec<Tensor>> {
        let mut views: Vec<Tensor> = self.judging.calibration().into_iter().map(Tensor::shallow_clone).collect();
        for view in 1..count {
            let change = self.seed.child("views").at(view as u64);
            let changed = self.calibrating.whole(self.calibrating.indices(), Some(change))?;
            views.extend(changed.into_iter().map(|(x, _)| x));
        }
        Ok(views)
    }

    /// Number of classes of the images.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Where the tensors live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The test images; read when asked for, at the very end of a run.
    ///
    /// # Errors
    /// The data cannot be read.
    pub fn test(&self, network: &Network) -> Result<Loader> {
        test_images(&self.data, network, self.device)
    }
}

/// The test images of a data set, in order; some folders of ImageNet get the labels that a model of all of them gives.
///
/// # Errors
/// The data cannot be read, or does not fit the network.
pub fn test_images(data: &DataSource, network: &Network, device: Device) -> Result<Loader> {
    let images = data.load(Split::Test, &network.transform)?;
    let images = Arc::new(labelled(data, images, network)?);
    let all = (0..images.len()).collect();
    Ok(Loader::new(images, all, &network.transform, SCORING_BATCH)?.on(device))
}

/// The images with the labels that the network gives their classes.
fn labelled(data: &DataSource, images: Images, network: &Network) -> Result<Images> {
    check_fit(data, &images, network)?;
    let known = imagenet_classes(images.classes(), network.classes);
    let map = map_classes(images.classes(), known.as_deref(), network.classes)?;
    Ok(images.relabelled(&map))
}

/// The images of [`calibration_images`] without augmentation, with the labels that the network gives their classes.
///
/// # Errors
/// As [`calibration_images`]; classes that the network does not have.
pub fn labelled_images(data: &DataSource, network: &Network, count: usize, device: Device) -> Result<Batches> {
    let images = Arc::new(labelled(data, data.load(Split::Train, &network.transform)?, network)?);
    let indices = spread(&(0..images.len()).collect::<Vec<_>>(), count);
    Loader::new(images, indices.clone(), &network.transform, equal_batch(indices.len()))?
        .on(device)
        .whole(&indices, None)
}

/// `count` of the training images, evenly spread, as calibration without a run; with a seed under the training
/// augmentation.
///
/// # Errors
/// The data cannot be read, or does not fit the network.
pub fn calibration_images(
    data: &DataSource,
    network: &Network,
    count: usize,
    device: Device,
    augmented: Option<Seed>,
) -> Result<Batches> {
    let images = Arc::new(data.load(Split::Train, &network.transform)?);
    check_fit(data, &images, network)?;
    let indices = spread(&(0..images.len()).collect::<Vec<_>>(), count);
    let augment = Some(data.augment(network.input.h));
    let loader = Loader::new(images, indices.clone(), &network.transform, equal_batch(indices.len()))?.on(device);
    loader.for_training(Seed::new(0), augment).whole(&indices, augmented)
}

/// Images a batch so that all batches of `count` images are of equal size, give or take one short last one: each counts
/// the same when batch-norm statistics are averaged.
fn equal_batch(count: usize) -> usize {
    count.div_ceil(count.div_ceil(SCORING_BATCH).max(1)).max(1)
}

/// `count` entries at even distances.
fn spread(all: &[usize], count: usize) -> Vec<usize> {
    let count = count.min(all.len());
    (0..count).map(|k| all[k * all.len() / count]).collect()
}

fn check_fit(data: &DataSource, images: &Images, network: &Network) -> Result<()> {
    if images.shape() != network.input {
        let (have, want) = (images.shape(), network.input);
        return Err(Error::bad_value(
            "--data",
            data,
            format!(
                "its images are {}x{}x{}, {} wants {}x{}x{} (channels x rows x columns)",
                have.c, have.h, have.w, network.model, want.c, want.h, want.w
            ),
        ));
    }
    Ok(())
}
