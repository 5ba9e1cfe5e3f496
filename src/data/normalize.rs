//! From `u8` pixels to the network's input by one table a channel: `(p / 255 - mean) / std`.

use crate::error::{Error, Result};
use crate::network::Transform;

/// The input value of each pixel value, a channel.
#[derive(Debug)]
pub(super) struct Normalize {
    tables: Vec<[f32; 256]>,
}

impl Normalize {
    /// Tables for images of `channels` channels, in the arithmetic of torchvision (float32, division first).
    ///
    /// # Errors
    /// When `transform` has another number of channels, a mean that is not finite or a deviation that is not positive.
    pub(super) fn new(transform: &Transform, channels: usize) -> Result<Self> {
        for (key, values) in [("mean", &transform.mean), ("std", &transform.std)] {
            if values.len() != channels {
                let expected = format!("expected {channels} values, one a channel of the images");
                return Err(Error::bad_value(key, format!("{values:?}"), expected));
            }
            if values.iter().any(|value| !value.is_finite() || (key == "std" && *value <= 0.0)) {
                let expected = if key == "std" { "expected positive numbers" } else { "expected finite numbers" };
                return Err(Error::bad_value(key, format!("{values:?}"), expected));
            }
        }
        let table = |(mean, std): (&f32, &f32)| std::array::from_fn(|pixel| (pixel as f32 / 255.0 - mean) / std);
        Ok(Self { tables: transform.mean.iter().zip(&transform.std).map(table).collect() })
    }

    /// The table of one channel.
    pub(super) fn channel(&self, channel: usize) -> &[f32; 256] {
        &self.tables[channel]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transform(mean: &[f32], std: &[f32]) -> Transform {
        Transform::plain(mean, std)
    }

    #[test]
    fn table_subtracts_the_mean_and_divides_by_the_deviation() {
        let tables = Normalize::new(&transform(&[0.5, 0.0], &[0.25, 1.0]), 2).unwrap();
        // (0 - 0.5) / 0.25 = -2, (1 - 0.5) / 0.25 = 2, (51 / 255 - 0) / 1 = 0.2
        assert!((tables.channel(0)[0] + 2.0).abs() < 1e-6);
        assert!((tables.channel(0)[255] - 2.0).abs() < 1e-6);
        assert!((tables.channel(1)[51] - 0.2).abs() < 1e-6);
    }

    #[test]
    fn wrong_constants_are_refused_by_name() {
        let message = |mean: &[f32], std: &[f32]| Normalize::new(&transform(mean, std), 1).unwrap_err().to_string();
        assert!(message(&[0.1, 0.2], &[1.0]).starts_with("mean"));
        assert!(message(&[0.1], &[0.0]).starts_with("std"));
        assert!(message(&[f32::NAN], &[1.0]).starts_with("mean"));
    }
}
