//! ResNet for large images in torchvision's form (He et al. 2016): 7x7 stem, max pooling, four stages of basic blocks
//! (18, 34) or bottlenecks (50), 1x1 projections where the shape changes.
//!
//! Two variants: `stride_in_first` puts a bottleneck's stride into its first 1x1 as the paper did (the form HAWQ-V3
//! counts, 3.86 instead of 4.09 GMACs), and `tf_form` has a projection in the first block of stage 1 too, as the
//! TensorFlow network has that FLIQS counts.

use crate::error::Error;
use crate::error::Result;

use super::graph::{ConvSize, Graph};
use super::{Act, ModelSpec, Network, Op, ShortcutKind, Source};

/// What all blocks of one network have in common.
struct Blocks {
    bottleneck: bool,
    stride_in_first: bool,
}

/// The layers of the network of this depth.
///
/// # Errors
/// When option-A shortcuts are asked for, which these networks do not have, or the input is too small.
pub(super) fn expand(spec: &ModelSpec, depth: usize, stride_in_first: bool) -> Result<Network> {
    if spec.shortcut == Some(ShortcutKind::A) {
        return Err(Error::bad_value("shortcut", "A", format!("{} has projections only: B", spec.model)));
    }
    let counts = if depth == 18 { [2, 2, 2, 2] } else { [3, 4, 6, 3] };
    let blocks = Blocks { bottleneck: depth == 50, stride_in_first };
    let base = spec.channels_of(64);
    let mut graph = Graph::new(spec.input());
    let stem = ConvSize { c_out: base, kernel: 7, stride: 2 };
    let mut x = graph.conv("conv1".to_owned(), "bn1".to_owned(), Source::Input, stem, Act::Relu);
    x = graph.pool("maxpool", x, Op::MaxPool { kernel: 3, stride: 2, padding: 1 });
    for (stage, count) in counts.into_iter().enumerate() {
        for index in 0..count {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let name = format!("layer{}.{index}", stage + 1);
            x = blocks.append(&mut graph, &name, x, ConvSize { c_out: base << stage, kernel: 3, stride });
        }
    }
    let pooled = graph.pool("avgpool", x, Op::GlobalAvgPool);
    graph.linear("fc".to_owned(), pooled, spec.class_count());
    let network = graph.finish(spec)?;
    // A bottleneck network has that projection in any form.
    Ok(if spec.tf_form { network.in_tf_form().unwrap_or(network) } else { network })
}

impl Blocks {
    /// One block of width `size.c_out` (a bottleneck's result is four times as wide).
    fn append(&self, graph: &mut Graph, name: &str, from: Source, size: ConvSize) -> Source {
        let label = |part: &str| format!("{name}.{part}");
        let step = |kernel, stride| ConvSize { kernel, stride, ..size };
        let wide = ConvSize { c_out: if self.bottleneck { 4 * size.c_out } else { size.c_out }, ..step(1, 1) };
        let branch = if self.bottleneck {
            let (first, second) = if self.stride_in_first { (size.stride, 1) } else { (1, size.stride) };
            let inner = graph.conv(label("conv1"), label("bn1"), from, step(1, first), Act::Relu);
            let inner = graph.conv(label("conv2"), label("bn2"), inner, step(3, second), Act::Relu);
            graph.conv(label("conv3"), label("bn3"), inner, wide, Act::None)
        } else {
            let inner = graph.conv(label("conv1"), label("bn1"), from, size, Act::Relu);
            graph.conv(label("conv2"), label("bn2"), inner, step(3, 1), Act::None)
        };
        let shortcut = if graph.shape(from) != graph.shape(branch) {
            let projection = ConvSize { stride: size.stride, ..wide };
            graph.conv(label("downsample.0"), label("downsample.1"), from, projection, Act::None)
        } else {
            from
        };
        graph.add_relu(label("add"), branch, shortcut)
    }
}
