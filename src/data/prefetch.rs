//! The batches of an epoch, prepared by a background thread so that a training step never waits.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{JoinHandle, spawn};

use tch::Tensor;

use crate::data::loader::Loader;
use crate::error::{Error, Result};

/// Batches that may wait in the channel; one more is in the thread's hands.
const AHEAD: usize = 2;

/// Iterator over (images float32 `[n, c, h, w]`, labels int64 `[n]`). Dropping it stops the thread. The first error is
/// the last item.
#[derive(Debug)]
pub struct Prefetch {
    /// `None` only while dropping: the thread ends when nobody receives.
    receiver: Option<Receiver<Result<(Tensor, Tensor)>>>,
    thread: Option<JoinHandle<()>>,
    left: usize,
}

impl Prefetch {
    /// Starts the thread at `start_step` of `epoch`.
    pub(super) fn start(loader: Loader, epoch: u64, start_step: usize) -> Self {
        let left = loader.steps().saturating_sub(start_step);
        let (sender, receiver) = sync_channel(AHEAD);
        let thread = spawn(move || {
            let order = loader.order(epoch);
            for step in start_step..loader.steps() {
                let batch = loader.batch_of(&order, epoch, step).and_then(|batch| loader.tensors(&batch));
                let failed = batch.is_err();
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        });
        Self { receiver: Some(receiver), thread: Some(thread), left }
    }
}

impl Iterator for Prefetch {
    type Item = Result<(Tensor, Tensor)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let received = self.receiver.as_ref()?.recv();
        let item = received.unwrap_or_else(|_| Err(Error::Failed("the thread that prepares batches died".to_string())));
        self.left = if item.is_ok() { self.left - 1 } else { 0 };
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // An error ends the iteration early.
        (self.left.min(1), Some(self.left))
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has reached the reader as an error item, or nobody was reading any more.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::Augment;
    use crate::data::folder::load_keeping;
    use crate::data::images::Images;
    use crate::data::source::{DataSource, Split};
    use crate::network::{Shape, Transform};
    use crate::seed::Seed;
    use std::sync::{Arc, Weak};
    use tch::Device;

    fn loader() -> (Loader, Weak<Images>) {
        let labels = (0..100).map(|k| k % 2).collect();
        let names = ["a", "b"].map(str::to_string).to_vec();
        let pixels = (0..900).map(|k| (k % 256) as u8).collect();
        let images = Arc::new(Images::new(pixels, labels, Shape { c: 1, h: 3, w: 3 }, names).unwrap());
        let weak = Arc::downgrade(&images);
        let transform = Transform::plain(&[0.5], &[0.5]);
        let loader = Loader::new(images, (0..100).collect(), &transform, 8).unwrap();
        (loader.for_training(Seed::new(1), Some(Augment { padding: 1, flip: true })), weak)
    }

    #[test]
    fn iteration_equals_random_access_from_any_step() {
        let (loader, _) = loader();
        for start in [0, 5, 11, 12, 20] {
            let batches: Vec<_> = loader.epoch(3, start).collect::<Result<_>>().unwrap();
            assert_eq!(batches.len(), 12_usize.saturating_sub(start));
            for (offset, batch) in batches.iter().enumerate() {
                assert_eq!(*batch, loader.batch(3, start + offset).unwrap().tensors(Device::Cpu).unwrap());
            }
        }
    }

    #[test]
    fn dropping_the_iterator_ends_the_thread() {
        let (loader, images) = loader();
        let mut epoch = loader.epoch(0, 0);
        assert!(epoch.next().unwrap().is_ok());
        drop(loader);
        assert!(images.upgrade().is_some());
        drop(epoch);
        // The thread held the last loader, so the images are gone exactly when it has ended.
        assert!(images.upgrade().is_none());
    }

    #[test]
    fn decode_error_arrives_as_the_last_item() {
        let folder = tempfile::tempdir().unwrap();
        let class = folder.path().join("val/cat");
        std::fs::create_dir_all(&class).unwrap();
        for name in ["a.png", "b.png", "c.png"] {
            image::RgbImage::new(2, 2).save(class.join(name)).unwrap();
        }
        let mut transform = DataSource::ImageFolder(folder.path().into()).transform();
        transform.resize = None;
        transform.crop = Some(2);
        // Nothing is kept, so the files are decoded on access.
        let lazy = load_keeping(folder.path(), Split::Test, &transform, 0).unwrap();
        std::fs::write(class.join("b.png"), b"damaged").unwrap();
        let mut epoch = Loader::new(Arc::new(lazy), vec![0, 1, 2], &transform, 1).unwrap().epoch(0, 0);
        assert!(epoch.next().unwrap().is_ok());
        let message = epoch.next().unwrap().unwrap_err().to_string();
        assert!(message.contains("b.png"), "{message}");
        assert!(epoch.next().is_none());
    }
}
