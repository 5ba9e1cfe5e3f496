//! Networks of stages of any [`Block`]s: what a hyperspace's subnets are.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

use super::block_type::{append, conv, pointwise, standing_alone};
use super::graph::{ConvSize, Graph};
use super::model::usual_mean_and_std;
use super::operators::check_kernel;
use super::{Act, Block, LayerSpec, ModelSpec, Network, Op, Shape, Source, Transform};

/// Largest side of an image that is taken as it is, not resized and cropped.
const SMALL_SIDE: usize = 64;

/// What a network of stages is made of: 3x3 stem, blocks, a 1x1 convolution, the mean over the map, a 1x1 convolution on
/// that, the classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagedModel {
    /// Output channels, stride and activation of the stem.
    pub stem: (usize, usize, Act),
    /// Blocks, stage by stage; the first of a stage has its stride.
    pub stages: Vec<Vec<Block>>,
    /// Channels before and behind the mean over the map, and their activation.
    pub head: (usize, usize, Act),
    /// Whether every shortcut goes through a convolution: such a network has the parameters of all whose blocks are not
    /// larger, whatever their widths.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub every_shortcut: bool,
}

/// A network of stages with its name and task.
#[derive(Clone, Debug, PartialEq)]
pub struct StagedSpec {
    /// Name of the network.
    pub name: String,
    /// Shape of the image.
    pub input: Shape,
    /// Number of classes.
    pub classes: usize,
    /// Its parts.
    pub model: StagedModel,
}

impl StagedModel {
    /// Name of a block, counted through all stages.
    pub fn block_name(&self, number: usize) -> String {
        let places =
            self.stages.iter().enumerate().flat_map(|(stage, blocks)| (0..blocks.len()).map(move |at| (stage, at)));
        places.into_iter().nth(number).map_or_else(String::new, |(stage, at)| format!("stage{stage}.{at}"))
    }

    /// Checks sizes that come from a file.
    ///
    /// # Errors
    /// The first size out of its range, by its key.
    pub fn check(&self) -> Result<()> {
        let sizes = [("staged.stem", self.stem.0), ("staged.head", self.head.0), ("staged.head", self.head.1)];
        let blocks = || self.stages.iter().flatten();
        let widths = blocks().map(|block| ("staged.stages.width", block.width));
        for (key, width) in sizes.into_iter().chain(widths) {
            if !(1..=1 << 16).contains(&width) {
                return Err(Error::bad_value(key, width, "1 to 65536 channels"));
            }
        }
        for (key, stride) in
            [("staged.stem", self.stem.1)].into_iter().chain(blocks().map(|b| ("staged.stages.stride", b.stride)))
        {
            if !(1..=4).contains(&stride) {
                return Err(Error::bad_value(key, stride, "a stride of 1 to 4"));
            }
        }
        for block in blocks() {
            check_kernel("staged.stages.kernel", block.kernel)?;
            let factor = block.expansion.unwrap_or(1.0);
            if !(factor > 0.0 && factor <= 16.0) || block.expansion.is_some() != block.kind.expands() {
                let expected = "above 0, at most 16, and none for MBv1Dual";
                return Err(Error::bad_value("staged.stages.expansion", format!("{:?}", block.expansion), expected));
            }
        }
        if self.stages.iter().any(Vec::is_empty) {
            return Err(Error::bad_value("staged.stages", "[]", "every stage needs a block"));
        }
        Ok(())
    }
}

/// Expands a network into its layers; all formats are float32.
///
/// # Errors
/// When the image is too small for a kernel.
pub fn build_staged(spec: &StagedSpec) -> Result<Network> {
    let StagedSpec { model, .. } = spec;
    let mut graph = Graph::new(spec.input);
    let (c_out, stride, act) = model.stem;
    let mut x = conv(&mut graph, "stem", Source::Input, ConvSize { c_out, kernel: 3, stride }, act);
    for (index, blocks) in model.stages.iter().enumerate() {
        x = append_stage(&mut graph, index, blocks, model.every_shortcut, x);
    }
    let (wide, mixed, act) = model.head;
    let x = conv(&mut graph, "expand", x, pointwise(wide), act);
    let pooled = graph.pool("avgpool", x, Op::GlobalAvgPool);
    let inside = if act.is_nonnegative() { act } else { Act::None };
    let mix = graph.pointwise("mix".to_owned(), pooled, mixed, inside);
    let mix = standing_alone(&mut graph, "mix", mix, act);
    graph.linear("classifier".to_owned(), mix, spec.classes);
    graph.close(spec.name.clone(), spec.classes, transform(spec.input))
}

