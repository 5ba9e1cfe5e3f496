//! How a user's image becomes a network's input: part of every description, because accuracy depends on it.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::error::Result;

/// The filter that an image is resized with; both widen with the ratio when it shrinks ("antialias").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// The triangle, as in torchvision's transforms.
    #[default]
    Bilinear,
    /// The cubic with a = -0.5, as in most of timm's.
    Bicubic,
}

impl Interpolation {
    /// Whether it is the usual one, which files do not name: those written before there was a choice keep their hash.
    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// Resize, centre crop, then `(pixel / 255 - mean) / std`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transform {
    /// Length the shorter side is resized to before the crop; `None` leaves the image as it is.
    pub resize: Option<usize>,
    /// Filter of that resize.
    #[serde(default, skip_serializing_if = "Interpolation::is_usual")]
    pub interpolation: Interpolation,
    /// Side of the centre crop; `None` keeps the whole image.
    pub crop: Option<usize>,
    /// Mean a channel, for pixels scaled to `[0, 1]`.
    pub mean: Vec<f32>,
    /// Standard deviation a channel, likewise.
    pub std: Vec<f32>,
}

impl Transform {
    /// The image as it is, normalised.
    pub fn plain(mean: &[f32], std: &[f32]) -> Self {
        let interpolation = Interpolation::default();
        Self { resize: None, interpolation, crop: None, mean: mean.to_vec(), std: std.to_vec() }
    }

    /// Takes another mean and standard deviation, where they are given, for images of `channels` channels.
    ///
    /// # Errors
    /// When they are not one finite number a channel, or a standard deviation is not above 0.
    pub fn renormalise(&mut self, mean: Option<&[f32]>, std: Option<&[f32]>, channels: usize) -> Result<()> {
        for (key, given, own) in [("mean", mean, &mut self.mean), ("std", std, &mut self.std)] {
            if let Some(values) = given {
                if values.len() != channels || values.iter().any(|value| !value.is_finite()) {
                    let expected = format!("{channels} finite numbers, one a channel, joined by commas");
                    return Err(Error::bad_value(key, format!("{values:?}"), expected));
                }
                *own = values.to_vec();
            }
        }
        if self.std.iter().any(|&value| value <= 0.0) {
            return Err(Error::bad_value("std", format!("{:?}", self.std), "must be above 0"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_from_before_there_was_a_filter_read_and_write_the_same() {
        let old = "{\"resize\":256,\"crop\":224,\"mean\":[0.5],\"std\":[0.25]}";
        let transform: Transform = serde_json::from_str(old).unwrap();
        assert_eq!(transform.interpolation, Interpolation::Bilinear);
        assert_eq!(serde_json::to_string(&transform).unwrap(), old);
        let cubic = Transform { interpolation: Interpolation::Bicubic, ..transform };
        let text = serde_json::to_string(&cubic).unwrap();
        assert!(text.contains("\"interpolation\":\"bicubic\""), "{text}");
        assert_eq!(serde_json::from_str::<Transform>(&text).unwrap(), cubic);
    }

    #[test]
    fn a_normalisation_of_ones_own_is_checked() {
        let mut transform = Transform::plain(&[0.5; 3], &[0.5; 3]);
        transform.renormalise(Some(&[0.1, 0.2, 0.3]), None, 3).unwrap();
        assert_eq!((transform.mean.as_slice(), transform.std.as_slice()), (&[0.1, 0.2, 0.3][..], &[0.5; 3][..]));
        let mut refused = |mean, std| transform.renormalise(mean, std, 3).unwrap_err().to_string();
        assert!(refused(Some(&[0.1][..]), None).contains("3 finite numbers"));
        assert!(refused(None, Some(&[1.0, f32::NAN, 1.0][..])).contains("std"));
        assert!(refused(None, Some(&[1.0, 0.0, 1.0][..])).contains("above 0"));
    }
}
