//! Checkpoints: named arrays read from and written to files, and how they match a model.
//!
//! [`read`] takes safetensors and both kinds of PyTorch file (the zip since 1.6, the bare pickle before).
//! A pickle is a program; nothing of it is executed here: `pickle` builds the tree of what it would
//! construct, and only the handful of constructors that make a tensor are then understood.
//! Files may be hostile or cut off: every size is checked against the file before memory is taken.

mod array;
mod element;
mod legacy;
mod pickle;
mod read;
mod report;
mod safetensors_file;
mod state_dict;
mod tensor;
mod torch_zip;

pub use array::{Array, ArrayData, Checkpoint};
pub use read::read;
pub use report::{LoadReport, Mismatch, match_names};
pub use safetensors::Dtype;
pub use safetensors_file::{RawArray, RawFile, read_raw, write_raw, write_safetensors};

/// Result inside the readers: what is wrong with the file, still without its path.
type Parsed<T> = std::result::Result<T, String>;
