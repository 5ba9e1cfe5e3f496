//! Batches of a list of images, in order for evaluation or shuffled and augmented for training.

use std::sync::Arc;

use rand::seq::SliceRandom;
use rayon::prelude::*;
use tch::{Device, Tensor};

use crate::data::augment::{Augment, Change};
use crate::data::batch::Batch;
use crate::data::images::Images;
use crate::data::normalize::Normalize;
use crate::data::prefetch::Prefetch;
use crate::error::{Error, Result};
use crate::network::Transform;
use crate::seed::Seed;

/// Makes batches. Cheap to clone: clones share the images.
#[derive(Clone, Debug)]
pub struct Loader {
    images: Arc<Images>,
    indices: Arc<[usize]>,
    normalize: Arc<Normalize>,
    batch: usize,
    shuffle: Option<Seed>,
    augment: Option<Augment>,
    device: Device,
}

impl Loader {
    /// Batches of `batch` images at `indices`, in that order and unchanged; the last one may be short.
    ///
    /// # Errors
    /// When there is no index, one is not below the number of images, `batch` is 0, or the constants of `transform` do
    /// not fit the images.
    pub fn new(images: Arc<Images>, indices: Vec<usize>, transform: &Transform, batch: usize) -> Result<Self> {
        if batch == 0 || indices.is_empty() {
            let expected = format!("expected at least 1 image a batch, of {} images", indices.len());
            return Err(Error::bad_value("batch", batch, expected));
        }
        check_indices(&images, &indices)?;
        let normalize = Arc::new(Normalize::new(transform, images.shape().c)?);
        let indices = indices.into();
        Ok(Self { images, indices, normalize, batch, shuffle: None, augment: None, device: Device::Cpu })
    }

    /// For training: a new order every epoch drawn from `seed`, images changed by `augment`, and no short batch: the few
    /// images left over at an epoch's end wait for the next one (fewer images than a batch make one short batch).
    #[must_use]
    pub fn for_training(self, seed: Seed, augment: Option<Augment>) -> Self {
        Self { shuffle: Some(seed), augment, ..self }
    }

    /// Puts the tensors on `device` instead of the CPU.
    #[must_use]
    pub fn on(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// Batches in an epoch.
    pub fn steps(&self) -> usize {
        match self.shuffle {
            Some(_) => (self.indices.len() / self.batch).max(1),
            None => self.indices.len().div_ceil(self.batch),
        }
    }

    /// The images that batches are made of, unshuffled, as indices into all images.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// The images of `epoch` in the order of their batches, as indices into the images.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order = self.indices.to_vec();
        if let Some(seed) = self.shuffle {
            order.shuffle(&mut seed.child("order").at(epoch).rng());
        }
        order
    }

    /// Batch `step` of `epoch`, whatever was asked before.
    ///
    /// # Errors
    /// When an image cannot be read or decoded.
    ///
    /// # Panics
    /// When `step` is not below [`Loader::steps`].
    pub fn batch(&self, epoch: u64, step: usize) -> Result<Batch> {
        self.batch_of(&self.order(epoch), epoch, step)
    }

    /// Batch `step` of the images in `order`, which is that of `epoch`.
    pub(super) fn batch_of(&self, order: &[usize], epoch: u64, step: usize) -> Result<Batch> {
        assert!(step < self.steps(), "step {step} of {}", self.steps());
        let indices = &order[step * self.batch..order.len().min((step + 1) * self.batch)];
        self.assemble(indices, self.shuffle.map(|seed| seed.child("augment").at(epoch)))
    }

    /// The batches of `epoch` from `start_step` on, prepared ahead by a thread of their own.
    pub fn epoch(&self, epoch: u64, start_step: usize) -> Prefetch {
        Prefetch::start(self.clone(), epoch, start_step)
    }

    /// The images at `indices` as tensors that stay in memory, for evaluating many candidates on the same images. With a
    /// seed they are changed by the training augmentation (where there is one), for batch-norm re-estimation.
    ///
    /// # Errors
    /// When an index is not below the number of images, an image cannot be read, or memory runs out.
    pub fn whole(&self, indices: &[usize], augment: Option<Seed>) -> Result<Vec<(Tensor, Tensor)>> {
        check_indices(&self.images, indices)?;
        indices.chunks(self.batch).map(|part| self.tensors(&self.assemble(part, augment)?)).collect()
    }

