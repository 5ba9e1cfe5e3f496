//! The blocks that SpaceEvo's hyperspaces choose from (Wang et al., arXiv 2303.08308, in the form of the released code), as
//! layers. All have a shortcut around them, through a 1x1 convolution where the shape changes.

use serde::{Deserialize, Serialize};

use super::graph::{ConvSize, Graph};
use super::inverted_residual::{divisible, gated};
use super::{Act, Op, Source};

/// What a block is made of. Those with an expansion multiply the block's input channels by it inside, bottlenecks their
/// output channels; both are rounded to eights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BlockType {
    /// Twice a depthwise and a 1x1 convolution (Howard et al. 2017, table 1); no expansion.
    MBv1Dual,
    /// The inverted residual (Sandler et al. 2018): 1x1 expansion, depthwise, linear 1x1 projection. Without the first where
    /// nothing expands.
    MBv2,
    /// Likewise with squeeze-and-excitation through a quarter of the inner channels (Howard et al. 2019).
    MBv3,
    /// `MBv2` whose 5x5 and 7x7 depthwise convolutions are two and three of 3x3, with nothing between them.
    MBv2K3,
    /// `MBv3` likewise.
    MBv3K3,
    /// Bottleneck: 1x1, full, linear 1x1 convolution, activation behind the sum (He et al. 2016).
    ResNet,
    /// Likewise, with squeeze-and-excitation through a quarter of the block's input channels.
    ResNetSE,
    /// Full convolution that expands, linear 1x1 projection (Tan and Le 2021).
    FusedMB,
    /// Likewise, with squeeze-and-excitation through a quarter of the block's input channels.
    FusedMBSE,
}

impl BlockType {
    /// Its name, as files have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MBv1Dual => "MBv1Dual",
            Self::MBv2 => "MBv2",
            Self::MBv3 => "MBv3",
            Self::MBv2K3 => "MBv2K3",
            Self::MBv3K3 => "MBv3K3",
            Self::ResNet => "ResNet",
            Self::ResNetSE => "ResNetSE",
            Self::FusedMB => "FusedMB",
            Self::FusedMBSE => "FusedMBSE",
        }
    }

    /// Whether it has inner channels to choose.
    pub fn expands(self) -> bool {
        self != Self::MBv1Dual
    }
}

/// One block of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// What it is made of.
    pub kind: BlockType,
    /// Its activation.
    pub act: Act,
    /// Side of its depthwise or full convolutions, odd.
    pub kernel: usize,
    /// Factor on channels inside; `None` for blocks without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expansion: Option<f64>,
    /// Output channels.
    pub width: usize,
    /// Stride.
    pub stride: usize,
    /// Whether the shortcut goes through a 1x1 convolution where the shape changes; else there is none then.
    pub projects: bool,
}

/// Appends a block under the parameter prefix `{name}.{type}`, so that the types of one place have weights of their own.
/// `always` puts the shortcut through a convolution where the shape stays too.
pub(super) fn append(graph: &mut Graph, name: &str, block: &Block, always: bool, from: Source) -> Source {
    let name = format!("{name}.{}", block.kind.name().to_lowercase());
    let mut builder = Builder { graph, name, block, from, always };
    match block.kind {
        BlockType::MBv1Dual => builder.dual(),
        BlockType::MBv2 => builder.inverted(false, false),
        BlockType::MBv3 => builder.inverted(true, false),
        BlockType::MBv2K3 => builder.inverted(false, true),
        BlockType::MBv3K3 => builder.inverted(true, true),
        BlockType::ResNet => builder.bottleneck(false),
        BlockType::ResNetSE => builder.bottleneck(true),
        BlockType::FusedMB => builder.fused(false),
        BlockType::FusedMBSE => builder.fused(true),
    }
}

/// A convolution and the activation behind it: inside the layer where that never goes below zero, else one of its own with
/// a quantization point in front.
pub(super) fn conv(graph: &mut Graph, name: &str, from: Source, size: ConvSize, act: Act) -> Source {
    let inside = inside(act);
    let x = graph.conv(format!("{name}.0"), format!("{name}.1"), from, size, inside);
    standing_alone(graph, name, x, act)
}

/// The activation as far as it is part of its layer.
fn inside(act: Act) -> Act {
    if act.is_nonnegative() { act } else { Act::None }
}

/// The activation as far as it is a layer of its own.
pub(super) fn standing_alone(graph: &mut Graph, name: &str, x: Source, act: Act) -> Source {
    if act == inside(act) { x } else { graph.activate(format!("{name}.act"), x, act) }
}

/// A 1x1 convolution's size.
pub(super) fn pointwise(c_out: usize) -> ConvSize {
    ConvSize { c_out, kernel: 1, stride: 1 }
}

