//! What is timed: one operator of one size in one format.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::formats::Format;
use crate::network::{Act, Conv, LayerSpec, Op, Shape};

/// The operators that tables price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KernelOp {
    /// Convolution.
    Conv,
    /// Convolution of narrow weights and input whose result is float32: runtimes dequantize both and convolve in float32,
    /// without what they prepare for constant weights.
    ConvDequantized,
    /// Fully connected, over one place or all tokens.
    Linear,
    /// Sum of two maps, behind a convolution.
    Add,
    /// A map times its channels' gates.
    Gate,
    /// Max pooling.
    MaxPool,
    /// Mean over the map.
    GlobalAvgPool,
    /// Shortcut without parameters.
    PadShortcut,
    /// Pixels to tokens.
    Embed,
    /// Layer normalisation.
    LayerNorm,
    /// Attention, scores and values together; `groups` are its heads, `c_in` queries, keys and values.
    Attention,
    /// The first token.
    ClassToken,
    /// An activation alone.
    Activate,
    /// A tensor from one format (`a_format`) to another (`w_format`).
    Transition,
}

const NAMES: [(KernelOp, &str); 14] = [
    (KernelOp::Conv, "conv"),
    (KernelOp::ConvDequantized, "conv_dequantized"),
    (KernelOp::Linear, "linear"),
    (KernelOp::Add, "add"),
    (KernelOp::Gate, "gate"),
    (KernelOp::MaxPool, "max_pool"),
    (KernelOp::GlobalAvgPool, "global_avg_pool"),
    (KernelOp::PadShortcut, "pad_shortcut"),
    (KernelOp::Embed, "embed"),
    (KernelOp::LayerNorm, "layer_norm"),
    (KernelOp::Attention, "attention"),
    (KernelOp::ClassToken, "class_token"),
    (KernelOp::Activate, "activate"),
    (KernelOp::Transition, "transition"),
];

impl fmt::Display for KernelOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(NAMES.iter().find(|(op, _)| op == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for KernelOp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = NAMES.iter().find(|(_, name)| *name == text).map(|(op, _)| *op);
        found.ok_or_else(|| Error::unknown_name("op", text, NAMES.iter().map(|(_, name)| *name)))
    }
}

impl TryFrom<String> for KernelOp {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<KernelOp> for String {
    fn from(value: KernelOp) -> Self {
        value.to_string()
    }
}

/// An operator of a size in a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// The operator.
    pub op: KernelOp,
    /// Channels or features of the (first) input.
    pub c_in: usize,
    /// Channels of the result.
    pub c_out: usize,
    /// Rows of the input, or tokens.
    pub h: usize,
    /// Columns of the input.
    pub w: usize,
    /// Side of the window; 0 where there is none.
    pub kernel: usize,
    /// Stride; 0 where there is none.
    pub stride: usize,
    /// Groups of a convolution, heads of attention; else 0.
    pub groups: usize,
    /// The activation behind it.
    pub act: Act,
    /// Format of weights and tensors; of a transition the one it ends in.
    pub w_format: Format,
    /// The same; of a transition the one it begins in.
    pub a_format: Format,
}

impl Kernel {
    /// The kernel of a layer that reads `input`, everything in `format`; both halves of attention are one.
    pub fn of_layer(layer: &LayerSpec, input: Shape, format: Format) -> Self {
        let (op, kernel, stride, groups) = match layer.op {
            Op::Conv(conv) => (KernelOp::Conv, conv.kernel, conv.stride, conv.groups),
            Op::Linear { .. } => (KernelOp::Linear, 0, 0, 0),
            Op::Add => (KernelOp::Add, 0, 0, 0),
            Op::Gate => (KernelOp::Gate, 0, 0, 0),
            Op::MaxPool { kernel, stride, .. } => (KernelOp::MaxPool, kernel, stride, 0),
            Op::GlobalAvgPool => (KernelOp::GlobalAvgPool, 0, 0, 0),
            Op::PadShortcut { stride } => (KernelOp::PadShortcut, 0, stride, 0),
            Op::Embed => (KernelOp::Embed, 0, 0, 0),
            Op::LayerNorm => (KernelOp::LayerNorm, 0, 0, 0),
            Op::AttentionScores { heads } | Op::AttentionValues { heads } => (KernelOp::Attention, 0, 0, heads),
            Op::ClassToken => (KernelOp::ClassToken, 0, 0, 0),
            Op::Activate => (KernelOp::Activate, 0, 0, 0),
        };
        let c_out = if op == KernelOp::Attention { input.c / 3 } else { layer.output.c };
        let Shape { c, h, w } = input;
        Self { op, c_in: c, c_out, h, w, kernel, stride, groups, act: layer.act, w_format: format, a_format: format }
    }

