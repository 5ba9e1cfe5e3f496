//! The operators of a network as functions of tensors; weights are arguments.

mod attention;
mod depthwise;

pub use attention::{embed, layer_norm, values as attention_values};
pub use depthwise::Taps;

use tch::Tensor;

use crate::network::Act;
use crate::network::Conv;
use crate::network::Op;
use crate::network::Shape;

/// Fewest input channels for which a convolution keeps the channels-last order of its input.
const LEAST_CHANNELS: i64 = 4;

/// The same values with the channels of a pixel side by side in memory: the order in which convolutions and batch norms
/// of few channels are fastest here (measured: 16 channels at 28x28, forward 4.2x). Every operator below keeps it.
///
/// Depthwise convolutions too (measured on AVX2, one thread, batch 32, 8 to 960 channels, maps of 28 to 4, kernels of 3, 5
/// and 7, strides 1 and 2): forward and backward together take 1.7 to 3.8 times as long row-major, 1.9 to 5.4 times in
/// groups of eight channels with zeros between them, 5 to 11 times as a sum over the taps of the kernel.
///
/// # Shapes
/// `x`: `[n, c, h, w]`, and so the result.
pub fn channels_last(x: &Tensor) -> Tensor {
    x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// Two-dimensional convolution. Images of one to three channels get channels of zeros beside them, which changes no
/// value and lets libtorch stay in channels-last order.
///
/// # Shapes
/// `x`: `[n, c_in, h, w]`; `weight`: `[c_out, c_in / groups, k, k]`; `bias`: `[c_out]`.
pub fn convolution(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, conv: Conv) -> Tensor {
    let pair = |value: usize| [value as i64; 2];
    if conv.extra_end > 0 {
        let (before, after) = (conv.padding as i64, (conv.padding + conv.extra_end) as i64);
        let padded = x.constant_pad_nd([before, after, before, after]);
        return convolution(&padded, weight, bias, Conv { padding: 0, extra_end: 0, ..conv });
    }
    let missing = LEAST_CHANNELS - conv.c_in as i64;
    if missing > 0 && conv.groups == 1 {
        let wide = |tensor: &Tensor| tensor.constant_pad_nd([0, 0, 0, 0, 0, missing]);
        let (x, weight) = (channels_last(&wide(x)), wide(weight));
        return x.conv2d(&weight, bias, pair(conv.stride), pair(conv.padding), [1, 1], 1);
    }
    x.conv2d(weight, bias, pair(conv.stride), pair(conv.padding), [1, 1], conv.groups as i64)
}

/// Fully connected layer over the channels of each place.
///
/// # Shapes
/// `x`: `[n, c_in, h, w]`; `weight`: `[c_out, c_in]`; `bias`: `[c_out]`; the result is `[n, c_out, h, w]`, of a single place
/// `[n, c_out]`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    if x.size()[2..].iter().product::<i64>() == 1 {
        return x.flatten(1, -1).linear(weight, bias);
    }
    x.permute([0, 2, 3, 1]).linear(weight, bias).permute([0, 3, 1, 2])
}

/// Batch normalisation; `parts` are gamma, beta, running mean, running variance, each `[c]`; `epsilon` is added to the
/// variance before the square root. In training (`rate` given) the batch's own statistics normalise and the running ones
/// move by that rate.
///
/// # Shapes
/// `x`: `[n, c, h, w]`.
pub fn batch_norm(x: &Tensor, parts: [&Tensor; 4], rate: Option<f64>, epsilon: f64) -> Tensor {
    let [gamma, beta, mean, var] = parts;
    match rate {
        Some(0.0) => x.batch_norm(Some(gamma), Some(beta), None::<&Tensor>, None::<&Tensor>, true, 0.0, epsilon, false),
        rate => {
            let (train, rate) = (rate.is_some(), rate.unwrap_or(0.0));
            x.batch_norm(Some(gamma), Some(beta), Some(mean), Some(var), train, rate, epsilon, false)
        }
    }
}

/// The activation function.
pub fn activate(x: &Tensor, act: Act) -> Tensor {
    match act {
        Act::None => x.shallow_clone(),
        Act::Relu => x.relu(),
        Act::Relu6 => x.relu6(),
        Act::Gelu => x.gelu("none"),
        Act::Swish => x.silu(),
        Act::HardSwish => x.hardswish(),
        Act::HardSigmoid => x.hardsigmoid(),
    }
}

/// What of the activation stands in front of a quantizer: all but a ReLU, which is the quantizer's.
pub fn activate_before_quantizer(x: Tensor, act: Act) -> Tensor {
    match act {
        Act::None | Act::Relu => x,
        // The backward of both its ends at once is one pass, that of one end alone two.
        Act::Relu6 => x.relu6(),
        Act::Gelu | Act::Swish | Act::HardSwish | Act::HardSigmoid => activate(&x, act),
    }
}