/// A block under construction.
struct Builder<'a> {
    graph: &'a mut Graph,
    name: String,
    block: &'a Block,
    from: Source,
    always: bool,
}

impl Builder<'_> {
    fn part(&self, leaf: &str) -> String {
        format!("{}.{leaf}", self.name)
    }

    fn conv(&mut self, leaf: &str, x: Source, size: ConvSize, act: Act) -> Source {
        let name = self.part(leaf);
        conv(self.graph, &name, x, size, act)
    }

    fn depthwise(&mut self, leaf: &str, x: Source, stride: usize) -> Source {
        let (name, act) = (self.part(leaf), self.block.act);
        let size = ConvSize { c_out: 0, kernel: self.block.kernel, stride };
        let x = self.graph.depthwise(format!("{name}.0"), format!("{name}.1"), x, size, inside(act));
        standing_alone(self.graph, &name, x, act)
    }

    /// 3x3 depthwise convolutions that see as far as the block's kernel; the first one has the stride.
    fn stacked(&mut self, mut x: Source) -> Source {
        let (name, act, count) = (self.part("depthwise"), self.block.act, (self.block.kernel / 2).max(1));
        let mut stride = self.block.stride;
        for index in 0..count - 1 {
            x = self.graph.bare_depthwise(format!("{name}.before{index}"), x, 3, stride);
            stride = 1;
        }
        let size = ConvSize { c_out: 0, kernel: 3, stride };
        let x = self.graph.depthwise(format!("{name}.0"), format!("{name}.1"), x, size, inside(act));
        standing_alone(self.graph, &name, x, act)
    }

    fn gated(&mut self, x: Source, quarter_of: usize) -> Source {
        gated(self.graph, &self.name, x, divisible(quarter_of as f64 / 4.0))
    }

    /// Channels inside, from the factor's base.
    fn inner(&self, base: usize) -> usize {
        divisible(self.block.expansion.unwrap_or(1.0) * base as f64)
    }

    fn c_in(&self) -> usize {
        self.graph.shape(self.from).c
    }

    fn dual(&mut self) -> Source {
        let Block { width, act, stride, .. } = *self.block;
        let x = self.depthwise("depthwise", self.from, stride);
        let x = self.conv("pointwise", x, pointwise(width), act);
        let x = self.depthwise("depthwise2", x, 1);
        let x = self.conv("project", x, pointwise(width), Act::None);
        self.joined(x, act)
    }

    fn inverted(&mut self, gates: bool, stacked: bool) -> Source {
        let Block { width, act, stride, .. } = *self.block;
        let inner = self.inner(self.c_in());
        let mut x = self.from;
        if inner != self.c_in() {
            x = self.conv("expand", x, pointwise(inner), act);
        }
        x = if stacked { self.stacked(x) } else { self.depthwise("depthwise", x, stride) };
        if gates {
            x = self.gated(x, inner);
        }
        let x = self.conv("project", x, pointwise(width), Act::None);
        self.joined(x, Act::None)
    }

    fn bottleneck(&mut self, gates: bool) -> Source {
        let Block { width, act, stride, kernel, .. } = *self.block;
        let inner = self.inner(width);
        let x = self.conv("reduce", self.from, pointwise(inner), act);
        let mut x = self.conv("conv", x, ConvSize { c_out: inner, kernel, stride }, act);
        if gates {
            x = self.gated(x, self.c_in());
        }
        let x = self.conv("project", x, pointwise(width), Act::None);
        self.joined(x, act)
    }

    fn fused(&mut self, gates: bool) -> Source {
        let Block { width, act, stride, kernel, .. } = *self.block;
        let inner = self.inner(self.c_in());
        let mut x = self.conv("expand", self.from, ConvSize { c_out: inner, kernel, stride }, act);
        if gates {
            x = self.gated(x, self.c_in());
        }
        let x = self.conv("project", x, pointwise(width), Act::None);
        self.joined(x, Act::None)
    }

    /// The sum with the shortcut and the activation behind it.
    fn joined(&mut self, branch: Source, act: Act) -> Source {
        let Block { width, stride, projects, .. } = *self.block;
        let same = stride == 1 && self.c_in() == width && !self.always;
        if !same && !projects {
            return branch;
        }
        let mut shortcut = self.from;
        if !same {
            shortcut = self.conv("shortcut", shortcut, ConvSize { stride, ..pointwise(width) }, Act::None);
        }
        let name = self.part("add");
        let x = self.graph.operator(&name, Op::Add, vec![branch, shortcut], inside(act));
        standing_alone(self.graph, &name, x, act)
    }
}
