//! Resampling of 8-bit planes to the value that Pillow gives (`Resample.c`), which the transforms of torchvision and timm
//! end in: a filter that widens when the image shrinks, columns first, each pass rounded to 8 bits in fixed point.
//!
//! The crate `image` keeps floats between the passes: a level off with the triangle, but up to 23 with the cubic (measured
//! on black and white noise), whose overshoots must be cut off after each pass.

use std::ops::Range;

use crate::network::Interpolation;

/// Bits behind the point of a weight.
const BITS: u32 = 22;

/// Which pixels of a row or column make one new pixel, and with what weights.
#[derive(Debug)]
pub(super) struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The new pixels `keep` of an axis of `from` pixels that is resized to `to`. Equal lengths give every pixel as it is.
pub(super) fn taps(from: usize, to: usize, keep: Range<usize>, filter: Interpolation) -> Vec<Taps> {
    let ratio = from as f64 / to as f64;
    let widening = ratio.max(1.0);
    let reach = widening
        * match filter {
            Interpolation::Bilinear => 1.0,
            Interpolation::Bicubic => 2.0,
        };
    let one = |index: usize| {
        let centre = (index as f64 + 0.5) * ratio;
        // A cast cuts off towards zero and turns negative numbers into zero.
        let (first, end) = ((centre - reach + 0.5) as usize, ((centre + reach + 0.5) as usize).min(from));
        let weight = |pixel: usize| value(filter, (pixel as f64 - centre + 0.5) / widening);
        let total: f64 = (first..end).map(weight).sum();
        let fixed = |pixel| (weight(pixel) / total * f64::from(1 << BITS)).round() as i32;
        Taps { first, weights: (first..end).map(fixed).collect() }
    };
    keep.map(one).collect()
}

/// The filter at distance `x`.
fn value(filter: Interpolation, x: f64) -> f64 {
    let x = x.abs();
    match filter {
        Interpolation::Bilinear => (1.0 - x).max(0.0),
        Interpolation::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
        Interpolation::Bicubic if x < 2.0 => -0.5 * (((x - 5.0) * x + 8.0) * x - 4.0),
        Interpolation::Bicubic => 0.0,
    }
}

/// A plane of rows of `width` pixels, resampled.
pub(super) fn resample(plane: &[u8], width: usize, rows: &[Taps], columns: &[Taps]) -> Vec<u8> {
    let mut narrow = Vec::with_capacity(plane.len() / width * columns.len());
    for row in plane.chunks_exact(width) {
        narrow.extend(columns.iter().map(|taps| {
            let seen = &row[taps.first..taps.first + taps.weights.len()];
            rounded(seen.iter().zip(&taps.weights).map(|(&pixel, &weight)| i32::from(pixel) * weight).sum())
        }));
    }
    let mut all = Vec::with_capacity(rows.len() * columns.len());
    let mut sums = vec![0_i32; columns.len()];
    for taps in rows {
        sums.fill(0);
        for (row, &weight) in narrow.chunks_exact(columns.len()).skip(taps.first).zip(&taps.weights) {
            for (sum, &pixel) in sums.iter_mut().zip(row) {
                *sum += i32::from(pixel) * weight;
            }
        }
        all.extend(sums.iter().map(|&sum| rounded(sum)));
    }
    all
}

