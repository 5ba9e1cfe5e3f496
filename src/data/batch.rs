//! One batch: plain numbers, and the tensors made of them.

use tch::{Device, Tensor};

use crate::error::{Error, Result};
use crate::network::Shape;

/// Normalised images and their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[n, c, h, w]`, contiguous.
    pub pixels: Vec<f32>,
    /// `[n]`, the class of each image.
    pub labels: Vec<i64>,
    /// Size of one image.
    pub shape: Shape,
}

impl Batch {
    /// The batch on `device`: images float32 `[n, c, h, w]` and labels int64 `[n]`.
    ///
    /// # Errors
    /// When libtorch refuses, for lack of memory.
    pub fn tensors(&self, device: Device) -> Result<(Tensor, Tensor)> {
        let Shape { c, h, w } = self.shape;
        let size = [self.labels.len() as i64, c as i64, h as i64, w as i64];
        let make = || {
            let images = Tensor::f_from_slice(&self.pixels)?.f_view(size)?.f_to_device(device)?;
            let labels = Tensor::f_from_slice(&self.labels)?.f_to_device(device)?;
            Ok((images, labels))
        };
        make().map_err(|reason: tch::TchError| Error::Failed(format!("batch of {size:?} on {device:?}: {reason}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn tensors_keep_order_and_types() {
        let pixels: Vec<f32> = (0..24_u8).map(f32::from).collect();
        let batch = Batch { pixels: pixels.clone(), labels: vec![7, 2], shape: Shape { c: 3, h: 2, w: 2 } };
        let (images, labels) = batch.tensors(Device::Cpu).unwrap();
        assert_eq!((images.size(), images.kind()), (vec![2, 3, 2, 2], Kind::Float));
        assert_eq!((labels.size(), labels.kind()), (vec![2], Kind::Int64));
        // Image 1, channel 2, row 0, column 1 is element 12 + 8 + 1.
        assert!((images.double_value(&[1, 2, 0, 1]) - 21.0).abs() < 1e-12);
        assert_eq!(Vec::<i64>::try_from(labels).unwrap(), [7, 2]);
    }
}
