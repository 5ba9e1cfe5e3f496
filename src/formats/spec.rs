//! How a tensor is quantized: format, granularity of its scales, and the kind of number a scale is.

use serde::{Deserialize, Serialize};

use super::Format;

/// Which elements share one scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Granularity {
    /// One scale for the whole tensor.
    #[default]
    Tensor,
    /// One scale an output channel (dimension 0): `[A, B, C]` has `A` scales.
    Channel,
    /// One scale a row of the last dimension: `[A, B, C]` has `A * B` scales.
    Token,
    /// One scale for each run of this many elements along the flattened row of an output channel.
    Group(u32),
    /// One scale for each run of this many elements along the last dimension (MX, NVFP4).
    Block(u32),
}

/// The kind of number a scale is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ScaleKind {
    /// A float32.
    #[default]
    Float32,
    /// A power of two, stored as float32.
    PowerOfTwo,
    /// A power of two in float8_e8m0fnu (8 bits; MX).
    E8m0,
    /// A positive float8_e4m3fn (8 bits) under one float32 for the tensor (NVFP4).
    E4m3,
}

/// A format with its scales: what one quantizer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantSpec {
    /// Element format; [`Format::Float32`] means not quantized.
    pub format: Format,
    /// Which elements share a scale.
    #[serde(default)]
    pub granularity: Granularity,
    /// The kind of scale.
    #[serde(default)]
    pub scale: ScaleKind,
}

impl QuantSpec {
    /// One float32 scale for the tensor: the default for activations.
    pub fn per_tensor(format: Format) -> Self {
        Self { format, granularity: Granularity::Tensor, scale: ScaleKind::Float32 }
    }

    /// One float32 scale an output channel: the default for weights.
    pub fn per_channel(format: Format) -> Self {
        Self { format, granularity: Granularity::Channel, scale: ScaleKind::Float32 }
    }
}
