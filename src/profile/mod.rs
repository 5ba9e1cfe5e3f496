//! Measuring a device: its kernels in ONNX Runtime, whole networks, and what another device needs to be measured without us.

mod emit;
mod kernels;
mod machine;
mod measure;
mod networks;
mod rounds;
mod timing;

pub use emit::emit;
pub use kernels::{Kernels, MOST_KERNELS, kernels_of};
pub use machine::{pinned, processor};
pub use measure::{NETWORK_ROUNDS, kernel_networks, kernel_time, network_ms, networks_ms};
pub use networks::{Drawn, Mix, distinct, fitted};
pub use rounds::{ROUNDS, Saved, combined};
pub use timing::{Effort, Times, paired};
