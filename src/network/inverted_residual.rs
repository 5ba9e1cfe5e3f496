//! The inverted residual block (Sandler et al. 2018, figure 4b), which MobileNetV2 and EfficientNet-Lite share: a 1x1
//! expansion, a depthwise convolution, a linear 1x1 projection, ReLU6 behind all but the last; two relatives that can stand in its
//! place; and stages of such blocks.

use crate::error::Result;

use super::graph::{ConvSize, Graph};
use super::{Act, BlockKind, ModelSpec, Op, Source, Stage};

/// Checkpoint names of a block and, for the inverted residual of the published networks, of its parts: convolution and batch
/// normalisation of each.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) block: String,
    pub(super) expand: [String; 2],
    pub(super) depthwise: [String; 2],
    pub(super) project: [String; 2],
    pub(super) add: String,
}

impl Names {
    /// The parts of a block that is not as published: weights of its own, beside those of the published one.
    fn of_kind(self, kind: &str) -> Self {
        let block = format!("{}.{kind}", self.block);
        let pair = |part: &str| ["0", "1"].map(|leaf| format!("{block}.{part}.{leaf}"));
        Self {
            expand: pair("expand"),
            depthwise: pair("depthwise"),
            project: pair("project"),
            add: format!("{block}.add"),
            block,
        }
    }
}

/// Appends all stages of a network. `names` are those of a block by its number, counted through the stages of the whole
/// network, so that they stay the same where the spec's operators leave blocks out.
///
/// # Errors
/// Operators that are not of such a network.
pub(super) fn append_stages(
    graph: &mut Graph,
    spec: &ModelSpec,
    stages: &[Stage],
    names: impl Fn(usize, usize) -> Names,
    from: Source,
) -> Result<Source> {
    spec.operators.check(stages)?;
    let (mut x, mut number) = (from, 0);
    for (index, stage) in stages.iter().enumerate() {
        let c_out = divisible(stage.channels * spec.operators.width(index));
        for block in 0..stage.blocks {
            if block < spec.operators.depth(index, stage) {
                let kernel = spec.operators.kernel(number, stage);
                let size = ConvSize { c_out, kernel, stride: if block == 0 { stage.stride } else { 1 } };
                let expansion = spec.operators.expansion(number, stage);
                let names = names(number, expansion);
                x = match spec.operators.block(number, stage) {
                    BlockKind::Inverted => inverted(graph, names, x, expansion, size),
                    BlockKind::SqueezeExcite => squeeze_excite(graph, names.of_kind("mbv3"), x, expansion, size),
                    BlockKind::Fused => fused(graph, names.of_kind("fused"), x, expansion, size),
                };
            }
            number += 1;
        }
    }
    Ok(x)
}

/// Appends one block; without an expansion where the factor is 1. `size` has the block's output channels, and kernel and
/// stride of its depthwise convolution.
fn inverted(graph: &mut Graph, names: Names, from: Source, expansion: usize, size: ConvSize) -> Source {
    let mut inner = from;
    if expansion > 1 {
        let wide = ConvSize { c_out: graph.shape(from).c * expansion, kernel: 1, stride: 1 };
        let [conv, norm] = names.expand;
        inner = graph.conv(conv, norm, inner, wide, Act::Relu6);
    }
    let [conv, norm] = names.depthwise;
    inner = graph.depthwise(conv, norm, inner, size, Act::Relu6);
    projected(graph, (names.project, names.add), inner, from, size)
}

/// The block of MobileNetV3 (Howard et al. 2019, figure 4): hard-swish, and gates on the depthwise channels from their means
/// through a quarter as many.
fn squeeze_excite(graph: &mut Graph, names: Names, from: Source, expansion: usize, size: ConvSize) -> Source {
    let part = |leaf: &str| format!("{}.{leaf}", names.block);
    let wide = graph.shape(from).c * expansion;
    let [conv, norm] = names.expand;
    let x = graph.conv(conv, norm, from, ConvSize { c_out: wide, kernel: 1, stride: 1 }, Act::None);
    let x = graph.activate(part("expand.act"), x, Act::HardSwish);
    let [conv, norm] = names.depthwise;
    let x = graph.depthwise(conv, norm, x, size, Act::None);
    let x = graph.activate(part("depthwise.act"), x, Act::HardSwish);
    let x = gated(graph, &names.block, x, divisible(wide as f64 / 4.0));
    projected(graph, (names.project, names.add), x, from, size)
}

/// Squeeze-and-excitation (Hu et al. 2018): every channel of `x` times a gate that follows from the means of all channels,
/// through `squeezed` of them.
pub(super) fn gated(graph: &mut Graph, block: &str, x: Source, squeezed: usize) -> Source {
    let part = |leaf: &str| format!("{block}.se.{leaf}");
    let channels = graph.shape(x).c;
    let mean = graph.pool(&part("pool"), x, Op::GlobalAvgPool);
    let fewer = graph.pointwise(part("fc1"), mean, squeezed, Act::Relu);
    let excited = graph.pointwise(part("fc2"), fewer, channels, Act::None);
    let gates = graph.activate(part("gates"), excited, Act::HardSigmoid);
    graph.plain(part("scale"), Op::Gate, vec![x, gates])
}

/// The block of EfficientNetV2 (Tan and Le 2021, figure 2): one full convolution for expansion and depthwise convolution.
fn fused(graph: &mut Graph, names: Names, from: Source, expansion: usize, size: ConvSize) -> Source {
    let wide = ConvSize { c_out: graph.shape(from).c * expansion, ..size };
    let [conv, norm] = names.expand;
    let inner = graph.conv(conv, norm, from, wide, Act::Relu6);
    projected(graph, (names.project, names.add), inner, from, size)
}

/// The linear projection that ends a block, and the sum with the block's input where shapes agree.
fn projected(
    graph: &mut Graph,
    ([conv, norm], add): ([String; 2], String),
    inner: Source,
    from: Source,
    size: ConvSize,
) -> Source {
    let branch = graph.conv(conv, norm, inner, ConvSize { kernel: 1, stride: 1, ..size }, Act::None);
    if size.stride == 1 && graph.shape(from).c == size.c_out { graph.add(add, branch, from) } else { branch }
}

/// The nearest multiple of 8, at least 8, that takes away no more than a tenth (torchvision's `_make_divisible`,
/// TensorFlow's `round_filters`).
pub(super) fn divisible(channels: f64) -> usize {
    let nearest = (((channels + 4.0) / 8.0) as usize * 8).max(8);
    if (nearest as f64) < 0.9 * channels { nearest + 8 } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_rounded_to_eights_without_losing_a_tenth() {
        // 0.25 x 16 = 4 becomes 8; 1.4 x 24 = 33.6 becomes 32; 0.35 x 32 = 11.2 becomes 16, since 8 would lose more.
        assert_eq!([4.0, 33.6, 11.2, 1792.0].map(divisible), [8, 32, 16, 1792]);
    }
}
