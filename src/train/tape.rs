//! What a forward pass in INT8 blocks keeps for its backward pass.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::layers;
use crate::quant::Blocks;

/// Bytes of the tensors that a step keeps for its backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedBytes {
    /// As they are kept: codes, scales, and what stays in float32.
    pub kept: usize,
    /// The same tensors in float32.
    pub float32: usize,
}

/// A tensor between two steps, as the backward pass needs it.
#[derive(Debug)]
pub(super) enum Kept {
    /// In INT8 blocks.
    Blocks(Blocks),
    /// As it is.
    Float(Tensor),
    /// Its values are not needed.
    Shape(Vec<i64>, Device),
}

/// What a forward pass leaves.
pub(super) struct Tape {
    /// The images.
    pub(super) input: Kept,
    /// For each layer what its norm and activation read, where it has some, and its result.
    pub(super) layers: Vec<(Option<Kept>, Kept)>,
    /// What the loss reads.
    pub(super) logits: Tensor,
}

impl Tape {
    /// Bytes of all that is kept.
    pub(super) fn bytes(&self) -> SavedBytes {
        let all = self.layers.iter().flat_map(|(middle, result)| middle.iter().chain([result])).chain([&self.input]);
        all.fold(SavedBytes::default(), |sum, kept| {
            let (own, float) = match kept {
                Kept::Blocks(blocks) => (blocks.bytes(), 4 * blocks.elements()),
                Kept::Float(tensor) => (4 * tensor.numel(), 4 * tensor.numel()),
                Kept::Shape(..) => (0, 0),
            };
            SavedBytes { kept: sum.kept + own, float32: sum.float32 + float }
        })
    }
}

impl Kept {
    /// The value as the forward pass handed it on; zeros where it is not needed.
    pub(super) fn value(&self) -> Tensor {
        match self {
            Self::Blocks(blocks) => blocks.tensor(),
            Self::Float(tensor) => tensor.detach(),
            Self::Shape(shape, device) => {
                layers::channels_last(&Tensor::zeros(shape.as_slice(), (Kind::Float, *device)))
            }
        }
    }

    /// The value as a leaf that takes a gradient.
    pub(super) fn leaf(&self) -> Tensor {
        self.value().set_requires_grad(true)
    }
}

/// A step's result as its readers get it, and what is kept of it.
pub(super) fn handed_on(y: Tensor, is_read: bool) -> (Kept, Tensor) {
    let blocks = Blocks::keep(&y);
    let value = blocks.tensor();
    (if is_read { Kept::Blocks(blocks) } else { Kept::Shape(y.size(), y.device()) }, value)
}