/// A fixed-point sum as a pixel.
fn rounded(sum: i32) -> u8 {
    ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `w` x `h` pixels without pattern: (7 k^2 + 13 k) mod 251.
    fn noise(w: usize, h: usize) -> Vec<u8> {
        (0..w * h).map(|k| ((7 * k * k + 13 * k) % 251) as u8).collect()
    }

    fn resized((w, h): (usize, usize), (to_w, to_h): (usize, usize), filter: Interpolation) -> Vec<u8> {
        resample(&noise(w, h), w, &taps(h, to_h, 0..to_h, filter), &taps(w, to_w, 0..to_w, filter))
    }

    // What Pillow 13.0 gives for `Image.fromarray(noise).resize(size, BILINEAR)` and for `BICUBIC`.
    #[rustfmt::skip]
    const SMALLER_BILINEAR: [u8; 108] = [
        84, 100, 144, 146, 101, 86, 146, 51, 139, 144, 97, 134, 90, 107, 102, 92, 69, 86, 126, 112, 158, 143, 139, 151,
        110, 112, 146, 149, 84, 95, 89, 169, 165, 131, 132, 156, 80, 151, 148, 159, 90, 126, 134, 117, 136, 147, 116, 90,
        99, 125, 154, 121, 92, 153, 149, 135, 184, 141, 118, 94, 72, 77, 96, 113, 91, 142, 129, 110, 149, 72, 120, 88,
        115, 130, 135, 93, 78, 141, 57, 139, 129, 108, 138, 99, 111, 112, 96, 75, 97, 117, 128, 170, 144, 141, 152, 101,
        129, 142, 144, 83, 86, 91, 168, 156, 124, 135, 156, 87,
    ];
    #[rustfmt::skip]
    const SMALLER_BICUBIC: [u8; 108] = [
        83, 97, 150, 155, 102, 85, 150, 35, 141, 150, 85, 136, 86, 109, 98, 82, 63, 89, 127, 108, 165, 144, 140, 153,
        112, 107, 152, 155, 80, 91, 81, 179, 164, 128, 130, 165, 70, 161, 146, 167, 86, 128, 139, 112, 134, 150, 115, 82,
        95, 122, 162, 115, 88, 161, 152, 130, 195, 145, 118, 89, 70, 75, 95, 116, 90, 144, 127, 108, 160, 54, 125, 88,
        114, 135, 142, 92, 77, 145, 38, 144, 131, 98, 145, 97, 111, 108, 85, 70, 99, 118, 129, 176, 145, 142, 158, 96,
        129, 147, 154, 81, 82, 89, 174, 157, 122, 132, 164, 80,
    ];
    #[rustfmt::skip]
    const LARGER_BILINEAR: [u8; 176] = [
        0, 3, 12, 21, 36, 51, 71, 92, 116, 143, 171, 204, 238, 175, 104, 79, 33, 32, 29, 27, 50, 73, 85, 93,
        115, 150, 182, 203, 224, 168, 105, 82, 116, 104, 71, 42, 84, 127, 119, 97, 113, 168, 209, 199, 190, 149, 106, 90,
        171, 151, 97, 51, 113, 175, 155, 113, 123, 187, 229, 189, 149, 124, 101, 93, 109, 97, 62, 35, 117, 198, 198, 175,
        181, 214, 225, 155, 85, 76, 72, 70, 48, 43, 27, 20, 121, 221, 241, 238, 238, 241, 221, 121, 20, 27, 43, 48,
        70, 72, 76, 85, 155, 225, 214, 181, 175, 198, 198, 117, 35, 62, 97, 109, 93, 101, 124, 149, 189, 229, 187, 123,
        113, 155, 175, 113, 51, 97, 151, 171, 90, 106, 149, 190, 199, 209, 168, 113, 97, 119, 127, 84, 42, 71, 104, 116,
        82, 105, 168, 224, 203, 182, 150, 115, 93, 85, 73, 50, 27, 29, 32, 33, 79, 104, 175, 238, 204, 171, 143, 116,
        92, 71, 51, 36, 21, 12, 3, 0,
    ];
    #[rustfmt::skip]
    const LARGER_BICUBIC: [u8; 176] = [
        0, 0, 1, 18, 27, 38, 61, 90, 115, 137, 166, 220, 248, 184, 96, 61, 27, 25, 21, 25, 43, 66, 78, 88,
        110, 146, 181, 219, 233, 174, 99, 68, 136, 117, 71, 42, 81, 128, 116, 77, 94, 167, 216, 219, 201, 155, 105, 84,
        195, 167, 94, 49, 111, 186, 162, 96, 107, 195, 241, 203, 151, 120, 99, 89, 124, 103, 46, 23, 111, 214, 219, 182,
        188, 235, 241, 158, 74, 55, 61, 60, 51, 42, 12, 16, 117, 230, 255, 241, 241, 255, 230, 117, 16, 12, 42, 51,
        60, 61, 55, 74, 158, 241, 235, 188, 182, 219, 214, 111, 23, 46, 103, 124, 89, 99, 120, 151, 203, 241, 195, 107,
        96, 162, 186, 111, 49, 94, 167, 195, 84, 105, 155, 201, 219, 216, 167, 94, 77, 116, 128, 81, 42, 71, 117, 136,
        68, 99, 174, 233, 219, 181, 146, 110, 88, 78, 66, 43, 25, 21, 25, 27, 61, 96, 184, 248, 220, 166, 137, 115,
        90, 61, 38, 27, 18, 1, 0, 0,
    ];

    #[test]
    fn pixels_are_pillows() {
        let (small, large) = ((12, 9), (16, 11));
        assert_eq!(resized((23, 17), small, Interpolation::Bilinear), SMALLER_BILINEAR);
        assert_eq!(resized((23, 17), small, Interpolation::Bicubic), SMALLER_BICUBIC);
        assert_eq!(resized((7, 5), large, Interpolation::Bilinear), LARGER_BILINEAR);
        assert_eq!(resized((7, 5), large, Interpolation::Bicubic), LARGER_BICUBIC);
    }

    #[test]
    fn equal_lengths_only_crop() {
        for filter in [Interpolation::Bilinear, Interpolation::Bicubic] {
            let cropped = resample(&noise(5, 4), 5, &taps(4, 4, 1..3, filter), &taps(5, 5, 2..4, filter));
            let all = noise(5, 4);
            assert_eq!(cropped, [all[7], all[8], all[12], all[13]]);
        }
    }

    #[test]
    fn a_part_of_the_new_pixels_is_that_part() {
        let filter = Interpolation::Bicubic;
        let part = resample(&noise(23, 17), 23, &taps(17, 9, 3..5, filter), &taps(23, 12, 4..7, filter));
        let expected: Vec<u8> =
            [3, 4].iter().flat_map(|row| SMALLER_BICUBIC[row * 12 + 4..row * 12 + 7].to_vec()).collect();
        assert_eq!(part, expected);
    }
}
