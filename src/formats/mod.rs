//! Number formats: their grids, exact rounding, scales and granularity.
//!
//! Everything here is plain arithmetic on `f32`/`f64`; the tensor side is in [`crate::quant`](crate).

mod format;
mod spec;

pub use format::{Format, MiniFloat};
pub use spec::{Granularity, QuantSpec, ScaleKind};
