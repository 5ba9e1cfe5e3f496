//! Weight gradients of wide depthwise convolutions, for which libtorch has no fast kernel.
//!
//! oneDNN's depthwise weight gradient ends at kernels three wide; wider ones go to a general kernel or to one matrix product a
//! channel (`bench speed --parts depthwise`; AVX2, one thread, 32 images: forward and backward take 1.4 to 1.6 times as long on
//! maps of 28 to 7, 7 to 8 times on maps of 4). Here such a layer hands autograd a constant weight and a sum with zeros, whose
//! gradient is that of the layer's result; the weight's own follows behind the backward pass.

use std::cell::RefCell;
use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;
use tch::{Kind, Tensor};

use super::{channels_last, convolution};
use crate::network::Conv;
use crate::quant::{is_reachable, read_whole};

/// Channels a task works on: one cache line.
const LANES: usize = 16;

type Lane = [f32; LANES];

/// The wide depthwise layers of one forward pass whose weights still need a gradient.
#[derive(Debug, Default)]
pub struct Taps(RefCell<Vec<Tap>>);

#[derive(Debug)]
struct Tap {
    x: Tensor,
    weight: Tensor,
    zeros: Tensor,
    conv: Conv,
}

impl Taps {
    /// [`convolution`]; a wide depthwise one leaves the gradient of its weight to [`Taps::backward`].
    pub fn convolution(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, conv: Conv) -> Tensor {
        let wide = matches!(conv.kernel, 5 | 7) && conv.groups == conv.c_in && conv.c_in == conv.c_out;
        if !wide || conv.extra_end > 0 || !weight.requires_grad() || !is_reachable(x) {
            return convolution(x, weight, bias, conv);
        }
        let mut y = convolution(x, &weight.detach(), bias, conv);
        let zeros = y.detach().zeros_like().set_requires_grad(true);
        let y = y.g_add_(&zeros);
        let tap = Tap { x: channels_last(&x.detach()), weight: weight.shallow_clone(), zeros, conv };
        self.0.borrow_mut().push(tap);
        y
    }

    /// Leaves the gradients of a loss in all that took part.
    pub fn backward(self, loss: &Tensor) {
        loss.backward();
        let taps = self.0.into_inner().into_iter();
        let product = |tap: Tap| {
            let gradient = tap.zeros.grad();
            gradient.defined().then(|| (&tap.weight * weight_gradient(&tap.x, &gradient, tap.conv)).sum(Kind::Float))
        };
        // Its gradient in each weight is the constant beside it.
        if let Some(sum) = taps.filter_map(product).reduce(|a, b| a + b) {
            sum.backward();
        }
    }
}

/// The gradient of a depthwise weight.
///
/// # Shapes
/// `x`: `[n, c, h, w]`; `gradient`, that of the result: `[n, c, oh, ow]`; the result is `[c, 1, k, k]`.
fn weight_gradient(x: &Tensor, gradient: &Tensor, conv: Conv) -> Tensor {
    let gradient = channels_last(gradient);
    let maps = Maps { from: sizes(x), to: sizes(&gradient), conv };
    let (places, lanes) = (conv.kernel * conv.kernel, conv.c_in.div_ceil(LANES));
    let mut sums = vec![[0.0; LANES]; lanes * places];
    read_whole(x, |x| {
        read_whole(&gradient, |gradient| {
            let add = |(lane, sums): (usize, &mut [Lane])| maps.add_lane(lane * LANES, sums, x, gradient);
            if rayon::current_num_threads() == 1 {
                sums.chunks_mut(places).enumerate().for_each(add);
            } else {
                sums.par_chunks_mut(places).enumerate().for_each(add);
            }
        });
    });
    let k = conv.kernel as i64;
    let sums = Tensor::from_slice(sums.as_flattened()).view([lanes as i64, k, k, LANES as i64]);
    sums.permute([0, 3, 1, 2]).reshape([-1, 1, k, k]).narrow(0, 0, conv.c_in as i64)
}

/// Images, channels, rows and columns.
fn sizes(tensor: &Tensor) -> [usize; 4] {
    let size = tensor.size();
    [0, 1, 2, 3].map(|at| size[at] as usize)
}

/// What a layer reads and the gradient of what it gives, channels last.
#[derive(Clone, Copy)]
struct Maps {
    from: [usize; 4],
    to: [usize; 4],
    conv: Conv,
}

