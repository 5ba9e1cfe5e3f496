//! What a vision transformer computes beside fully connected layers. Tokens are `[n, features, tokens, 1]` with the
//! features of a token side by side in memory.

use tch::Tensor;

use crate::network::LAYER_NORM_EPSILON;

/// Pixels as tokens behind the class token, each with its position added.
///
/// # Shapes
/// `x`: `[n, c, h, w]`; `class`: `c` elements or one; `positions`: `(h w + 1) c` elements; the result is
/// `[n, c, h w + 1, 1]`.
pub fn embed(x: &Tensor, class: &Tensor, positions: &Tensor) -> Tensor {
    let (n, c) = (x.size()[0], x.size()[1]);
    let pixels = x.permute([0, 2, 3, 1]).reshape([n, -1, c]);
    let class = class.reshape([1, 1, -1]).expand([n, 1, c], false);
    let tokens = Tensor::cat(&[class, pixels], 1) + positions.reshape([1, -1, c]);
    tokens.unsqueeze(2).permute([0, 3, 1, 2])
}

/// Layer normalisation of each token.
///
/// # Shapes
/// `x`: `[n, c, t, 1]`, and so the result; `gain` and `offset`: `[c]`.
pub fn layer_norm(x: &Tensor, gain: &Tensor, offset: Option<&Tensor>) -> Tensor {
    let rows = x.permute([0, 2, 3, 1]);
    rows.layer_norm(gain.size(), Some(gain), offset, LAYER_NORM_EPSILON, false).permute([0, 3, 1, 2])
}

/// Softmax of the products of queries and keys over the root of their length.
///
/// # Shapes
/// `qkv`: `[n, 3 c, t, 1]`; the result is `[n, heads, t, t]`.
pub(super) fn scores(qkv: &Tensor, heads: i64) -> Tensor {
    let (queries, keys) = (part(qkv, heads, 0), part(qkv, heads, 1));
    let scale = (queries.size()[3] as f64).powf(-0.5);
    let scores = (queries * scale).matmul(&keys.transpose(2, 3)).softmax(-1, None);
    // The backward of the softmax reads its result, which a quantizer may rewrite: a product with a constant is a copy.
    if scores.requires_grad() { scores * 1.0 } else { scores }
}

/// Sums of values by scores.
///
/// # Shapes
/// `scores`: `[n, heads, t, t]`; `qkv`: `[n, 3 c, t, 1]`; the result is `[n, c, t, 1]`.
pub fn values(scores: &Tensor, qkv: &Tensor, heads: usize) -> Tensor {
    let sums = scores.matmul(&part(qkv, heads as i64, 2)).transpose(1, 2);
    let (n, t) = (sums.size()[0], sums.size()[1]);
    sums.reshape([n, t, 1, -1]).permute([0, 3, 1, 2])
}

/// Queries (0), keys (1) or values (2) by head.
///
/// # Shapes
/// `qkv`: `[n, 3 c, t, 1]`; the result is `[n, heads, t, c / heads]`.
fn part(qkv: &Tensor, heads: i64, which: i64) -> Tensor {
    let (n, features, t) = (qkv.size()[0], qkv.size()[1], qkv.size()[2]);
    let rows = qkv.permute([0, 2, 3, 1]).reshape([n, t, 3, heads, features / 3 / heads]);
    rows.select(2, which).transpose(1, 2)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    /// Attention written out for one image: every pair of tokens, every head.
    fn by_hand(qkv: &[f64], tokens: usize, c: usize, heads: usize) -> Vec<f64> {
        let length = c / heads;
        let at = |token: usize, which: usize, head: usize, k: usize| qkv[token * 3 * c + which * c + head * length + k];
        let mut result = vec![0.0; tokens * c];
        for head in 0..heads {
            for token in 0..tokens {
                let product = |other: usize| -> f64 {
                    (0..length).map(|k| at(token, 0, head, k) * at(other, 1, head, k)).sum::<f64>()
                        / (length as f64).sqrt()
                };
                let weights: Vec<f64> = (0..tokens).map(|other| product(other).exp()).collect();
                let total: f64 = weights.iter().sum();
                for k in 0..length {
                    let sum: f64 = (0..tokens).map(|other| weights[other] * at(other, 2, head, k)).sum();
                    result[token * c + head * length + k] = sum / total;
                }
            }
        }
        result
    }

    #[test]
    fn attention_is_its_definition() {
        let (tokens, c, heads) = (5, 6, 2);
        let rows = Tensor::randn([1, 5, 1, 18], (Kind::Double, Device::Cpu));
        let qkv = rows.permute([0, 3, 1, 2]);
        let result = values(&scores(&qkv, 2), &qkv, heads).permute([0, 2, 3, 1]).contiguous().view([-1]);
        let expected = by_hand(&Vec::<f64>::try_from(rows.view([-1])).unwrap(), tokens, c, heads);
        for (a, b) in Vec::<f64>::try_from(result).unwrap().iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    }

    #[test]
    fn tokens_are_pixels_row_by_row_behind_the_class() {
        let x = Tensor::arange(8, (Kind::Float, Device::Cpu)).view([1, 2, 2, 2]);
        let positions = Tensor::arange(10, (Kind::Float, Device::Cpu)) * 100;
        let tokens = embed(&x, &Tensor::from_slice(&[-1_f32, -2.0]), &positions);
        assert_eq!(tokens.size(), [1, 2, 5, 1]);
        let rows = Vec::<f32>::try_from(tokens.permute([0, 2, 3, 1]).contiguous().view([-1])).unwrap();
        assert_eq!(rows, [-1., 98., 200., 304., 401., 505., 602., 706., 803., 907.]);
    }
}
