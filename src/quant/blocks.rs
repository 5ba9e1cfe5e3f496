//! Tensors in INT8 blocks: how a training keeps activations, and rounds weights and gradients (Jetfire, arXiv 2403.12422).
//!
//! A map `[n, c, h, w]` is the matrix `[n h w, c]` of its pixels, as it lies in memory (channels last); a weight is
//! `[c_out, c_in k k]`; a vector an image `[n, c]` is itself. The paper's matrices are linear layers'; for convolutions it is
//! ours that a tile spans pixels and channels of the map, not of its unfolding, which is nine times as large.

use tch::{Device, Kind, Tensor, no_grad};

use super::kernel;
use crate::formats::{Block2d, Rounding, fake_quantize_blocks};

/// A tensor kept as 8-bit codes with a float16 scale for 32 x 32 of them.
#[derive(Debug)]
pub struct Blocks {
    matrix: Block2d,
    shape: Vec<i64>,
    device: Device,
}

impl Blocks {
    /// Keeps a tensor, rounded to nearest.
    ///
    /// # Shapes
    /// `x`: `[n, c, h, w]` or `[n, c]`.
    pub fn keep(x: &Tensor) -> Self {
        let rows = as_rows(&x.detach().to_device(Device::Cpu));
        let matrix = kernel::read_whole(&rows, |values| Block2d::quantize(values, columns(x), Rounding::Nearest));
        Self { matrix, shape: x.size(), device: x.device() }
    }

    /// The tensor that was kept, decoded; a map in channels-last order.
    pub fn tensor(&self) -> Tensor {
        let shape = match *self.shape {
            [n, c, h, w] => vec![n, h, w, c],
            _ => self.shape.clone(),
        };
        let mut rows = Tensor::empty(shape, (Kind::Float, Device::Cpu));
        kernel::rewrite_whole(&mut rows, |values| self.matrix.decode(values));
        from_rows(&rows).to_device(self.device)
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).product()
    }

    /// Bytes of codes and scales.
    pub fn bytes(&self) -> usize {
        self.matrix.bytes()
    }
}

/// A gradient rounded to INT8 blocks by chance; the stream's number names the draw.
///
/// # Shapes
/// As [`Blocks::keep`]; the result has the shape of `x`.
pub fn gradient_blocks(x: &Tensor, stream: u64) -> Tensor {
    let mut rows = as_rows(&x.detach().to_device(Device::Cpu)).copy();
    kernel::rewrite_whole(&mut rows, |values| fake_quantize_blocks(values, columns(x), Rounding::Stochastic(stream)));
    from_rows(&rows).to_device(x.device())
}

/// A weight rounded to INT8 blocks, to nearest; the gradient passes straight through.
///
/// # Shapes
/// `w`: `[c_out, ...]`; the result has the same shape.
pub fn weight_blocks(w: &Tensor) -> Tensor {
    let mut rows = w.detach().to_device(Device::Cpu).contiguous().copy();
    let columns = rows.numel() / usize::try_from(w.size()[0]).unwrap_or(1).max(1);
    kernel::rewrite_whole(&mut rows, |values| fake_quantize_blocks(values, columns, Rounding::Nearest));
    // A product with a constant saves no tensor for its backward, so its memory may be rewritten.
    let y = w * 1.0;
    no_grad(|| y.detach().copy_(&rows));
    y
}

/// Columns of the tensor's matrix: its channels.
fn columns(x: &Tensor) -> usize {
    usize::try_from(x.size()[1]).unwrap_or(1)
}

/// The tensor with a pixel's channels side by side, row-major.
fn as_rows(x: &Tensor) -> Tensor {
    if x.dim() == 4 { x.permute([0, 2, 3, 1]).contiguous() } else { x.contiguous() }
}

fn from_rows(rows: &Tensor) -> Tensor {
    if rows.dim() == 4 { rows.permute([0, 3, 1, 2]) } else { rows.shallow_clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_the_matrix_of_its_pixels_whatever_its_layout() {
        let x = Tensor::randn([3, 40, 5, 7], (Kind::Float, Device::Cpu));
        let last = x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        let (a, b) = (Blocks::keep(&x), Blocks::keep(&last));
        assert_eq!(a.tensor(), b.tensor());
        // 105 pixels are four bands of two tiles each.
        assert_eq!(a.bytes(), 3 * 40 * 5 * 7 + 2 * 4 * 2);
        let rows: Vec<f32> = Vec::try_from(x.permute([0, 2, 3, 1]).contiguous().view([-1])).unwrap();
        let mut expected = vec![0.0; rows.len()];
        Block2d::quantize(&rows, 40, Rounding::Nearest).decode(&mut expected);
        let found: Vec<f32> = Vec::try_from(a.tensor().permute([0, 2, 3, 1]).contiguous().view([-1])).unwrap();
        assert_eq!(found, expected);
    }

    #[test]
    fn rounding_touches_no_other_tensor_and_weights_pass_their_gradient() {
        let x = Tensor::randn([4, 33], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let before = x.detach().copy();
        let gradient = gradient_blocks(&x, 5);
        let y = weight_blocks(&x);
        assert_eq!(x.detach(), before);
        assert_eq!(gradient, gradient_blocks(&x, 5));
        let top = before.abs().max().double_value(&[]);
        let far = |y: &Tensor| (y.detach() - &before).abs().max().double_value(&[]);
        assert!(far(&y) > 0.0 && far(&y) <= 0.51 * top / 127.0 && far(&gradient) <= 1.01 * top / 127.0);
        y.sum(Kind::Float).backward();
        assert_eq!(x.grad(), Tensor::ones([4, 33], (Kind::Float, Device::Cpu)));
    }
}