impl Maps {
    /// Adds the sums of all images for the channels from `first` on.
    fn add_lane(self, first: usize, sums: &mut [Lane], x: &[f32], gradient: &[f32]) {
        let ([images, channels, height, width], [_, _, rows, columns]) = (self.from, self.to);
        let pad = self.conv.padding;
        let padded = width + 2 * pad;
        // Zeros around the map, which no image overwrites, spare the products every question of borders.
        let mut near = vec![[0.0; LANES]; (height + 2 * pad) * padded];
        let mut far = vec![[0.0; LANES]; rows * columns];
        let channels = first..channels;
        for image in 0..images {
            for (y, row) in near[pad * padded..].chunks_mut(padded).take(height).enumerate() {
                gather(&mut row[pad..pad + width], x, (image * height + y) * width, channels.clone());
            }
            gather(&mut far, gradient, image * rows * columns, channels.clone());
            let (shape, stride) = ((padded, columns), self.conv.stride);
            match self.conv.kernel {
                5 => add_image::<5>(sums, &near, &far, shape, stride),
                _ => add_image::<7>(sums, &near, &far, shape, stride),
            }
        }
    }
}

/// Copies some channels of consecutive pixels from `pixel` on, as many as a lane holds or there are.
fn gather(lanes: &mut [Lane], values: &[f32], pixel: usize, channels: Range<usize>) {
    let count = channels.len().min(LANES);
    for (at, lane) in lanes.iter_mut().enumerate() {
        let from = (pixel + at) * channels.end + channels.start;
        lane[..count].copy_from_slice(&values[from..from + count]);
    }
}

/// Adds an image's products of gradient and shifted input to the sum of every place of the kernel; `shape` are the columns
/// of either.
#[multiversion(targets("x86_64+avx2+fma+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn add_image<const K: usize>(sums: &mut [Lane], x: &[Lane], gradient: &[Lane], shape: (usize, usize), stride: usize) {
    for (ky, sums) in sums.chunks_mut(K).enumerate() {
        let mut own = [[0.0_f32; LANES]; K];
        for (oy, gradient) in gradient.chunks(shape.1).enumerate() {
            let x = &x[(oy * stride + ky) * shape.0..][..shape.0];
            for (ox, gradient) in gradient.iter().enumerate() {
                for (sum, x) in own.iter_mut().zip(&x[ox * stride..][..K]) {
                    for ((sum, &x), &gradient) in sum.iter_mut().zip(x).zip(gradient) {
                        *sum = x.mul_add(gradient, *sum);
                    }
                }
            }
        }
        for (sum, own) in sums.iter_mut().zip(&own) {
            sum.iter_mut().zip(own).for_each(|(sum, &own)| *sum += own);
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    /// The same numbers at every call: tests run side by side and share libtorch's random stream.
    fn noise(shape: &[i64]) -> Tensor {
        let count = shape.iter().product::<i64>();
        let places = Tensor::arange(count, (Kind::Float, Device::Cpu));
        ((&places * 12.9898).sin() * 43.75).frac().view(shape) * 2.0
    }

    /// Gradients of input, weight and bias, and the result, of a weighted sum of results.
    fn gradients(conv: Conv, size: i64, tapped: bool) -> [Tensor; 4] {
        let x = channels_last(&noise(&[3, conv.c_in as i64, size, size])).set_requires_grad(true);
        let (c, k) = (conv.c_out as i64, conv.kernel as i64);
        let weight = noise(&[c, 1, k, k]).set_requires_grad(true);
        let bias = noise(&[c]).set_requires_grad(true);
        let taps = Taps::default();
        // Weights are quantized before they are used: the chain goes on behind them.
        let used = &weight * 2.0;
        let y = if tapped {
            taps.convolution(&x, &used, Some(&bias), conv)
        } else {
            convolution(&x, &used, Some(&bias), conv)
        };
        assert_eq!(taps.0.borrow().len(), usize::from(tapped));
        taps.backward(&(&y * noise(&y.size())).sum(Kind::Float));
        [x.grad(), weight.grad(), bias.grad(), y.detach()]
    }

    #[test]
    fn own_gradients_are_those_of_libtorch() {
        for kernel in [5, 7] {
            for (channels, size, stride) in [(5, 4, 1), (16, 7, 2), (24, 9, 1), (40, 6, 2)] {
                let (c_in, c_out, groups) = (channels, channels, channels);
                let conv = Conv { c_in, c_out, kernel, stride, padding: kernel / 2, extra_end: 0, groups };
                let (own, reference) = (gradients(conv, size, true), gradients(conv, size, false));
                for (own, reference) in own.iter().zip(&reference) {
                    assert_eq!(own.size(), reference.size());
                    let size = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
                    let far = size(&(own - reference)) / size(reference);
                    assert!(far < 1e-5, "{conv:?}: {far}");
                }
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let conv = Conv { c_in: 40, c_out: 40, kernel: 5, stride: 1, padding: 2, extra_end: 0, groups: 40 };
        let of = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let x = channels_last(&noise(&[2, 40, 6, 6]));
                weight_gradient(&x, &(&x * 3.0).cos(), conv)
            })
        };
        assert!(of(1) == of(3));
    }
}
