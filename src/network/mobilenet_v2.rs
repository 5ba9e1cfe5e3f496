//! MobileNetV2 (Sandler et al. 2018, table 2) in torchvision's form: inverted residual blocks of a 1x1 expansion, a 3x3
//! depthwise convolution and a linear 1x1 projection, ReLU6 behind all but the last.
//!
//! Inputs of at most 64 pixels get the form that is usual for small images: the stem and the first stage that halves the
//! map keep it, so that 8 instead of 32 pixels become one. Names and shapes stay the same.

use crate::error::Result;

use super::graph::{ConvSize, Graph};
use super::inverted_residual::{Names, append_stages, divisible};
use super::{Act, ModelSpec, Network, Op, Source, Stage};

/// Expansion, channels, blocks and first stride of each stage.
const STAGES: [(usize, f64, usize, usize); 7] = [
    (1, 16.0, 1, 1),
    (6, 24.0, 2, 2),
    (6, 32.0, 3, 2),
    (6, 64.0, 4, 2),
    (6, 96.0, 3, 1),
    (6, 160.0, 3, 2),
    (6, 320.0, 1, 1),
];

/// The stages of inverted residual blocks.
pub(super) fn stages(spec: &ModelSpec) -> Vec<Stage> {
    let stage = |(index, (expansion, channels, blocks, stride))| {
        let stride = if spec.is_small() && index == 1 { 1 } else { stride };
        Stage { expansion, channels: channels * spec.width, blocks, kernel: 3, stride }
    };
    STAGES.into_iter().enumerate().map(stage).collect()
}

/// Name of a block by its number.
pub(super) fn block(number: usize) -> String {
    format!("features.{}", number + 1)
}

/// The layers of the network.
///
/// # Errors
/// When a shortcut kind or a TensorFlow form is asked for, or the input is too small.
pub(super) fn expand(spec: &ModelSpec) -> Result<Network> {
    spec.refuse_tf_form()?;
    spec.refuse_shortcut()?;
    let mut graph = Graph::new(spec.input());
    let stride = if spec.is_small() { 1 } else { 2 };
    let stem = ConvSize { c_out: divisible(32.0 * spec.width), kernel: 3, stride };
    let stem = graph.conv("features.0.0".to_owned(), "features.0.1".to_owned(), Source::Input, stem, Act::Relu6);
    let mut x =
        append_stages(&mut graph, spec, &stages(spec), |number, expansion| names(&block(number), expansion), stem)?;
    let last = block(STAGES.iter().map(|stage| stage.2).sum());
    let head = ConvSize { c_out: divisible(1280.0 * spec.width.max(1.0)), kernel: 1, stride: 1 };
    x = graph.conv(format!("{last}.0"), format!("{last}.1"), x, head, Act::Relu6);
    let pooled = graph.pool("avgpool", x, Op::GlobalAvgPool);
    graph.linear("classifier.1".to_owned(), pooled, spec.class_count());
    graph.finish(spec)
}

/// The parts of block `name`, numbered as torchvision's `Sequential` numbers them.
fn names(name: &str, expansion: usize) -> Names {
    let depthwise = usize::from(expansion > 1);
    let pair = |conv: String, norm: String| [conv, norm].map(|part| format!("{name}.conv.{part}"));
    Names {
        block: name.to_owned(),
        expand: pair("0.0".to_owned(), "0.1".to_owned()),
        depthwise: pair(format!("{depthwise}.0"), format!("{depthwise}.1")),
        project: pair((depthwise + 1).to_string(), (depthwise + 2).to_string()),
        add: format!("{name}.add"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::build;

    fn network(width: f64, resolution: Option<usize>) -> Network {
        build(&ModelSpec { width, resolution, ..ModelSpec::new("mobilenet_v2".parse().unwrap()) }).unwrap()
    }

    #[test]
    fn names_and_shapes_are_torchvisions() {
        let parameters = network(1.0, None).parameters();
        let shape = |name: &str| parameters.iter().find(|(known, _)| *known == name).map(|(_, shape)| shape.clone());
        for (name, expected) in [
            ("features.0.0.weight", vec![32, 3, 3, 3]),
            ("features.1.conv.0.0.weight", vec![32, 1, 3, 3]),
            ("features.1.conv.1.weight", vec![16, 32, 1, 1]),
            ("features.1.conv.2.running_var", vec![16]),
            ("features.2.conv.0.0.weight", vec![96, 16, 1, 1]),
            ("features.2.conv.1.0.weight", vec![96, 1, 3, 3]),
            ("features.2.conv.2.weight", vec![24, 96, 1, 1]),
            ("features.2.conv.3.bias", vec![24]),
            ("features.17.conv.2.weight", vec![320, 960, 1, 1]),
            ("features.18.0.weight", vec![1280, 320, 1, 1]),
            ("features.18.1.weight", vec![1280]),
            ("classifier.1.weight", vec![1000, 1280]),
            ("classifier.1.bias", vec![1000]),
        ] {
            assert_eq!(shape(name), Some(expected), "{name}");
        }
        // torchvision: 3,504,872 trained values; 158 tensors with batch-norm gammas and betas, 52 norms.
        let trained = parameters.iter().filter(|(name, _)| !name.contains("running"));
        assert_eq!(trained.map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>(), 3_504_872);
        assert_eq!(parameters.iter().filter(|(name, _)| name.ends_with("running_mean")).count(), 52);
    }

    #[test]
    fn the_narrowest_network_has_every_layer() {
        assert_eq!(network(0.25, None).weighted().len(), 53);
    }

    #[test]
    fn small_images_keep_their_map_twice() {
        let last = |network: &Network| network.layers[network.layers.len() - 3].output;
        assert_eq!(last(&network(1.0, None)).h, 7);
        assert_eq!([32, 28].map(|side| last(&network(1.0, Some(side))).h), [4, 4]);
        assert_eq!(network(1.0, Some(32)).parameters(), network(1.0, None).parameters());
    }

    #[test]
    fn residual_sums_have_ten_adds_without_relu_on_quantized_inputs() {
        let network = network(1.0, None);
        let adds: Vec<_> = network.layers.iter().filter(|layer| layer.op == Op::Add).collect();
        assert_eq!(adds.len(), 10);
        for add in adds {
            assert_eq!(add.act, Act::None);
            let [branch, shortcut] = [0, 1].map(|side| network.point(add.inputs[side]).unwrap());
            assert_eq!(branch.decided_by, shortcut.decided_by, "{}", add.name);
            assert!(!branch.nonnegative && !shortcut.nonnegative, "{}", add.name);
        }
    }
}
