//! The inverted residual block (Sandler et al. 2018, figure 4b), which MobileNetV2 and EfficientNet-Lite share: a 1x1
//! expansion, a depthwise convolution, a linear 1x1 projection, ReLU6 behind all but the last; and stages of such blocks.

use crate::error::Result;

use super::graph::{ConvSize, Graph};
use super::{Act, ModelSpec, Source, Stage};

/// Checkpoint names of a block's parts: convolution and batch normalisation of each.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) expand: [String; 2],
    pub(super) depthwise: [String; 2],
    pub(super) project: [String; 2],
    pub(super) add: String,
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
                x = append(graph, names(number, expansion), x, expansion, size);
            }
            number += 1;
        }
    }
    Ok(x)
}

/// Appends one block; without an expansion where the factor is 1, without an add where the shape changes. `size` has the
/// block's output channels, and kernel and stride of its depthwise convolution.
fn append(graph: &mut Graph, names: Names, from: Source, expansion: usize, size: ConvSize) -> Source {
    let shape = graph.shape(from);
    let mut inner = from;
    if expansion > 1 {
        let wide = ConvSize { c_out: shape.c * expansion, kernel: 1, stride: 1 };
        let [conv, norm] = names.expand;
        inner = graph.conv(conv, norm, inner, wide, Act::Relu6);
    }
    let [conv, norm] = names.depthwise;
    inner = graph.depthwise(conv, norm, inner, size, Act::Relu6);
    let [conv, norm] = names.project;
    let branch = graph.conv(conv, norm, inner, ConvSize { kernel: 1, stride: 1, ..size }, Act::None);
    if size.stride == 1 && shape.c == size.c_out { graph.add(names.add, branch, from) } else { branch }
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
