//! Resizing and centre-cropping an image to a network's input size, on `u8` pixels.
//!
//! Follows torchvision's `Resize` and `CenterCrop` on Pillow images: the shorter side gets the wanted length, the longer
//! one is rounded down, the filter widens when the image shrinks, the crop's offset rounds half to even.

use image::DynamicImage;

use super::resample::{resample, taps};
use crate::error::{Error, Result};
use crate::network::{Interpolation, Shape, Transform};

/// The size part of a [`Transform`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    resize: Option<usize>,
    interpolation: Interpolation,
    crop: Option<usize>,
}

impl Fit {
    /// The size part of `transform`.
    ///
    /// # Errors
    /// When a length is 0 or beyond 65,535.
    pub(super) fn new(transform: &Transform) -> Result<Self> {
        for (key, length) in [("resize", transform.resize), ("crop", transform.crop)] {
            if let Some(length) = length.filter(|length| !(1..=usize::from(u16::MAX)).contains(length)) {
                return Err(Error::bad_value(key, length, "expected 1 to 65535 pixels"));
            }
        }
        Ok(Self { resize: transform.resize, interpolation: transform.interpolation, crop: transform.crop })
    }

    /// Rows and columns after the resize alone.
    fn resized(self, h: usize, w: usize) -> (usize, usize) {
        match self.resize {
            Some(side) if h <= w => (side, side * w / h),
            Some(side) => (side * h / w, side),
            None => (h, w),
        }
    }

    /// Whether an image of `h` rows and `w` columns stays as it is.
    pub(super) fn keeps(self, h: usize, w: usize) -> bool {
        self.resized(h, w) == (h, w) && self.crop.is_none_or(|side| (side, side) == (h, w))
    }

    /// Rows and columns that an image of `h` rows and `w` columns comes out with; the reason when the crop is too large.
    pub(super) fn size(self, h: usize, w: usize) -> std::result::Result<(usize, usize), String> {
        let (h, w) = self.resized(h, w);
        match self.crop {
            None => Ok((h, w)),
            Some(side) if side <= h && side <= w => Ok((side, side)),
            Some(side) => Err(format!("image of {h} x {w} pixels, expected at least the crop of {side} x {side}")),
        }
    }

    /// Pixels `[c, h, w]` of that `shape`, resized and cropped, and their new shape; the reason when the crop is too large.
    pub(super) fn apply(self, pixels: &[u8], shape: Shape) -> std::result::Result<(Vec<u8>, Shape), String> {
        let (h, w) = self.size(shape.h, shape.w)?;
        let (mid_h, mid_w) = self.resized(shape.h, shape.w);
        let kept = |from: usize, to: usize| {
            let offset = ((from - to) as f64 / 2.0).round_ties_even() as usize;
            offset..offset + to
        };
        let rows = taps(shape.h, mid_h, kept(mid_h, h), self.interpolation);
        let columns = taps(shape.w, mid_w, kept(mid_w, w), self.interpolation);
        let planes = pixels.chunks_exact(shape.h * shape.w);
        let fitted = planes.flat_map(|plane| resample(plane, shape.w, &rows, &columns)).collect();
        Ok((fitted, Shape { c: shape.c, h, w }))
    }
}

/// Pixels `[3, h, w]` of an image: its red, green and blue.
pub(super) fn planes(image: DynamicImage) -> Vec<u8> {
    let raw = image.into_rgb8().into_raw();
    (0..3).flat_map(|channel| raw.iter().skip(channel).step_by(3).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(resize: Option<usize>, crop: Option<usize>) -> Fit {
        Fit::new(&Transform { resize, crop, ..Transform::plain(&[], &[]) }).unwrap()
    }

    #[test]
    fn shorter_side_is_resized_and_the_longer_rounds_down() {
        // 256 * 500 / 375 = 341.33
        assert_eq!(fit(Some(256), None).size(375, 500), Ok((256, 341)));
        assert_eq!(fit(Some(256), None).size(500, 375), Ok((341, 256)));
        assert_eq!(fit(Some(256), Some(224)).size(375, 500), Ok((224, 224)));
        assert!(fit(None, Some(9)).size(8, 9).unwrap_err().contains("8 x 9"));
    }

    #[test]
    fn resizing_and_cropping_back_is_not_the_identity() {
        assert!(fit(None, None).keeps(3, 5));
        assert!(fit(Some(3), None).keeps(3, 5));
        assert!(fit(Some(8), Some(8)).keeps(8, 8));
        assert!(!fit(Some(10), Some(8)).keeps(8, 8));
        assert!(!fit(None, Some(3)).keeps(3, 5));
    }

    #[test]
    fn crop_is_central_in_every_channel() {
        // Two rows of five pixels; the crop of 2 x 2 starts at column round(1.5) = 2 (half to even).
        let shape = Shape { c: 3, h: 2, w: 5 };
        let pixels: Vec<u8> = (0..30).collect();
        let (cropped, _) = fit(None, Some(2)).apply(&pixels, shape).unwrap();
        assert_eq!(cropped, [2, 3, 7, 8, 12, 13, 17, 18, 22, 23, 27, 28]);
    }

    #[test]
    fn constant_image_stays_constant_when_resized() {
        let shape = Shape { c: 1, h: 4, w: 6 };
        let (out, _) = fit(Some(8), Some(8)).apply(&[77; 24], shape).unwrap();
        assert_eq!(out, [77; 64]);
    }

    #[test]
    fn zero_length_is_refused() {
        let transform = Transform { resize: Some(0), ..Transform::plain(&[], &[]) };
        assert!(Fit::new(&transform).unwrap_err().to_string().contains("resize"));
    }
}
