//! One operator between two others, as a network of its own: what is timed for a latency table.
//!
//! Lone operators do not add up to a network: runtimes fuse neighbours, keep maps in layouts of their own and find what
//! was just written in the cache (research/spaceevo.md section 7). So an operator stands behind a 1x1 convolution that makes its input,
//! and before one that reads a single pixel of its result; its time is that of this network less that of the same
//! without it.

use crate::error::Result;

use super::graph::Graph;
use super::{Act, Conv, Network, Op, Shape, Source, Transform};

/// Channels of the image that the first convolution reads.
const CHANNELS_READ: usize = 4;

/// Name of the convolution that makes its input.
pub const BEFORE: &str = "before";

/// Name of the layer that is timed.
const KERNEL: &str = "kernel";

/// Channels behind the convolution that reads one pixel, and logits.
const CHANNELS_LEFT: usize = 8;

/// An operator's network, and the same without the operator; formats open.
#[derive(Clone, Debug)]
pub struct InContext {
    /// With the operator.
    pub with: Network,
    /// Without it.
    pub without: Network,
}

/// Puts an operator on an input of this shape between its neighbours. Inputs of fewer than 8 channels are the image itself. The sum
/// stands behind a convolution, which some runtimes merge it into; a gate behind its map and the map's means; attention is measured
/// whole, scores and values together. `c_out` counts for the padded shortcut alone.
///
/// # Errors
/// The operator does not fit the input.
pub fn in_context(op: Op, act: Act, input: Shape, c_out: usize) -> Result<InContext> {
    let network = |present: bool| {
        // A single token is the first of two.
        let single = op == Op::LayerNorm && input.h * input.w == 1;
        let from = if single { Shape { h: 2, ..input } } else { input };
        let mut graph = Graph::new(image(from));
        let mut x = made(&mut graph, from);
        if single {
            x = graph.operator("first", Op::ClassToken, vec![x], Act::None);
        }
        let y = match op {
            Op::Add => {
                let same = Op::Linear { c_in: input.c, c_out: input.c };
                let made = if input.is_tokens() { same } else { pointwise(input.c, input.c, 1) };
                let branch = graph.operator("branch", made, vec![x], Act::None);
                if present { graph.operator(KERNEL, op, vec![branch, x], act) } else { branch }
            }
            Op::Gate => {
                let means = graph.operator("means", Op::GlobalAvgPool, vec![x], Act::None);
                if present { graph.operator(KERNEL, op, vec![x, means], act) } else { means }
            }
            Op::AttentionScores { heads } => {
                let y = if present {
                    let scores = graph.operator(KERNEL, op, vec![x], act);
                    graph.operator("values", Op::AttentionValues { heads }, vec![scores, x], Act::None)
                } else {
                    x
                };
                // A layer with weights decides the formats of what attention multiplies; one feature of it is enough.
                let c_in = graph.shape(y).c;
                graph.operator("after", Op::Linear { c_in, c_out: 1 }, vec![y], Act::None)
            }
            Op::PadShortcut { stride } if present => graph.pad_shortcut(KERNEL.to_owned(), x, stride, c_out),
            _ if present => graph.operator(KERNEL, op, vec![x], act),
            _ => x,
        };
        left(&mut graph, y);
        closed(graph)
    };
    Ok(InContext { with: network(true)?, without: network(false)? })
}

/// A tensor of this shape between the convolution that makes it and the one that reads it: with formats that differ, the way
/// from one to the other.
///
/// # Errors
/// An empty shape.
pub fn passage(shape: Shape) -> Result<Network> {
    let mut graph = Graph::new(image(shape));
    let x = made(&mut graph, shape);
    left(&mut graph, x);
    closed(graph)
}

fn closed(graph: Graph) -> Result<Network> {
    graph.close("kernel".to_owned(), CHANNELS_LEFT, Transform::plain(&[0.0], &[1.0]))
}

fn image(input: Shape) -> Shape {
    match (input.is_tokens(), input.c) {
        (true, _) => Shape { c: CHANNELS_READ, h: input.h - 1, w: 1 },
        (false, ..CHANNELS_LEFT) => input,
        (false, _) => Shape { c: CHANNELS_READ, ..input },
    }
}

/// The operator's input.
fn made(graph: &mut Graph, input: Shape) -> Source {
    if input.is_tokens() {
        let map = graph.operator(BEFORE, pointwise(CHANNELS_READ, input.c, 1), vec![Source::Input], Act::None);
        return graph.operator("embed", Op::Embed, vec![map], Act::None);
    }
    if input.c < CHANNELS_LEFT {
        return Source::Input;
    }
    graph.operator(BEFORE, pointwise(CHANNELS_READ, input.c, 1), vec![Source::Input], Act::Relu)
}

/// One pixel or token of `y`, and logits from it.
fn left(graph: &mut Graph, y: Source) {
    let shape = graph.shape(y);
    let pixel = if shape.is_tokens() {
        graph.operator("token", Op::ClassToken, vec![y], Act::None)
    } else if shape.h * shape.w > 1 {
        graph.operator("pixel", pointwise(shape.c, CHANNELS_LEFT, shape.h.max(shape.w)), vec![y], Act::Relu)
    } else {
        y
    };
    let c_in = graph.shape(pixel).c;
    graph.operator("logits", Op::Linear { c_in, c_out: CHANNELS_LEFT }, vec![pixel], Act::None);
}

fn pointwise(c_in: usize, c_out: usize, stride: usize) -> Op {
    Op::Conv(Conv { c_in, c_out, kernel: 1, stride, padding: 0, extra_end: 0, groups: 1 })
}
