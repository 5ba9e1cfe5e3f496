//! Random shift and mirror of training images (He et al. 2016, section 4.2: zero padding, random crop, horizontal flip).

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::data::normalize::Normalize;
use crate::network::Shape;

/// What may happen to a training image. Padding is black: zero before normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Augment {
    /// Pixels of zero padding on each side before the random crop back to the image's size.
    pub padding: usize,
    /// Whether half of the images are mirrored left to right.
    pub flip: bool,
}

impl Augment {
    /// The padding in use for images of `side` pixels: 2 for 28, 4 for 32, an eighth of the side above.
    pub fn usual_padding(side: usize) -> usize {
        if side < 32 { side / 14 } else { side / 8 }
    }

    /// Draws one image's change: crop offsets uniform in `0..=2 * padding`, mirrored with probability one half.
    pub(super) fn draw(self, rng: &mut impl Rng) -> Change {
        let mut offset = || rng.random_range(0..=2 * self.padding) as isize - self.padding as isize;
        let (down, right) = (offset(), offset());
        Change { down, right, mirror: self.flip && rng.random() }
    }
}

/// One drawn change; the default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Rows the crop lies below the image's own place.
    down: isize,
    /// Columns the crop lies right of it.
    right: isize,
    /// Whether the crop is mirrored.
    mirror: bool,
}

impl Change {
    /// Writes the changed and normalised image to `out`.
    ///
    /// # Shapes
    /// `pixels` and `out`: `[c, h, w]` of `shape`.
    pub(super) fn write(self, pixels: &[u8], shape: Shape, normalize: &Normalize, out: &mut [f32]) {
        let Shape { h, w, .. } = shape;
        // Columns `from..to` of the crop lie inside the image.
        let from = (-self.right).clamp(0, w as isize) as usize;
        let to = (w as isize - self.right).clamp(from as isize, w as isize) as usize;
        for (row, line) in out.chunks_exact_mut(w).enumerate() {
            let (channel, y) = (row / h, row % h);
            let table = normalize.channel(channel);
            let black = table[0];
            let source = y.checked_add_signed(self.down).filter(|&y| y < h && from < to);
            let Some(source) = source.map(|y| &pixels[(channel * h + y) * w..][..w]) else {
                line.fill(black);
                continue;
            };
            line[..from].fill(black);
            line[to..].fill(black);
            let first = from.saturating_add_signed(self.right);
            for (value, &pixel) in line[from..to].iter_mut().zip(&source[first..]) {
                *value = table[usize::from(pixel)];
            }
            if self.mirror {
                line.reverse();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Transform;
    use crate::seed::Seed;

    const SHAPE: Shape = Shape { c: 2, h: 3, w: 4 };

    /// The image after `change`, as pixel values: mean 0 and deviation 1 / 255 make the normalised value the pixel.
    fn changed(pixels: &[u8], change: Change) -> Vec<i64> {
        let transform = Transform::plain(&[0.0; 2], &[1.0 / 255.0; 2]);
        let mut out = vec![f32::NAN; SHAPE.elements()];
        change.write(pixels, SHAPE, &Normalize::new(&transform, 2).unwrap(), &mut out);
        out.iter().map(|value| value.round() as i64).collect()
    }

    /// The same by the definition: look every pixel up in the padded image.
    fn slow(pixels: &[u8], change: Change) -> Vec<i64> {
        let mut out = Vec::new();
        for c in 0..2 {
            for y in 0..3_isize {
                for x in 0..4_isize {
                    let x = if change.mirror { 3 - x } else { x };
                    let (y, x) = (y + change.down, x + change.right);
                    let inside = (0..3).contains(&y) && (0..4).contains(&x);
                    out.push(if inside { i64::from(pixels[(c * 12 + y * 4 + x) as usize]) } else { 0 });
                }
            }
        }
        out
    }

    #[test]
    fn every_shift_and_mirror_equals_the_definition() {
        let pixels: Vec<u8> = (1..=24).collect();
        for down in -5..=5 {
            for right in -5..=5 {
                for mirror in [false, true] {
                    let change = Change { down, right, mirror };
                    assert_eq!(changed(&pixels, change), slow(&pixels, change), "{change:?}");
                }
            }
        }
    }

    #[test]
    fn flip_is_the_exact_mirror() {
        let pixels: Vec<u8> = (1..=24).collect();
        let mirror = Change { mirror: true, ..Change::default() };
        assert_eq!(changed(&pixels, mirror)[..8], [4, 3, 2, 1, 8, 7, 6, 5]);
        assert_eq!(changed(&pixels, Change::default()), (1..=24).collect::<Vec<_>>());
    }

    #[test]
    fn padding_is_black_before_normalisation() {
        let transform = Transform::plain(&[0.5; 2], &[0.25; 2]);
        let mut out = vec![0.0; SHAPE.elements()];
        let change = Change { down: 1, ..Change::default() };
        change.write(&[255; 24], SHAPE, &Normalize::new(&transform, 2).unwrap(), &mut out);
        // (1 - 0.5) / 0.25 = 2 inside, (0 - 0.5) / 0.25 = -2 in the padding: the last row of each channel.
        let expected: Vec<i64> = (0..24).map(|k| if k % 12 < 8 { 2 } else { -2 }).collect();
        assert_eq!(out.iter().map(|value| value.round() as i64).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn draws_reach_every_offset_and_no_other() {
        let augment = Augment { padding: 2, flip: true };
        let draws: Vec<Change> = (0..2000).map(|image| augment.draw(&mut Seed::new(3).at(image).rng())).collect();
        for offset in -2..=2 {
            // 400 expected of each, deviation 17.9: 290 to 510 is beyond six deviations.
            let rows = draws.iter().filter(|change| change.down == offset).count();
            let columns = draws.iter().filter(|change| change.right == offset).count();
            assert!((290..=510).contains(&rows) && (290..=510).contains(&columns), "{offset}: {rows} {columns}");
        }
        assert!(draws.iter().all(|change| change.down.abs() <= 2 && change.right.abs() <= 2));
        let mirrored = draws.iter().filter(|change| change.mirror).count();
        assert!((865..=1135).contains(&mirrored), "{mirrored}");
    }

    #[test]
    fn no_flip_and_no_padding_change_nothing() {
        let augment = Augment { padding: 0, flip: false };
        assert!((0..100).all(|image| augment.draw(&mut Seed::new(0).at(image).rng()) == Change::default()));
    }

    #[test]
    fn usual_padding_follows_the_papers() {
        assert_eq!([28, 32, 224].map(Augment::usual_padding), [2, 4, 28]);
    }
}
