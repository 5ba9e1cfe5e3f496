//! Latency on a device: the kernels of a network, a table of their measured times, a prediction from both.

mod block_table;
mod device;
mod gain;
mod import;
mod kernel;
mod overhead;
mod regression;
mod table;
mod target;
mod walk;

pub use block_table::{BlockTable, Cell, Measured, block_row};
pub use device::{Device, Kind};
pub use gain::{Gain, Gains, Part, SIDES, WIDTHS, class_name, gains};
pub use import::{Columns, import};
pub use kernel::{Kernel, KernelOp};
pub use overhead::{Features, Overhead};
pub use table::{Row, Table};
pub use target::{Prediction, Target};
pub use walk::{Way, as_computed, walk};
