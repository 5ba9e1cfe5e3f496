//! EfficientNet-Lite 0 to 4 (TensorFlow's `efficientnet/lite`, 2020): EfficientNet-B0's stages (Tan and Le 2019, table 1)
//! without squeeze-and-excite, ReLU6 for swish, stem and head of one width at every size.
//!
//! Names are those of the PyPI package `efficientnet-lite-pytorch`, whose checkpoints load unchanged; like it, convolutions
//! pad as TensorFlow does and batch norms add 1e-3. Inputs of at most 64 pixels get a form for small images, as
//! MobileNetV2 does: the stem and the first stage that halves the map keep it.

use crate::error::Result;

use super::graph::{ConvSize, Graph, Origin};
use super::inverted_residual::{Names, append_stages, divisible};
use super::{Act, ModelSpec, Network, Op, Source, Stage};

/// Factor on the widths, factor on the number of blocks and resolution of each size.
const SIZES: [(f64, f64, usize); 5] =
    [(1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260), (1.2, 1.4, 280), (1.4, 1.8, 300)];

/// Expansion, channels, blocks, kernel and first stride of each stage.
const STAGES: [(usize, f64, usize, usize, usize); 7] = [
    (1, 16.0, 1, 3, 1),
    (6, 24.0, 2, 3, 2),
    (6, 40.0, 2, 5, 2),
    (6, 80.0, 3, 3, 2),
    (6, 112.0, 3, 5, 1),
    (6, 192.0, 4, 5, 2),
    (6, 320.0, 1, 3, 1),
];

/// Pixels that an image is resized to beyond the crop (TensorFlow's `CROP_PADDING`).
pub(super) const MARGIN: usize = 32;

/// Mean and deviation of every channel, for pixels in `[0, 1]`: 127 and 128 of 255.
pub(super) const MEAN_AND_STD: [f32; 2] = [127.0 / 255.0, 128.0 / 255.0];

/// Side of the input image that size `scale` was trained with, in pixels.
pub(super) fn resolution(scale: usize) -> usize {
    SIZES[scale].2
}

/// The stages of inverted residual blocks.
pub(super) fn stages(spec: &ModelSpec, scale: usize) -> Vec<Stage> {
    let (widths, depths, _) = SIZES[scale];
    let stage = |(index, (expansion, channels, blocks, kernel, stride))| {
        let ends = index == 0 || index + 1 == STAGES.len();
        let blocks = if ends { blocks } else { (depths * blocks as f64).ceil() as usize };
        let stride = if spec.is_small() && index == 1 { 1 } else { stride };
        Stage { expansion, channels: channels * widths * spec.width, blocks, kernel, stride }
    };
    STAGES.into_iter().enumerate().map(stage).collect()
}

/// The layers of size `scale`.
///
/// # Errors
/// When a shortcut kind or a TensorFlow form of ResNet is asked for.
pub(super) fn expand(spec: &ModelSpec, scale: usize) -> Result<Network> {
    spec.refuse_tf_form()?;
    spec.refuse_shortcut()?;
    let mut graph = Graph::from_origin(spec.input(), Origin::TensorFlow);
    let stride = if spec.is_small() { 1 } else { 2 };
    let stem = ConvSize { c_out: divisible(32.0 * spec.width), kernel: 3, stride };
    let stem = graph.conv("_conv_stem".to_owned(), "_bn0".to_owned(), Source::Input, stem, Act::Relu6);
    let mut x = append_stages(&mut graph, spec, &stages(spec, scale), |number, _| names(number), stem)?;
    let head = ConvSize { c_out: divisible(1280.0 * spec.width.max(1.0)), kernel: 1, stride: 1 };
    x = graph.conv("_conv_head".to_owned(), "_bn1".to_owned(), x, head, Act::Relu6);
    let pooled = graph.pool("_avg_pooling", x, Op::GlobalAvgPool);
    graph.linear("_fc".to_owned(), pooled, spec.class_count());
    graph.finish(spec)
}

/// Name of a block by its number.
pub(super) fn block(number: usize) -> String {
    format!("_blocks.{number}")
}

/// The parts of a block by its number. The package counts its norms `_bn0` to `_bn2`, whether there is an expansion or not.
fn names(number: usize) -> Names {
    let part = |leaf: &str| format!("{}.{leaf}", block(number));
    let pair = |conv: &str, norm: &str| [conv, norm].map(part);
    Names {
        block: block(number),
        expand: pair("_expand_conv", "_bn0"),
        depthwise: pair("_depthwise_conv", "_bn1"),
        project: pair("_project_conv", "_bn2"),
        add: part("add"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Conv, build};

    fn network(scale: usize, resolution: Option<usize>) -> Network {
        let model = format!("efficientnet_lite{scale}").parse().unwrap();
        build(&ModelSpec { resolution, ..ModelSpec::new(model) }).unwrap()
    }

    fn conv(network: &Network, name: &str) -> Conv {
        match network.layers.iter().find(|layer| layer.name == name).unwrap().op {
            Op::Conv(conv) => conv,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parameters_of_every_size() {
        // Lite0: summed over the package's checkpoint. All: TensorFlow's table says 4.7, 5.4, 6.1, 8.2 and 13.0 million.
        assert_eq!(network(0, None).parameter_count(), 4_652_008);
        let tenths = [0, 1, 2, 3, 4].map(|scale| (network(scale, None).parameter_count() + 50_000) / 100_000);
        assert_eq!(tenths, [47, 54, 61, 82, 130]);
    }

    #[test]
    fn padding_is_tensorflows() {
        let zeros = |network: &Network, name: &str| {
            let Conv { padding, extra_end, .. } = conv(network, name);
            (padding, extra_end)
        };
        // 224 pixels, 3x3 stride 2: 112 windows reach 111 * 2 + 3 = 225 pixels, one zero more, at the end.
        let lite0 = network(0, None);
        assert_eq!(zeros(&lite0, "_conv_stem"), (0, 1));
        assert_eq!(zeros(&lite0, "_blocks.0._depthwise_conv"), (1, 0));
        // 56 pixels, 5x5 stride 2: 27 * 2 + 5 = 59, three zeros; 14 pixels likewise.
        assert_eq!(zeros(&lite0, "_blocks.3._depthwise_conv"), (1, 1));
        assert_eq!(zeros(&lite0, "_blocks.0._project_conv"), (0, 0));
        // 65 pixels (260 halved twice): 32 * 2 + 5 = 69, two on each side.
        assert_eq!(zeros(&network(2, None), "_blocks.4._depthwise_conv"), (2, 0));
        assert!(lite0.layers.iter().all(|layer| (layer.norm_epsilon - 1e-3).abs() < 1e-12));
    }

    #[test]
    fn maps_end_at_a_thirty_second_or_at_an_eighth() {
        let last = |network: &Network| network.layers[network.layers.len() - 3].output;
        let sides = [0, 1, 2, 3, 4].map(|scale| (last(&network(scale, None)).h, network(scale, None).input.h));
        assert_eq!(sides, [(7, 224), (8, 240), (9, 260), (9, 280), (10, 300)]);
        assert_eq!(last(&network(0, Some(32))).h, 4);
        assert_eq!(network(0, Some(32)).parameters(), network(0, None).parameters());
    }
}
