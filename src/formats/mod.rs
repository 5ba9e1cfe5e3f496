//! Number formats: their grids, exact rounding, scales and granularity.
//!
//! Everything here is plain arithmetic on `f32`/`f64`; the tensor side is in [`crate::quant`](crate).

mod block;
mod block2d;
mod cast;
mod catalogue;
mod code;
mod density;
mod dot_product;
mod error_theory;
mod fake_quantize;
mod flavour;
mod format;
mod histogram;
mod scale;
mod scaling_law;
mod spec;
mod spec_text;
mod storage;
mod tensor_quantize;

pub use block::{fake_quantize_mx, fake_quantize_nv};
pub use block2d::{BLOCK, Block2d, Rounding, fake_quantize_blocks};
pub use catalogue::{Execution, FormatRow, table};
pub use density::{Density, Distribution, Moments};
pub use dot_product::Factor;
pub use error_theory::{best_clip, best_scale, bits_of_accuracy, expected_mse};
pub use fake_quantize::{absmax, fake_quantize, round_to_grid};
pub use format::{Format, MiniFloat};
pub use histogram::Histogram;
pub use scale::BlockScaleRule;
pub use scaling_law::{Split, best_bits};
pub use spec::{Granularity, QuantSpec, ScaleKind};
pub use storage::{StorageBits, storage_bits};
pub use tensor_quantize::{Runs, Scales, codes, fake_quantize_tensor, fake_quantize_with, min_max_scales};
