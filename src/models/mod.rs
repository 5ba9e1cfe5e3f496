//! Networks with weights: the supernet's shared parameters, and how a [`Network`](crate::network::Network) runs on them.
//!
//! One interpreter serves every family: it walks the layers of a `Network`. The formats are part of that description,
//! an argument of each pass and never state of the weights, so one set of weights serves every candidate.

mod folded;
mod forward;
mod walk;
mod weights;

pub use folded::Folded;
pub use forward::{Pass, Statistics, forward, layer_outputs};
pub use walk::{Step, blocks, operate, walk};
pub use weights::{Weights, array, shared_part, tensor};
