//! Quantization points: which tensors carry a quantizer, and which layer's activation format each one takes.
//!
//! The rule, for any network of [`Op`]s:
//! 1. The input of every convolution and fully connected layer is a point, decided by its first reader.
//! 2. Both inputs of every add are points in one format, that of the block's input: so the add is an integer add
//!    (ONNX Runtime fuses it only then). The layer that decides the block's input decides them.
//! 3. The input of the global average pool is a point, decided by the layer behind the pool, so that the last add has a
//!    quantized output too and can be fused. Likewise the input of an activation that stands alone, a map and its gates, and what attention
//!    multiplies: queries, keys, values (one tensor, one quantizer) and scores are decided by the projection behind them.
//!
//! A transformer's tokens themselves, and so the sums and layer norms over them, stay in float: a sum is a point only where
//! a convolution reads it. Where a fully connected layer reads tokens each has a scale of its own, taken from its values:
//! such a scale is a factor of a whole row of products. Those of queries, keys, values and scores are not.
//!
//! Max pooling and the padded shortcut commute with quantization: their results repeat the scale of their input and the
//! point sits in front of them (for the stem of ResNet-18: on the first convolution's result, before the pool).

use crate::formats::Format;
use crate::formats::Granularity;
use crate::formats::QuantSpec;

use super::{Act, LayerSpec, Op, Point, Source};

/// The tensor whose scale a source carries: the source itself, or what it repeats.
fn carrier(layers: &[LayerSpec], source: Source) -> Source {
    match source {
        Source::Layer(index) if matches!(layers[index].op, Op::MaxPool { .. } | Op::PadShortcut { .. }) => {
            carrier(layers, layers[index].inputs[0])
        }
        _ => source,
    }
}

/// Whether a tensor holds no negative value: behind a ReLU, or made from such tensors alone.
fn nonnegative(layers: &[LayerSpec], source: Source) -> bool {
    let Source::Layer(index) = source else { return false };
    let layer = &layers[index];
    let makes = matches!(layer.op, Op::Conv(_) | Op::Linear { .. } | Op::Embed | Op::LayerNorm);
    let plain = layer.act == Act::None;
    let of_scores = matches!(layer.op, Op::AttentionScores { .. });
    of_scores
        || layer.act.is_nonnegative()
        || plain && !makes && layer.inputs.iter().all(|input| nonnegative(layers, *input))
}

/// Whether what is read takes the format of the result.
fn passes_on(op: Op) -> bool {
    matches!(op, Op::GlobalAvgPool | Op::Activate | Op::Gate | Op::AttentionScores { .. } | Op::AttentionValues { .. })
}

/// Whether each token of a layer's result has a scale of its own.
fn is_by_token(layer: &LayerSpec) -> bool {
    matches!(layer.op, Op::LayerNorm | Op::AttentionValues { .. }) || layer.op == Op::Activate && layer.act == Act::Gelu
}

/// For each tensor, the layer with weights that decides its format, if it is a point.
struct Deciders {
    input: Option<usize>,
    layers: Vec<Option<usize>>,
}

impl Deciders {
    fn of(&self, tensor: Source) -> Option<usize> {
        match tensor {
            Source::Input => self.input,
            Source::Layer(index) => self.layers[index],
        }
    }

    fn set_if_open(&mut self, tensor: Source, decider: Option<usize>) {
        let slot = match tensor {
            Source::Input => &mut self.input,
            Source::Layer(index) => &mut self.layers[index],
        };
        *slot = slot.or(decider);
    }

    fn find(layers: &[LayerSpec]) -> Self {
        let mut found = Self { input: None, layers: vec![None; layers.len()] };
        for (index, layer) in layers.iter().enumerate() {
            if layer.weight.is_some() {
                found.set_if_open(carrier(layers, layer.inputs[0]), Some(index));
            }
        }
        for (index, layer) in layers.iter().enumerate().rev() {
            if passes_on(layer.op) {
                for &input in &layer.inputs {
                    found.set_if_open(carrier(layers, input), found.layers[index]);
                }
            }
        }
        for layer in layers.iter().filter(|layer| layer.op == Op::Add) {
            let [branch, shortcut] = [0, 1].map(|side| carrier(layers, layer.inputs[side]));
            let block_input = match shortcut {
                Source::Layer(index) if found.layers[index].is_none() => carrier(layers, layers[index].inputs[0]),
                identity => identity,
            };
            let decider = found.of(block_input);
            found.set_if_open(branch, decider);
            found.set_if_open(shortcut, decider);
        }
        found
    }
}

