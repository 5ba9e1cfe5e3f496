//! The shortcut of CIFAR's ResNets: every `stride`-th row and column, then zero channels on both sides.

use super::element::{INT8, UINT8};
use super::graph::{Graph, int, ints};
use crate::network::Shape;

/// As Slice and Pad, for tensors of floats.
pub(super) fn moved(graph: &mut Graph, x: &str, (from, to): (Shape, Shape), stride: usize, output: &str) -> String {
    let part = |leaf: &str| format!("{output}_{leaf}");
    let starts = graph.integers(&part("starts"), &[0, 0]);
    let ends = graph.integers(&part("ends"), &[from.h as i64, from.w as i64]);
    let axes = graph.integers(&part("axes"), &[2, 3]);
    let steps = graph.integers(&part("steps"), &[stride as i64; 2]);
    let small = graph.node("Slice", &[x, &starts, &ends, &axes, &steps], &part("sliced"), vec![]);
    let missing = to.c.saturating_sub(from.c);
    let (front, behind) = (missing / 2, missing - missing / 2);
    let pads = graph.integers(&part("pads"), &[0, front as i64, 0, 0, 0, behind as i64, 0, 0]);
    graph.node("Pad", &[&small, &pads], output, vec![])
}

/// As a convolution that copies each channel to its place, for quantized tensors: one integer kernel with the same codes, where
/// ONNX Runtime runs Slice and Pad between quantizers in float.
pub(super) fn copied(graph: &mut Graph, x: &str, (from, to): (Shape, Shape), stride: usize, output: &str) -> String {
    let part = |leaf: &str| format!("{output}_{leaf}");
    let (element, zero) = if graph.dialect.unsigned_weights { (UINT8, 128) } else { (INT8, 0) };
    let mut codes = vec![zero; to.c * from.c];
    let front = to.c.saturating_sub(from.c) / 2;
    (0..from.c).for_each(|channel| codes[(front + channel) * from.c + channel] = zero + 1);
    let stored = graph.codes(&part("weight_q"), &[to.c, from.c, 1, 1], element, &codes);
    let scale = graph.floats(&part("weight_scale"), &[], &[1.0]);
    let zero = graph.codes(&part("weight_zero_point"), &[], element, &[zero]);
    let weight = graph.node("DequantizeLinear", &[&stored, &scale, &zero], &part("weight"), vec![]);
    let attributes = vec![ints("kernel_shape", &[1; 2]), ints("strides", &[stride; 2]), int("group", 1)];
    graph.node("Conv", &[x, &weight], output, attributes)
}
