//! Images for training and evaluation: where they come from, how they are split, and how they become batches.
//!
//! Decoding, shuffling and augmentation are plain Rust on `u8` pixels; a tensor appears only in [`Batch::tensors`].
//! Every random draw comes from a [`Seed`](crate::seed::Seed) stream named by epoch and image, so a batch depends on
//! (epoch, step) alone: not on threads, not on prefetching, not on whether the run was resumed.

mod augment;
mod batch;
mod cifar;
mod classes;
mod embedded;
mod fit;
mod folder;
mod identity;
mod idx;
mod images;
mod loader;
mod normalize;
mod packed;
mod prefetch;
mod resample;
mod source;
mod split;

pub use augment::Augment;
pub use batch::Batch;
pub use classes::{ClassMap, imagenet_classes, map_classes};
pub use images::Images;
pub use loader::Loader;
pub use prefetch::Prefetch;
pub use source::{DataSource, Split};
pub use split::{Holdout, Partition, split};
