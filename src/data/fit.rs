//! Resizing and centre-cropping an image to a network's input size, on `u8` pixels.
//!
//! Follows torchvision's `Resize` and `CenterCrop`: the shorter side gets the wanted length, the longer one is rounded
//! down, the filter is the antialiased triangle, the crop's offset rounds half to even.

use image::DynamicImage;
use image::imageops::FilterType;

use crate::error::{Error, Result};
use crate::network::{Shape, Transform};

/// The size part of a [`Transform`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    resize: Option<usize>,
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
        Ok(Self { resize: transform.resize, crop: transform.crop })
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

    /// Resizes and crops; the reason when the crop is too large.
    pub(super) fn apply(self, image: DynamicImage) -> std::result::Result<DynamicImage, String> {
        let (h, w) = (image.height() as usize, image.width() as usize);
        let (out_h, out_w) = self.size(h, w)?;
        let (mid_h, mid_w) = self.resized(h, w);
        let image = if (mid_h, mid_w) == (h, w) {
            image
        } else {
            image.resize_exact(mid_w as u32, mid_h as u32, FilterType::Triangle)
        };
        let offset = |from: usize, to: usize| ((from - to) as f64 / 2.0).round_ties_even() as u32;
        Ok(image.crop_imm(offset(mid_w, out_w), offset(mid_h, out_h), out_w as u32, out_h as u32))
    }

    /// The same for raw pixels `[c, h, w]`; `None` unless there are 1 or 3 channels and the crop fits.
    pub(super) fn apply_raw(self, pixels: &[u8], shape: Shape) -> Option<Vec<u8>> {
        let (h, w) = (shape.h as u32, shape.w as u32);
        let image = match shape.c {
            1 => DynamicImage::from(image::GrayImage::from_raw(w, h, pixels.to_vec())?),
            3 => {
                let area = shape.h * shape.w;
                let interleaved = (0..3 * area).map(|k| pixels[(k % 3) * area + k / 3]).collect();
                DynamicImage::from(image::RgbImage::from_raw(w, h, interleaved)?)
            }
            _ => return None,
        };
        Some(planes(self.apply(image).ok()?, shape.c))
    }
}

/// Pixels `[c, h, w]` of an image: grey for one channel, else red, green and blue.
pub(super) fn planes(image: DynamicImage, channels: usize) -> Vec<u8> {
    if channels == 1 {
        return image.into_luma8().into_raw();
    }
    let raw = image.into_rgb8().into_raw();
    (0..3).flat_map(|channel| raw.iter().skip(channel).step_by(3).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(resize: Option<usize>, crop: Option<usize>) -> Fit {
        Fit::new(&Transform { resize, crop, mean: vec![], std: vec![] }).unwrap()
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
        let cropped = fit(None, Some(2)).apply_raw(&pixels, shape).unwrap();
        assert_eq!(cropped, [2, 3, 7, 8, 12, 13, 17, 18, 22, 23, 27, 28]);
    }

    #[test]
    fn constant_image_stays_constant_when_resized() {
        let shape = Shape { c: 1, h: 4, w: 6 };
        let out = fit(Some(8), Some(8)).apply_raw(&[77; 24], shape).unwrap();
        assert_eq!(out, [77; 64]);
    }

    #[test]
    fn zero_length_is_refused() {
        let transform = Transform { resize: Some(0), crop: None, mean: vec![], std: vec![] };
        assert!(Fit::new(&transform).unwrap_err().to_string().contains("resize"));
    }
}