/// The network of a published model's recipe.
///
/// # Errors
/// A recipe without stages, a size out of range, or an image too small for a kernel.
pub(super) fn expand(spec: &ModelSpec) -> Result<Network> {
    spec.refuse_tf_form()?;
    spec.refuse_shortcut()?;
    let model = spec.staged.clone().ok_or_else(|| {
        Error::missing_option("staged", "has no published sizes: stem, stages and head are given in the file")
    })?;
    model.check()?;
    build_staged(&StagedSpec { name: spec.model.to_string(), input: spec.input(), classes: spec.class_count(), model })
}

/// Names of the layers around a stage by itself.
pub const STAGE_ENDS: [&str; 2] = ["in_proj", "out_proj"];

/// One stage between 1x1 convolutions with bias: from what a teacher's stage reads to what it gives (SpaceEvo's blocks
/// under distillation). The projections are its first and its last layer.
///
/// # Errors
/// The input is too small for a kernel.
pub fn stage_between(stage: &LoneStage, input: Shape, c_out: usize) -> Result<Network> {
    let mut graph = Graph::new(input);
    let x = graph.pointwise(STAGE_ENDS[0].to_owned(), Source::Input, stage.c_in, Act::None);
    let x = append_stage(&mut graph, stage.index, stage.blocks, stage.every_shortcut, x);
    graph.pointwise(STAGE_ENDS[1].to_owned(), x, c_out, Act::None);
    graph.close_part(format!("stage{}", stage.index), c_out, Transform::plain(&vec![0.0; input.c], &vec![1.0; input.c]))
}

/// A stage as [`stage_between`] takes it.
#[derive(Clone, Copy, Debug)]
pub struct LoneStage<'a> {
    /// Its number, in the names of its parameters.
    pub index: usize,
    /// Channels that it reads.
    pub c_in: usize,
    /// Its blocks.
    pub blocks: &'a [Block],
    /// As in [`StagedModel`].
    pub every_shortcut: bool,
}

/// The layers of one stage by itself, on an input of this shape; without quantization points.
pub fn stage_layers(input: Shape, blocks: &[Block]) -> Vec<LayerSpec> {
    let mut graph = Graph::new(input);
    append_stage(&mut graph, 0, blocks, false, Source::Input);
    graph.into_layers()
}

fn append_stage(graph: &mut Graph, index: usize, blocks: &[Block], always: bool, from: Source) -> Source {
    let place = |(number, block): (usize, _)| (format!("stage{index}.{number}"), block);
    blocks.iter().enumerate().map(place).fold(from, |x, (name, block)| append(graph, &name, block, always, x))
}

