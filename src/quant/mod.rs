//! Fake quantization of tensors: exact rounding forward, straight-through gradient backward.
//!
//! What formats share is the latent tensor and its recorded [`Range`]; each format derives its clip and its step
//! from them, so switching formats keeps no state and needs no memory of its own.

mod blocks;
mod fake;
mod kernel;
mod learned;
mod operations;
mod range;

pub use blocks::{Blocks, gradient_blocks, weight_blocks};
pub use fake::{activation, activation_in_place, observe, point_scale, weight};
pub(crate) use fake::{round_in_place, round_weight_in_place};
pub(crate) use kernel::{is_reachable, read_whole};
pub use learned::learned_activation;
pub use range::{Range, Ranges};
