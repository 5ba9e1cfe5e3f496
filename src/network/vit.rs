//! Vision transformers (Dosovitskiy et al. 2021; Touvron et al. 2021) in timm's form: patches become tokens, blocks of
//! attention and of two fully connected layers with a layer norm in front of each, a head on the class token.
//!
//! Inputs of at most 64 pixels are cut into patches of 4 pixels instead of 16. Names stay the same.

use crate::error::Error;
use crate::error::Result;

use super::graph::Graph;
use super::model::VitSize;
use super::{Act, ModelSpec, Network, Op, Source};

/// Blocks of every published size.
const BLOCKS: usize = 12;
/// Width of a block's hidden layer over that of its tokens.
const EXPANSION: usize = 4;

/// The layers of the network.
///
/// # Errors
/// When a shortcut kind or a TensorFlow form is asked for, or patches do not fill the input.
pub(super) fn expand(spec: &ModelSpec, size: VitSize) -> Result<Network> {
    spec.refuse_tf_form()?;
    spec.refuse_shortcut()?;
    let (features, heads) = match size {
        VitSize::Tiny => (192, 3),
        VitSize::Small => (384, 6),
        VitSize::Base => (768, 12),
    };
    // Heads stay as many at every width and share the features evenly.
    let features = heads * ((features as f64 * spec.width / heads as f64).round() as usize).max(1);
    let mut graph = Graph::new(spec.input());
    let side = if spec.is_small() { 4 } else { 16 };
    for length in [graph.shape(Source::Input).h, graph.shape(Source::Input).w] {
        if !length.is_multiple_of(side) {
            let hint = format!("{} cuts images into patches of {side} pixels: a multiple of that", spec.model);
            return Err(Error::bad_value("resolution", length, hint));
        }
    }
    let map = graph.patches("patch_embed.proj".to_owned(), Source::Input, features, side);
    let mut x = graph.plain("pos_embed".to_owned(), Op::Embed, vec![map]);
    for block in 0..spec.depth.unwrap_or(BLOCKS) {
        x = attention(&mut graph, &format!("blocks.{block}"), x, heads);
        x = perceptron(&mut graph, &format!("blocks.{block}"), x);
    }
    // The norm treats every token alike, so that of the class token is the only one that counts.
    let class = graph.plain("class_token".to_owned(), Op::ClassToken, vec![x]);
    let class = graph.layer_norm("norm".to_owned(), class);
    graph.linear("head".to_owned(), class, spec.class_count());
    graph.finish(spec)
}

/// Attention over normalised tokens, added to the tokens.
fn attention(graph: &mut Graph, block: &str, from: Source, heads: usize) -> Source {
    let features = graph.shape(from).c;
    let name = |part: &str| format!("{block}.{part}");
    let x = graph.layer_norm(name("norm1"), from);
    let qkv = graph.linear(name("attn.qkv"), x, 3 * features);
    let scores = graph.plain(name("attn.scores"), Op::AttentionScores { heads }, vec![qkv]);
    let values = graph.plain(name("attn.values"), Op::AttentionValues { heads }, vec![scores, qkv]);
    let x = graph.linear(name("attn.proj"), values, features);
    graph.add(name("attn.add"), x, from)
}