fn transform(input: Shape) -> Transform {
    let (mean, std) = usual_mean_and_std(input.c);
    let plain = Transform::plain(&mean, &std);
    if input.h <= SMALL_SIDE {
        return plain;
    }
    Transform { resize: Some((input.h as f64 * 256.0 / 224.0).round() as usize), crop: Some(input.h), ..plain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::BlockType;

    fn block(kind: BlockType, act: Act) -> Block {
        let expansion = kind.expands().then_some(2.0);
        Block { kind, act, kernel: 5, expansion, width: 24, stride: 2, projects: true }
    }

    const ALL: [BlockType; 9] = [
        BlockType::MBv1Dual,
        BlockType::MBv2,
        BlockType::MBv3,
        BlockType::MBv2K3,
        BlockType::MBv3K3,
        BlockType::ResNet,
        BlockType::ResNetSE,
        BlockType::FusedMB,
        BlockType::FusedMBSE,
    ];

    /// Names and weight shapes of the layers of a block with 16 input channels.
    fn weights(kind: BlockType) -> String {
        let layers = stage_layers(Shape { c: 16, h: 8, w: 8 }, &[block(kind, Act::Relu)]);
        let prefix = format!("stage0.0.{}.", kind.name().to_lowercase());
        let named = |layer: &LayerSpec| {
            let shape: Vec<String> = layer.op.weight_shape()?.iter().map(usize::to_string).collect();
            Some(format!("{} {}", layer.name.strip_prefix(&prefix)?, shape.join("x")))
        };
        layers.iter().filter_map(named).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn every_block_has_the_layers_of_its_description() {
        let (expand, project) = ("expand.0 32x16x1x1", "project.0 24x32x1x1");
        let (depthwise, stacked) = ("depthwise.0 32x1x5x5", "depthwise.before0 32x1x3x3, depthwise.0 32x1x3x3");
        let bottleneck = "reduce.0 48x16x1x1, conv.0 48x48x5x5";
        // A quarter of 32 inner channels; a quarter of 16 input channels, rounded to 8.
        let gates = "se.fc1 8x32x1x1, se.fc2 32x8x1x1";
        let expected = [
            "depthwise.0 16x1x5x5, pointwise.0 24x16x1x1, depthwise2.0 24x1x5x5, project.0 24x24x1x1".to_owned(),
            format!("{expand}, {depthwise}, {project}"),
            format!("{expand}, {depthwise}, {gates}, {project}"),
            format!("{expand}, {stacked}, {project}"),
            format!("{expand}, {stacked}, {gates}, {project}"),
            format!("{bottleneck}, project.0 24x48x1x1"),
            format!("{bottleneck}, se.fc1 8x48x1x1, se.fc2 48x8x1x1, project.0 24x48x1x1"),
            format!("expand.0 32x16x5x5, {project}"),
            format!("expand.0 32x16x5x5, {gates}, {project}"),
        ];
        for (kind, layers) in ALL.into_iter().zip(expected) {
            assert_eq!(weights(kind), format!("{layers}, shortcut.0 24x16x1x1"), "{kind:?}");
        }
    }

    #[test]
    fn a_network_of_every_block_is_sound_with_every_activation() {
        for act in [Act::Relu, Act::Relu6, Act::Swish, Act::HardSwish] {
            let stages: Vec<Vec<Block>> = ALL
                .iter()
                .map(|&kind| vec![block(kind, act), Block { stride: 1, kernel: 7, ..block(kind, act) }])
                .collect();
            let spec = StagedSpec {
                name: "all".to_owned(),
                input: Shape { c: 3, h: 96, w: 96 },
                classes: 5,
                model: StagedModel { stem: (16, 2, act), stages, head: (64, 32, act), every_shortcut: false },
            };
            let network = build_staged(&spec).unwrap();
            network.validate().unwrap();
            assert_eq!(network.layers.iter().filter(|layer| layer.op == Op::Add).count(), 18);
            // The inputs of every sum share one format, as integer kernels need.
            for layer in network.layers.iter().filter(|layer| layer.op == Op::Add) {
                let [branch, shortcut] = [0, 1].map(|side| network.point(layer.inputs[side]).unwrap().decided_by);
                assert_eq!(branch, shortcut, "{}", layer.name);
            }
            // An activation that goes below zero stands alone, behind a quantization point.
            for layer in network.layers.iter().filter(|layer| layer.op == Op::Activate) {
                assert!(network.point(layer.inputs[0]).is_some(), "{}", layer.name);
            }
            let inside = network.layers.iter().filter(|layer| layer.op != Op::Activate);
            assert!(inside.into_iter().all(|layer| layer.act.is_nonnegative() || layer.act == Act::None));
        }
    }

    #[test]
    fn only_a_projecting_block_has_a_shortcut_where_the_shape_changes() {
        let count = |projects, stride, width| {
            let block = Block { projects, stride, width, ..block(BlockType::MBv2, Act::Relu) };
            let layers = stage_layers(Shape { c: 16, h: 8, w: 8 }, &[block]);
            let has = |part: &str| layers.iter().any(|layer| layer.name.ends_with(part));
            (has(".shortcut.0"), has(".add"))
        };
        assert_eq!([count(true, 1, 16), count(false, 1, 16)], [(false, true); 2]);
        assert_eq!([count(true, 2, 16), count(true, 1, 24)], [(true, true); 2]);
        assert_eq!([count(false, 2, 16), count(false, 1, 24)], [(false, false); 2]);
    }

    #[test]
    fn without_an_expansion_the_inverted_residual_starts_with_its_depthwise_convolution() {
        let plain = Block { expansion: Some(1.0), ..block(BlockType::MBv2, Act::Relu) };
        let layers = stage_layers(Shape { c: 16, h: 8, w: 8 }, &[plain]);
        assert_eq!(layers[0].op.weight_shape(), Some(vec![16, 1, 5, 5]));
    }

    #[test]
    fn a_stage_between_projections_has_the_channels_of_its_teacher() {
        let own = block(BlockType::MBv3, Act::HardSwish);
        let blocks = [own, Block { stride: 1, ..own }];
        let stage = |every_shortcut| LoneStage { index: 3, c_in: 16, blocks: &blocks, every_shortcut };
        let network = stage_between(&stage(false), Shape { c: 40, h: 14, w: 14 }, 56).unwrap();
        let (first, last) = (&network.layers[0], &network.layers[network.layers.len() - 1]);
        assert_eq!([first.name.as_str(), last.name.as_str()], STAGE_ENDS);
        assert_eq!((first.output.c, last.output), (16, Shape { c: 56, h: 7, w: 7 }));
        assert!(last.point.is_none() && network.layers.iter().all(|layer| !layer.name.starts_with("stage0")));
        // The second block keeps its shape: only the network for parameters has a convolution in its shortcut.
        let shortcuts = |every| {
            let network = stage_between(&stage(every), Shape { c: 40, h: 14, w: 14 }, 56).unwrap();
            network.layers.iter().filter(|layer| layer.name.ends_with("shortcut.0")).count()
        };
        assert_eq!([shortcuts(false), shortcuts(true)], [1, 2]);
    }
}
