//! ResNet for small images (He et al., Deep Residual Learning for Image Recognition, 2016, section 4.2): a 3x3 stem and
//! three stages of n basic blocks with 16, 32 and 64 channels, `depth = 6 n + 2`.
//!
//! Names are those of akamaster/pytorch_resnet_cifar10, whose checkpoints load unchanged.

use crate::error::Result;

use super::graph::{ConvSize, Graph};
use super::{Act, ModelSpec, Network, Op, ShortcutKind, Source};

/// The layers of the network of this depth.
///
/// # Errors
/// When the model has no `tf_form`, which is set, or the input is too small.
pub(super) fn expand(spec: &ModelSpec, depth: usize) -> Result<Network> {
    spec.refuse_tf_form()?;
    let base = spec.channels_of(16);
    let mut graph = Graph::new(spec.input());
    let stem = ConvSize { c_out: base, kernel: 3, stride: 1 };
    let mut x = graph.conv("conv1".to_owned(), "bn1".to_owned(), Source::Input, stem, Act::Relu);
    for stage in 0..3 {
        for index in 0..(depth - 2) / 6 {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let name = format!("layer{}.{index}", stage + 1);
            x = block(&mut graph, &name, x, ConvSize { c_out: base << stage, kernel: 3, stride }, spec.shortcut);
        }
    }
    let pooled = graph.pool("avgpool", x, Op::GlobalAvgPool);
    graph.linear("linear".to_owned(), pooled, spec.class_count());
    graph.finish(spec)
}

/// Two 3x3 convolutions and the shortcut around them.
fn block(graph: &mut Graph, name: &str, from: Source, size: ConvSize, kind: Option<ShortcutKind>) -> Source {
    let label = |part: &str| format!("{name}.{part}");
    let inner = graph.conv(label("conv1"), label("bn1"), from, size, Act::Relu);
    let branch = graph.conv(label("conv2"), label("bn2"), inner, ConvSize { stride: 1, ..size }, Act::None);
    let shortcut = if graph.shape(from) == graph.shape(branch) {
        from
    } else if kind == Some(ShortcutKind::B) {
        let projection = ConvSize { kernel: 1, ..size };
        graph.conv(label("downsample.0"), label("downsample.1"), from, projection, Act::None)
    } else {
        graph.pad_shortcut(label("shortcut"), from, size.stride, size.c_out)
    };
    graph.add_relu(label("add"), branch, shortcut)
}
