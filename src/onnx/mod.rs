//! Networks as ONNX files, and ONNX Runtime to prove that they run.

mod attention;
mod element;
mod graph;
mod network;
pub mod proto;
mod quantizers;
mod runtime;
mod shortcut;
mod widened;

pub use graph::{Dialect, entry};
pub use network::{INPUT, OUTPUT, OnnxModel, model};
pub use runtime::{EXACT_OPTION, Runtime, Session, kernels_saturate};