/// Two fully connected layers on normalised tokens, added to the tokens.
fn perceptron(graph: &mut Graph, block: &str, from: Source) -> Source {
    let features = graph.shape(from).c;
    let name = |part: &str| format!("{block}.{part}");
    let x = graph.layer_norm(name("norm2"), from);
    let x = graph.linear(name("mlp.fc1"), x, EXPANSION * features);
    let x = graph.activate(name("mlp.act"), x, Act::Gelu);
    let x = graph.linear(name("mlp.fc2"), x, features);
    graph.add(name("mlp.add"), x, from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::Granularity;
    use crate::network::build;

    fn model(name: &str) -> Network {
        build(&ModelSpec::new(name.parse().unwrap())).unwrap()
    }

    #[test]
    fn parameter_counts_are_timms() {
        let published = [("deit_tiny", 5_717_416), ("deit_small", 22_050_664), ("deit_base", 86_567_656)];
        for (name, count) in published {
            assert_eq!(model(name).parameter_count(), count, "{name}");
            assert_eq!(model(&name.replace("deit", "vit")).parameter_count(), count, "{name}");
        }
    }

    #[test]
    fn names_and_shapes_are_timms() {
        // VisionTransformer's state dict: 4 tensors in front, 12 a block, 4 behind.
        let parameters = model("deit_tiny").parameters();
        let mut expected: Vec<(String, Vec<usize>)> = [
            ("cls_token", vec![1, 1, 192]),
            ("pos_embed", vec![1, 197, 192]),
            ("patch_embed.proj.weight", vec![192, 3, 16, 16]),
            ("patch_embed.proj.bias", vec![192]),
            ("norm.weight", vec![192]),
            ("norm.bias", vec![192]),
            ("head.weight", vec![1000, 192]),
            ("head.bias", vec![1000]),
        ]
        .map(|(name, shape)| (name.to_owned(), shape))
        .into();
        for block in 0..12 {
            let parts = [("norm1", 0), ("attn.qkv", 576), ("attn.proj", 192), ("norm2", 0), ("mlp.fc1", 768)];
            for (part, rows) in parts {
                let weight = if rows == 0 { vec![192] } else { vec![rows, 192] };
                expected.push((format!("blocks.{block}.{part}.weight"), weight));
                expected.push((format!("blocks.{block}.{part}.bias"), vec![rows.max(if rows == 0 { 192 } else { 0 })]));
            }
            expected.push((format!("blocks.{block}.mlp.fc2.weight"), vec![192, 768]));
            expected.push((format!("blocks.{block}.mlp.fc2.bias"), vec![192]));
        }
        expected.sort();
        assert_eq!(parameters.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn points_are_where_integers_are_multiplied_and_the_tokens_themselves_stay_float() {
        let network = model("deit_tiny");
        let point = |name: &str| {
            let layer = network.layers.iter().find(|layer| layer.name == name).unwrap();
            let point = layer.point.as_ref()?;
            let decider = network.layers[point.decided_by].name.as_str();
            Some((decider, point.nonnegative, point.spec.granularity == Granularity::Token))
        };
        for (name, expected) in [
            ("patch_embed.proj", None),
            ("pos_embed", None),
            ("blocks.0.norm1", Some(("blocks.0.attn.qkv", false, true))),
            ("blocks.0.attn.qkv", Some(("blocks.0.attn.proj", false, false))),
            ("blocks.0.attn.scores", Some(("blocks.0.attn.proj", true, false))),
            ("blocks.0.attn.values", Some(("blocks.0.attn.proj", false, true))),
            ("blocks.0.attn.proj", None),
            ("blocks.0.attn.add", None),
            ("blocks.0.mlp.fc1", Some(("blocks.0.mlp.fc2", false, false))),
            ("blocks.0.mlp.act", Some(("blocks.0.mlp.fc2", false, true))),
            ("blocks.11.mlp.add", None),
            ("norm", Some(("head", false, true))),
        ] {
            assert_eq!(point(name), expected, "{name}");
        }
    }

    #[test]
    fn small_images_have_small_patches_and_any_depth() {
        let spec = ModelSpec {
            width: 0.5,
            resolution: Some(28),
            channels: Some(1),
            depth: Some(4),
            ..ModelSpec::new("vit_tiny".parse().unwrap())
        };
        let network = build(&spec).unwrap();
        assert_eq!(network.parameters()["pos_embed"], [1, 50, 96]);
        assert_eq!(network.weighted().len(), 1 + 4 * 4 + 1);
        let cut = build(&ModelSpec { resolution: Some(30), ..spec }).unwrap_err().to_string();
        assert!(cut.contains("resolution `30`") && cut.contains("patches of 4"), "{cut}");
        let deep = ModelSpec { depth: Some(2), ..ModelSpec::new("resnet20".parse().unwrap()) };
        assert!(build(&deep).unwrap_err().to_string().contains("depth"));
    }
}