    /// The batch on the loader's device.
    pub(super) fn tensors(&self, batch: &Batch) -> Result<(Tensor, Tensor)> {
        batch.tensors(self.device)
    }

    /// Reads, changes and normalises; image `i` draws from the stream `changes.at(i)`, so the threads do not matter.
    fn assemble(&self, indices: &[usize], changes: Option<Seed>) -> Result<Batch> {
        let shape = self.images.shape();
        let changes = self.augment.zip(changes);
        let write = |(out, &index): (&mut [f32], &usize)| -> Result<()> {
            let draw = |(augment, seed): (Augment, Seed)| augment.draw(&mut seed.at(index as u64).rng());
            let change = changes.map_or_else(Change::default, draw);
            change.write(&self.images.pixels(index)?, shape, &self.normalize, out);
            Ok(())
        };
        let mut pixels = vec![0.0; indices.len() * shape.elements()];
        if self.images.is_costly() {
            pixels.par_chunks_mut(shape.elements()).zip(indices).try_for_each(write)?;
        } else {
            pixels.chunks_mut(shape.elements()).zip(indices).try_for_each(write)?;
        }
        let labels = indices.iter().map(|&index| i64::from(self.images.labels()[index])).collect();
        Ok(Batch { pixels, labels, shape })
    }
}

