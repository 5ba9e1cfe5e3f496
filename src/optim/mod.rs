//! Optimisers that need nothing but tensors.

mod adam;

pub use adam::Adam;
