//! What a vision transformer computes beside fully connected layers, as ONNX nodes. Tokens are `[N, tokens, features]`.

use super::graph::{Graph, float, int, ints};
use crate::network::LAYER_NORM_EPSILON;

/// The map's pixels, row by row, behind an empty row for the class token, plus one learned row a token
/// (the class token is in the first).
pub(super) fn embed(graph: &mut Graph, x: &str, rows: &str, features: usize, output: &str) -> String {
    let part = |leaf: &str| format!("{output}_{leaf}");
    let flat = graph.integers(&part("flat_shape"), &[0, features as i64, -1]);
    let flat = graph.node("Reshape", &[x, &flat], &part("flat"), vec![]);
    let pixels = graph.node("Transpose", &[&flat], &part("pixels"), vec![ints("perm", &[0, 2, 1])]);
    let pads = graph.integers(&part("pads"), &[0, 1, 0, 0, 0, 0]);
    let tokens = graph.node("Pad", &[&pixels, &pads], &part("tokens"), vec![]);
    graph.node("Add", &[&tokens, rows], output, vec![])
}

/// Layer normalisation over the features.
pub(super) fn layer_norm(graph: &mut Graph, x: &str, gain: &str, offset: &str, output: &str) -> String {
    graph.need(17);
    let attributes = vec![int("axis", -1), float("epsilon", LAYER_NORM_EPSILON as f32)];
    graph.node("LayerNormalization", &[x, gain, offset], output, attributes)
}

/// `x weight^T + bias` for every token, by Gemm over all of them: where ONNX Runtime sees MatMul of dequantized weights, it
/// quantizes the other factor on its own.
pub(super) fn linear(
    graph: &mut Graph,
    [x, weight, bias]: [&str; 3],
    [tokens, c_in, c_out]: [usize; 3],
    output: &str,
) -> String {
    let part = |leaf: &str| format!("{output}_{leaf}");
    let rows = graph.integers(&part("rows_shape"), &[-1, c_in as i64]);
    let rows = graph.node("Reshape", &[x, &rows], &part("rows"), vec![]);
    let product = graph.node("Gemm", &[&rows, weight, bias], &part("product"), vec![int("transB", 1)]);
    let shape = graph.integers(&part("shape"), &[-1, tokens as i64, c_out as i64]);
    graph.node("Reshape", &[&product, &shape], output, vec![])
}

/// Softmax of scaled products of queries and keys; `features` is the width of a token.
pub(super) fn scores(graph: &mut Graph, qkv: &str, heads: usize, features: usize, output: &str) -> String {
    let name = |leaf: &str| format!("{output}_{leaf}");
    let queries = heads_of(graph, qkv, (heads, features), 0, &[0, 2, 1, 3], &name("queries"));
    let keys = heads_of(graph, qkv, (heads, features), 1, &[0, 2, 3, 1], &name("keys"));
    let scale = graph.floats(&name("product_scale"), &[], &[(features as f32 / heads as f32).powf(-0.5)]);
    let scaled = graph.node("Mul", &[&queries, &scale], &name("scaled_queries"), vec![]);
    let products = graph.node("MatMul", &[&scaled, &keys], &name("products"), vec![]);
    graph.node("Softmax", &[&products], output, vec![int("axis", -1)])
}

/// Sums of values by scores.
pub(super) fn values(
    graph: &mut Graph,
    scores: &str,
    qkv: &str,
    (heads, features): (usize, usize),
    output: &str,
) -> String {
    let name = |leaf: &str| format!("{output}_{leaf}");
    let values = heads_of(graph, qkv, (heads, features), 2, &[0, 2, 1, 3], &name("values"));
    let sums = graph.node("MatMul", &[scores, &values], &name("sums"), vec![]);
    let rows = graph.node("Transpose", &[&sums], &name("rows"), vec![ints("perm", &[0, 2, 1, 3])]);
    let shape = graph.integers(&name("shape"), &[0, 0, features as i64]);
    graph.node("Reshape", &[&rows, &shape], output, vec![])
}

/// A third of `qkv` by head: `[N, t, 3 c]` becomes `[N, t, heads, c / heads]`, then in the order `perm`.
fn heads_of(
    graph: &mut Graph,
    qkv: &str,
    (heads, features): (usize, usize),
    which: i64,
    perm: &[usize],
    output: &str,
) -> String {
    let name = |leaf: &str| format!("{output}_{leaf}");
    let start = graph.integers(&name("start"), &[which * features as i64]);
    let end = graph.integers(&name("end"), &[(which + 1) * features as i64]);
    let axis = graph.integers(&name("axis"), &[2]);
    let third = graph.node("Slice", &[qkv, &start, &end, &axis], &name("third"), vec![]);
    let shape = graph.integers(&name("shape"), &[0, 0, heads as i64, (features / heads) as i64]);
    let split = graph.node("Reshape", &[&third, &shape], &name("split"), vec![]);
    graph.node("Transpose", &[&split], output, vec![ints("perm", perm)])
}

/// `x / 2 (1 + erf(x / sqrt 2))`.
pub(super) fn gelu(graph: &mut Graph, x: &str, output: &str) -> String {
    let part = |leaf: &str| format!("{output}_gelu_{leaf}");
    let [root, one, half] = [("root", std::f32::consts::SQRT_2), ("one", 1.0), ("half", 0.5)]
        .map(|(leaf, value)| graph.floats(&part(leaf), &[], &[value]));
    let scaled = graph.node("Div", &[x, &root], &part("scaled"), vec![]);
    let erf = graph.node("Erf", &[&scaled], &part("erf"), vec![]);
    let shifted = graph.node("Add", &[&erf, &one], &part("shifted"), vec![]);
    let product = graph.node("Mul", &[x, &shifted], &part("double"), vec![]);
    graph.node("Mul", &[&product, &half], output, vec![])
}