fn check_indices(images: &Images, indices: &[usize]) -> Result<()> {
    match indices.iter().find(|&&index| index >= images.len()) {
        Some(index) => Err(Error::bad_value("image index", index, format!("expected below {}", images.len()))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::{DataSource, Split};
    use crate::network::Shape;

    fn transform(crop: Option<usize>) -> Transform {
        Transform { crop, ..Transform::plain(&[0.5], &[0.5]) }
    }

    /// `count` images of 4 x 4 pixels, each with pixel values of its own.
    fn images(count: usize) -> Arc<Images> {
        let pixels = (0..count * 16).map(|k| (k * 7 % 251) as u8).collect();
        let labels = (0..count).map(|k| (k % 3) as u16).collect();
        let names = ["a", "b", "c"].map(str::to_string).to_vec();
        Arc::new(Images::new(pixels, labels, Shape { c: 1, h: 4, w: 4 }, names).unwrap())
    }

    fn training(seed: u64) -> Loader {
        let loader = Loader::new(images(50), (5..45).collect(), &transform(None), 12).unwrap();
        loader.for_training(Seed::new(seed), Some(Augment { padding: 1, flip: true }))
    }

    #[test]
    fn shuffling_is_a_permutation_that_differs_by_epoch_and_seed() {
        let loader = training(1);
        let mut sorted = loader.order(0);
        sorted.sort_unstable();
        assert_eq!(sorted, (5..45).collect::<Vec<_>>());
        assert_ne!(loader.order(0), loader.order(1));
        assert_ne!(loader.order(0), training(2).order(0));
        assert_eq!(loader.order(3), training(1).order(3));
    }

    #[test]
    fn same_seed_gives_the_same_batches_and_epochs_change_images_anew() {
        assert_eq!(training(1).batch(2, 1).unwrap(), training(1).batch(2, 1).unwrap());
        assert_ne!(training(1).batch(2, 1).unwrap(), training(2).batch(2, 1).unwrap());
        // Nine shifts times two mirrors: three images change alike in two epochs once in 18^3 seeds.
        let loader = training(1);
        let changed = |epoch| loader.assemble(&[7, 8, 9], Some(Seed::new(1).child("augment").at(epoch))).unwrap();
        assert_ne!(changed(0), changed(1));
    }

    #[test]
    fn an_image_changes_alike_whatever_stands_beside_it() {
        let loader = training(1);
        let seed = Some(Seed::new(4));
        let together = loader.assemble(&[7, 8, 9], seed).unwrap();
        let alone = loader.assemble(&[9], seed).unwrap();
        assert_eq!(together.pixels[32..], alone.pixels);
    }

    #[test]
    fn training_keeps_batches_full_and_evaluation_keeps_every_image() {
        assert_eq!(training(1).steps(), 3);
        assert_eq!(training(1).batch(0, 2).unwrap().labels.len(), 12);
        let loader = Loader::new(images(50), (5..45).collect(), &transform(None), 12).unwrap();
        assert_eq!(loader.steps(), 4);
        let last = loader.batch(9, 3).unwrap();
        // Images 41 to 44, label = index mod 3; the first value is (16 * 41 * 7 mod 251 / 255 - 0.5) / 0.5.
        assert_eq!(last.labels, [2, 0, 1, 2]);
        let first = f64::from(16 * 41 * 7 % 251) / 255.0 * 2.0 - 1.0;
        assert!((f64::from(last.pixels[0]) - first).abs() < 1e-6);
        let few = Loader::new(images(5), vec![0, 1], &transform(None), 12).unwrap().for_training(Seed::new(0), None);
        assert_eq!((few.steps(), few.batch(0, 0).unwrap().labels.len()), (1, 2));
    }

    #[test]
    fn parallel_reading_gives_the_same_batch() {
        let plain = images(50);
        let cropped = (0..50)
            .flat_map(|image| {
                let pixels = plain.pixels(image).unwrap();
                [5, 6, 9, 10].map(|at| pixels[at])
            })
            .collect();
        let small = Shape { c: 1, h: 2, w: 2 };
        let ready = Images::new(cropped, plain.labels().to_vec(), small, plain.classes().to_vec()).unwrap();
        let costly = Arc::into_inner(plain).unwrap().fitted(&transform(Some(2))).unwrap();
        assert!(costly.is_costly() && !ready.is_costly());
        let batch = |images: Images| {
            let loader = Loader::new(Arc::new(images), (0..50).collect(), &transform(None), 40).unwrap();
            loader.for_training(Seed::new(3), Some(Augment { padding: 1, flip: true })).batch(1, 0).unwrap()
        };
        assert_eq!(batch(costly), batch(ready));
    }

    #[test]
    fn whole_keeps_order_and_augments_only_with_a_seed() {
        let loader = training(1);
        let indices: Vec<usize> = (0..30).rev().collect();
        let plain = loader.whole(&indices, None).unwrap();
        assert_eq!(plain.iter().map(|(images, _)| images.size()[0]).collect::<Vec<_>>(), [12, 12, 6]);
        let expected = Loader::new(images(50), indices.clone(), &transform(None), 12).unwrap();
        for (step, (pixels, labels)) in plain.iter().enumerate() {
            let (expected_pixels, expected_labels) = expected.batch(0, step).unwrap().tensors(Device::Cpu).unwrap();
            assert_eq!((pixels, labels), (&expected_pixels, &expected_labels));
        }
        let changed = loader.whole(&indices, Some(Seed::new(5))).unwrap();
        assert_ne!(changed[0].0, plain[0].0);
        assert_eq!(changed[0].1, plain[0].1);
        assert_eq!(changed[0].0, loader.whole(&indices, Some(Seed::new(5))).unwrap()[0].0);
        assert!(loader.whole(&[50], None).is_err());
    }

    #[test]
    fn wrong_requests_are_refused() {
        let make = |indices: Vec<usize>, batch| Loader::new(images(5), indices, &transform(None), batch);
        assert!(make(vec![0], 0).is_err());
        assert!(make(vec![], 1).is_err());
        assert!(make(vec![5], 1).unwrap_err().to_string().contains("below 5"));
        let rgb = DataSource::Cifar10("x".into()).transform();
        assert!(Loader::new(images(5), vec![0], &rgb, 1).unwrap_err().to_string().contains("1 values"));
    }

    #[test]
    #[ignore = "timing; run alone in release: cargo test --release batches_are_made -- --ignored --nocapture"]
    fn batches_are_made_at_over_100_000_images_a_second() {
        let source = DataSource::FashionMnistMini;
        let images = Arc::new(source.load(Split::Train, &source.transform()).unwrap());
        let all = (0..images.len()).collect();
        let loader = Loader::new(images, all, &source.transform(), 128).unwrap();
        for (name, loader) in
            [("plain", loader.clone()), ("augmented", loader.for_training(Seed::new(0), Some(source.augment(28))))]
        {
            let order = loader.order(0);
            let start = std::time::Instant::now();
            let made: usize = (0..93).map(|step| loader.batch_of(&order, 0, step).unwrap().labels.len()).sum();
            let rate = made as f64 / start.elapsed().as_secs_f64();
            println!("{name}: {rate:.0} images/s");
            assert!(rate > 100_000.0, "{name}: {rate:.0} images/s");
        }
    }
}