/// An operator with one input and no weights; `output` is the shape of its result.
///
/// # Shapes
/// `x`: `[n, c, h, w]`.
pub fn without_weights(x: &Tensor, op: Op, output: Shape) -> Tensor {
    match op {
        Op::MaxPool { kernel, stride, padding } => {
            let pair = |value: usize| [value as i64; 2];
            x.max_pool2d(pair(kernel), pair(stride), pair(padding), [1, 1], false)
        }
        Op::GlobalAvgPool => x.mean_dim([2_i64, 3].as_slice(), true, None),
        Op::PadShortcut { stride } => padded_shortcut(x, stride as i64, output),
        Op::AttentionScores { heads } => attention::scores(x, heads as i64),
        Op::ClassToken => x.slice(2, 0, 1, 1),
        Op::Activate | Op::Conv(_) | Op::Linear { .. } | Op::Add => x.shallow_clone(),
        Op::Gate | Op::Embed | Op::LayerNorm | Op::AttentionValues { .. } => x.shallow_clone(),
    }
}

/// Every `stride`-th row and column, then zero channels up to `output.c`, half in front and half behind.
fn padded_shortcut(x: &Tensor, stride: i64, output: Shape) -> Tensor {
    let (channels, rows, columns) = (x.size()[1], x.size()[2], x.size()[3]);
    let small = x.slice(2, 0, rows, stride).slice(3, 0, columns, stride);
    let missing = output.c as i64 - channels;
    small.constant_pad_nd([0, 0, 0, 0, missing / 2, missing - missing / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_channels_beside_an_image_change_no_value() {
        let options = (tch::Kind::Double, tch::Device::Cpu);
        let (x, w) = (Tensor::randn([2, 1, 9, 9], options), Tensor::randn([5, 1, 3, 3], options));
        let conv = Conv { c_in: 1, c_out: 5, kernel: 3, stride: 2, padding: 1, extra_end: 0, groups: 1 };
        let plain = x.conv2d(&w, None::<&Tensor>, [2, 2], [1, 1], [1, 1], 1);
        let difference = (convolution(&x, &w, None, conv) - plain).abs().max().double_value(&[]);
        assert!(difference < 1e-12, "{difference}");
    }

    #[test]
    fn hard_activations_by_hand() {
        let of =
            |act| Vec::<f32>::try_from(activate(&Tensor::from_slice(&[-4.0_f32, -1.5, 0.0, 1.5, 4.0]), act)).unwrap();
        assert_eq!(of(Act::HardSwish), [0.0, -0.375, 0.0, 1.125, 4.0]);
        assert_eq!(of(Act::HardSigmoid), [0.0, 0.25, 0.5, 0.75, 1.0]);
    }

    #[test]
    fn uneven_padding_lies_at_the_bottom_and_right() {
        // A 4x4 ramp of 0 to 15 under a 3x3 kernel of ones, stride 2, one zero row and column at the end: TensorFlow's SAME.
        let options = (tch::Kind::Float, tch::Device::Cpu);
        let (x, w) = (Tensor::arange(16, options).view([1, 1, 4, 4]), Tensor::ones([1, 1, 3, 3], options));
        for groups in [1, 4] {
            let (x, w) = (x.repeat([1, groups, 1, 1]), w.repeat([groups, 1, 1, 1]));
            let c = groups as usize;
            let conv = Conv { c_in: c, c_out: c, kernel: 3, stride: 2, padding: 0, extra_end: 1, groups: c };
            // Windows over rows 0-2 or 2-3 and columns likewise: nine, six, six and four pixels.
            let expected = Tensor::from_slice(&[45_f32, 39., 66., 50.]).view([1, 1, 2, 2]).repeat([1, groups, 1, 1]);
            assert_eq!(convolution(&x, &w, None, conv), expected);
        }
    }

    #[test]
    fn padded_shortcut_takes_every_second_pixel_and_centres_the_channels() {
        let x = Tensor::arange(16, (tch::Kind::Float, tch::Device::Cpu)).view([1, 1, 4, 4]);
        let y = padded_shortcut(&x, 2, Shape { c: 3, h: 2, w: 2 });
        // Rows 0 and 2, columns 0 and 2 of the ramp are 0, 2, 8, 10; one zero channel on each side.
        let expected = Tensor::from_slice(&[0_f32, 0., 0., 0., 0., 2., 8., 10., 0., 0., 0., 0.]).view([1, 3, 2, 2]);
        assert_eq!(y, expected);
    }
}