/// Puts a float32 quantizer on every point of `layers` and returns the one on the network's input.
pub(super) fn place_points(layers: &mut [LayerSpec]) -> Point {
    let deciders = Deciders::find(layers);
    let point = |decided_by: usize, nonnegative: bool| Point {
        spec: QuantSpec::per_tensor(Format::Float32),
        nonnegative,
        decided_by,
    };
    let signs: Vec<bool> = (0..layers.len()).map(|index| nonnegative(layers, Source::Layer(index))).collect();
    for ((layer, decider), sign) in layers.iter_mut().zip(&deciders.layers).zip(signs) {
        let by_token = is_by_token(layer);
        layer.point = decider.map(|decided_by| point(decided_by, sign));
        if let Some(point) = layer.point.as_mut().filter(|_| by_token) {
            point.spec.granularity = Granularity::Token;
        }
    }
    point(deciders.input.unwrap_or(0), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{ModelSpec, Network, ShortcutKind, build};

    fn index(network: &Network, name: &str) -> usize {
        network.layers.iter().position(|layer| layer.name == name).unwrap()
    }

    /// Name of the layer that decides the point on `name`'s result, and whether that is nonnegative.
    fn decided<'a>(network: &'a Network, name: &str) -> Option<(&'a str, bool)> {
        let point = network.layers[index(network, name)].point.as_ref()?;
        Some((network.layers[point.decided_by].name.as_str(), point.nonnegative))
    }

    #[test]
    fn resnet8_has_its_points_where_the_rule_says() {
        let network = build(&ModelSpec::new("resnet8".parse().unwrap())).unwrap();
        let expected = [
            ("conv1", Some(("layer1.0.conv1", true))),
            ("layer1.0.conv1", Some(("layer1.0.conv2", true))),
            ("layer1.0.conv2", Some(("layer1.0.conv1", false))),
            ("layer1.0.add", Some(("layer2.0.conv1", true))),
            ("layer2.0.conv2", Some(("layer2.0.conv1", false))),
            ("layer2.0.shortcut", None),
            ("layer3.0.add", Some(("linear", true))),
            ("avgpool", Some(("linear", true))),
            ("linear", None),
        ];
        for (name, point) in expected {
            assert_eq!(decided(&network, name), point, "{name}");
        }
        assert_eq!((network.input_point.decided_by, network.input_point.nonnegative), (0, false));
    }

    #[test]
    fn a_projection_and_its_branch_share_the_format_of_the_block_input() {
        let small = ModelSpec { shortcut: Some(ShortcutKind::B), ..ModelSpec::new("resnet8".parse().unwrap()) };
        for spec in [small, ModelSpec::new("resnet50".parse().unwrap())] {
            let network = build(&spec).unwrap();
            assert_eq!(decided(&network, "layer2.0.downsample.0"), Some(("layer2.0.conv1", false)));
            for layer in network.layers.iter().filter(|layer| layer.op == Op::Add) {
                let [branch, shortcut] = [0, 1].map(|side| network.point(layer.inputs[side]).unwrap().decided_by);
                assert_eq!(branch, shortcut, "{}", layer.name);
            }
        }
    }

    #[test]
    fn the_torchvision_stem_is_quantized_before_the_pool() {
        let network = build(&ModelSpec::new("resnet18".parse().unwrap())).unwrap();
        assert_eq!(decided(&network, "conv1"), Some(("layer1.0.conv1", true)));
        assert_eq!(decided(&network, "maxpool"), None);
        let pooled = network.point(Source::Layer(index(&network, "maxpool"))).unwrap();
        assert_eq!(pooled, network.layers[0].point.as_ref().unwrap());
    }
}