    /// The way of a tensor from one format to another.
    pub fn transition(shape: Shape, from: Format, to: Format) -> Self {
        let Shape { c, h, w } = shape;
        let (op, act) = (KernelOp::Transition, Act::None);
        Self { op, c_in: c, c_out: c, h, w, kernel: 0, stride: 0, groups: 0, act, w_format: to, a_format: from }
    }

    /// Shape of the (first) input.
    pub fn input(&self) -> Shape {
        Shape { c: self.c_in, h: self.h, w: self.w }
    }

    /// The operator as networks know it; padding is half the kernel, or none where windows do not overlap. `None` for a
    /// transition.
    pub fn operator(&self) -> Option<Op> {
        let Self { c_in, c_out, kernel, stride, groups, .. } = *self;
        let padding = if kernel % 2 == 1 { kernel / 2 } else { 0 };
        Some(match self.op {
            KernelOp::Conv | KernelOp::ConvDequantized => {
                Op::Conv(Conv { c_in, c_out, kernel, stride, padding, extra_end: 0, groups })
            }
            KernelOp::Linear => Op::Linear { c_in, c_out },
            KernelOp::Add => Op::Add,
            KernelOp::Gate => Op::Gate,
            KernelOp::MaxPool => Op::MaxPool { kernel, stride, padding },
            KernelOp::GlobalAvgPool => Op::GlobalAvgPool,
            KernelOp::PadShortcut => Op::PadShortcut { stride },
            KernelOp::Embed => Op::Embed,
            KernelOp::LayerNorm => Op::LayerNorm,
            KernelOp::Attention => Op::AttentionScores { heads: groups },
            KernelOp::ClassToken => Op::ClassToken,
            KernelOp::Activate => Op::Activate,
            KernelOp::Transition => return None,
        })
    }

    /// Whether it computes in float32.
    pub fn is_float32(&self) -> bool {
        self.a_format == Format::Float32 || self.op == KernelOp::ConvDequantized
    }

    /// Whether it has one filter a channel.
    pub fn is_depthwise(&self) -> bool {
        matches!(self.op, KernelOp::Conv | KernelOp::ConvDequantized) && self.groups > 1 && self.groups == self.c_in
    }

    /// What its time follows from: multiply-accumulates, elements read, elements written, weights.
    pub fn work(&self) -> [f64; 4] {
        let (c_in, c_out, places) = (self.c_in as f64, self.c_out as f64, (self.h * self.w) as f64);
        let steps = self.stride.max(1) as f64;
        let left = (self.h as f64 / steps).ceil() * (self.w as f64 / steps).ceil();
        let window = (self.kernel.max(1) * self.kernel.max(1)) as f64;
        let (read, written) = (c_in * places, c_out * left);
        match self.op {
            KernelOp::Conv | KernelOp::ConvDequantized => {
                let weights = c_in / self.groups.max(1) as f64 * c_out * window;
                [weights * left, read, written, weights]
            }
            KernelOp::Linear => [c_in * c_out * places, read, c_out * places, c_in * c_out],
            KernelOp::MaxPool => [c_in * left * window, read, written, 0.0],
            KernelOp::GlobalAvgPool => [0.0, read, c_out, 0.0],
            KernelOp::Attention => {
                [2.0 * places * places * c_out, read, c_out * places, self.groups as f64 * places * places]
            }
            KernelOp::ClassToken => [0.0, 0.0, c_out, 0.0],
            _ => [0.0, read, written, 0.0],
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, c_in, c_out, h, w, kernel, stride, groups, .. } = self;
        write!(f, "{op} {c_in}->{c_out} on {h}x{w}")?;
        if *kernel > 0 {
            write!(f, " kernel {kernel}")?;
        }
        if *stride > 1 {
            write!(f, " stride {stride}")?;
        }
        if *groups > 1 {
            write!(f, " groups {groups}")?;
        }
        match self.act {
            Act::None => Ok(()),
            act => write!(f, " {}", act.name()),
        }?;
        match self.op {
            KernelOp::Transition => write!(f, " {} to {}", self.a_format, self.w_format),
            _ => write!(f, " {}", self.a_format),
        }
    }
}
