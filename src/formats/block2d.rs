//! INT8 in square blocks: a matrix in tiles of 32 x 32 elements, each with a float16 scale (Jetfire, Xi et al. 2024, arXiv
//! 2403.12422, section 4).
//!
//! An outlier spoils its own tile only, and a product of two such matrices stays in integers along 32 terms. The last tile
//! of a row or column may be short. Ours, beside the paper: the scale is rounded up, so that nothing clips and stochastic
//! rounding stays unbiased; a tile of zeros has scale 0; a scale below the smallest float16 takes that.

use half::f16;
use multiversion::multiversion;
use rayon::prelude::*;

use super::absmax;

/// Side of a tile.
pub const BLOCK: usize = 32;

/// Largest code; -128 is not used, so that codes are symmetric.
const TOP: f32 = 127.0;

/// Where [`fake_quantize_blocks`] puts a matrix's largest magnitude: the exponent of a power of two. Tiles 2^18 times
/// smaller then still have a normal float16 scale.
const TOP_EXPONENT: i32 = 10;

/// Fewest bands of 32 rows that a thread works on.
const BANDS_A_TASK: usize = 16;

/// How a value between two codes is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest, a tie to the even one.
    Nearest,
    /// Up with the probability of the fraction, else down, so that the mean is the value. The number names the stream; the
    /// same stream gives the same codes.
    Stochastic(u64),
}

/// A matrix as 8-bit codes with a scale for every tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Block2d {
    columns: usize,
    /// Row-major.
    codes: Vec<i8>,
    /// Row-major over the tiles.
    scales: Vec<f16>,
}

/// At most 32 rows of a matrix in quantization.
struct Band<'a> {
    /// Index of its first element in the matrix.
    first: usize,
    values: &'a [f32],
    codes: &'a mut [i8],
    /// One a tile.
    scales: &'a mut [f16],
}

impl Block2d {
    /// Quantizes a row-major matrix. A tile with a value that is not finite, or above 8.3e6, decodes to NaN.
    ///
    /// # Panics
    /// When `values` is not whole rows of `columns`.
    pub fn quantize(values: &[f32], columns: usize, rounding: Rounding) -> Self {
        let columns = columns.max(1);
        assert!(values.len().is_multiple_of(columns), "{} values are not rows of {columns}", values.len());
        let (band, across) = (columns * BLOCK, columns.div_ceil(BLOCK));
        let mut codes = vec![0; values.len()];
        let mut scales = vec![f16::ZERO; values.len().div_ceil(band) * across];
        let work = |Band { first, values, codes, scales }: Band<'_>| {
            let maxima = tile_maxima(values, columns);
            scales.iter_mut().zip(maxima).for_each(|(scale, max)| *scale = scale_for(max));
            let divisors: Vec<f32> = scales.iter().map(|&scale| divisor(scale)).collect();
            match rounding {
                Rounding::Nearest => nearest(values, codes, columns, &divisors),
                Rounding::Stochastic(stream) => stochastic(values, codes, columns, &divisors, (stream, first)),
            }
        };
        let bands = values.chunks(band).zip(codes.chunks_mut(band)).zip(scales.chunks_mut(across)).enumerate();
        let bands = bands.map(|(at, ((values, codes), scales))| Band { first: at * band, values, codes, scales });
        for_all(bands.collect(), work);
        Self { columns, codes, scales }
    }

    /// Writes the decoded matrix, row-major.
    ///
    /// # Panics
    /// When `values` does not have the size of the matrix.
    pub fn decode(&self, values: &mut [f32]) {
        assert_eq!(values.len(), self.codes.len(), "one value a code");
        let (band, across) = (self.columns * BLOCK, self.columns.div_ceil(BLOCK));
        let bands = self.codes.chunks(band).zip(values.chunks_mut(band)).zip(self.scales.chunks(across));
        for_all(bands.collect(), |((codes, values), scales)| {
            let factors: Vec<f32> = scales.iter().map(|scale| scale.to_f32()).collect();
            decode_band(codes, values, self.columns, &factors);
        });
    }

    /// Bytes of codes and scales.
    pub fn bytes(&self) -> usize {
        size_of_val(self.codes.as_slice()) + size_of_val(self.scales.as_slice())
    }
}

/// Rounds a row-major matrix to INT8 in tiles and back, in place. A power of two over the whole matrix, which changes no
/// rounding, keeps the scales within float16, however small gradients are.
///
/// # Panics
/// When `values` is not whole rows of `columns`.
pub fn fake_quantize_blocks(values: &mut [f32], columns: usize, rounding: Rounding) {
    let exponent = (absmax(values).to_bits() >> 23) as i32 - 127;
    // Of zero, and of what is not finite, nothing is shifted.
    let shift = if (-126..128).contains(&exponent) { (TOP_EXPONENT - exponent).clamp(-100, 100) } else { 0 };
    let (up, down) = (2_f32.powi(shift), 2_f32.powi(-shift));
    values.iter_mut().for_each(|value| *value *= up);
    Block2d::quantize(values, columns, rounding).decode(values);
    values.iter_mut().for_each(|value| *value *= down);
}

/// Works on every band, on several threads where that is worth it.
fn for_all<T: Send>(bands: Vec<T>, work: impl Fn(T) + Sync + Send) {
    if bands.len() < 2 * BANDS_A_TASK || rayon::current_num_threads() == 1 {
        bands.into_iter().for_each(work);
    } else {
        bands.into_par_iter().with_min_len(BANDS_A_TASK).for_each(work);
    }
}

/// The scale of a tile with this largest magnitude, rounded up.
fn scale_for(max: f32) -> f16 {
    let exact = max / TOP;
    let near = f16::from_f32(exact);
    if near.to_f32() < exact { f16::from_bits(near.to_bits() + 1) } else { near }
}

/// What the values of a tile are divided by.
fn divisor(scale: f16) -> f32 {
    if scale == f16::ZERO { 1.0 } else { scale.to_f32() }
}

/// Largest magnitude of each tile of a band of at most 32 rows; NaN where a value is NaN.
#[multiversion(targets("x86_64+avx2+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn tile_maxima(values: &[f32], columns: usize) -> Vec<f32> {
    let mut tops = vec![0_u32; columns];
    for row in values.chunks(columns) {
        // As integers, the bits of magnitudes keep their order, and NaN lies above infinity.
        tops.iter_mut().zip(row).for_each(|(top, value)| *top = (*top).max(value.to_bits() & 0x7FFF_FFFF));
    }
    tops.chunks(BLOCK).map(|tile| f32::from_bits(tile.iter().copied().max().unwrap_or(0))).collect()
}

#[multiversion(targets("x86_64+avx2+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn nearest(values: &[f32], codes: &mut [i8], columns: usize, divisors: &[f32]) {
    // 1.5 * 2^23: adding and subtracting it rounds half to even.
    const MAGIC: f32 = 12_582_912.0;
    for (values, codes) in values.chunks(columns).zip(codes.chunks_mut(columns)) {
        for ((values, codes), &divisor) in values.chunks(BLOCK).zip(codes.chunks_mut(BLOCK)).zip(divisors) {
            for (value, code) in values.iter().zip(codes) {
                let rounded = (*value / divisor).clamp(-TOP, TOP) + MAGIC - MAGIC;
                *code = rounded as i8;
            }
        }
    }
}

/// `stream` with the index of the band's first element.
#[multiversion(targets("x86_64+avx2+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn stochastic(values: &[f32], codes: &mut [i8], columns: usize, divisors: &[f32], (stream, first): (u64, usize)) {
    let keys = (stream as u32, (stream >> 32) as u32);
    for (row, (values, codes)) in values.chunks(columns).zip(codes.chunks_mut(columns)).enumerate() {
        let tiles = values.chunks(BLOCK).zip(codes.chunks_mut(BLOCK)).zip(divisors).enumerate();
        for (tile, ((values, codes), &divisor)) in tiles {
            let start = (first + row * columns + tile * BLOCK) as u32;
            for (at, (value, code)) in values.iter().zip(codes).enumerate() {
                let chance = noise(start.wrapping_add(at as u32), keys);
                *code = (*value / divisor + chance).floor().clamp(-TOP, TOP) as i8;
            }
        }
    }
}

#[multiversion(targets("x86_64+avx2+avx512f+avx512vl+avx512bw", "x86_64+avx2"))]
fn decode_band(codes: &[i8], values: &mut [f32], columns: usize, factors: &[f32]) {
    for (codes, values) in codes.chunks(columns).zip(values.chunks_mut(columns)) {
        for ((codes, values), &factor) in codes.chunks(BLOCK).zip(values.chunks_mut(BLOCK)).zip(factors) {
            codes.iter().zip(values).for_each(|(&code, value)| *value = f32::from(code) * factor);
        }
    }
}

/// An even number in `[0, 1)` that depends on the element's index and the stream's two keys alone.
#[inline]
fn noise(index: u32, keys: (u32, u32)) -> f32 {
    let bits = scramble(scramble(index ^ keys.0).wrapping_add(keys.1));
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// A permutation of the 32-bit numbers that spreads every bit (C. Wellons's hash of low bias, 2018).
#[inline]
fn scramble(mut bits: u32) -> u32 {
    bits = (bits ^ (bits >> 16)).wrapping_mul(0x7FEB_352D);
    bits = (bits ^ (bits >> 15)).wrapping_mul(0x846C_A68B);
    bits ^ (bits >> 16)
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "rounding is exact, so the values are too")]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::formats::{QuantSpec, fake_quantize_tensor};
    use crate::seed::Seed;

    /// Normal numbers (Box-Muller).
    fn normal(count: usize, seed: u64) -> Vec<f32> {
        let mut rng = Seed::new(seed).rng();
        let mut one = || {
            let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
            (radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()) as f32
        };
        (0..count).map(|_| one()).collect()
    }

    fn decoded(matrix: &Block2d) -> Vec<f32> {
        let mut values = vec![0.0; matrix.codes.len()];
        matrix.decode(&mut values);
        values
    }

    /// `a b^T` in integers along each tile, scaled once a tile; `a` is `[m, k]`, `b` is `[n, k]`.
    fn integer_product(a: &Block2d, b: &Block2d) -> Vec<f64> {
        let (k, across) = (a.columns, a.columns.div_ceil(BLOCK));
        let mut product = Vec::new();
        for (i, a_row) in a.codes.chunks(k).enumerate() {
            for (j, b_row) in b.codes.chunks(k).enumerate() {
                let tiles = a_row.chunks(BLOCK).zip(b_row.chunks(BLOCK)).enumerate();
                product.push(tiles.fold(0.0, |sum, (tile, (a_codes, b_codes))| {
                    let whole: i32 = a_codes.iter().zip(b_codes).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum();
                    let scale = |matrix: &Block2d, row: usize| matrix.scales[row / BLOCK * across + tile].to_f64();
                    sum + f64::from(whole) * (scale(a, i) * scale(b, j))
                }));
            }
        }
        product
    }

    #[test]
    fn integer_products_of_blocks_equal_those_of_the_decoded_values() {
        let (m, n, k) = (70, 45, 150);
        let (a, b) = (normal(m * k, 1), normal(n * k, 2));
        let a = Block2d::quantize(&a, k, Rounding::Nearest);
        let b = Block2d::quantize(&b, k, Rounding::Stochastic(3));
        let (a_values, b_values) = (decoded(&a), decoded(&b));
        let found = integer_product(&a, &b);
        let mut largest = 0.0_f64;
        for (at, found) in found.iter().enumerate() {
            let (row, column) = (&a_values[at / n * k..][..k], &b_values[at % n * k..][..k]);
            let expected: f64 = row.iter().zip(column).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
            largest = largest.max((found - expected).abs());
        }
        assert_eq!(largest, 0.0);
    }

    #[test]
    fn an_element_takes_8_0156_bits() {
        let bits = |rows: usize, columns: usize| {
            let matrix = Block2d::quantize(&vec![1.0; rows * columns], columns, Rounding::Nearest);
            8.0 * matrix.bytes() as f64 / (rows * columns) as f64
        };
        assert_eq!(bits(256, 512), 8.0 + 16.0 / 1024.0);
        // Tiles at the edge are short: 40 columns are two tiles.
        assert_eq!(bits(32, 40), 8.0 + 2.0 * 16.0 / 1280.0);
    }

    #[test]
    fn an_outlier_channel_spoils_its_own_block_alone() {
        let (rows, columns, outlier) = (1024, 512, 100);
        let mut values = normal(rows * columns, 5);
        values.iter_mut().skip(outlier).step_by(columns).for_each(|value| *value *= 60.0);
        let outside = |column: usize| column / BLOCK != outlier / BLOCK;
        let mse = |rounded: &[f32]| {
            let errors = values.iter().zip(rounded).enumerate().filter(|(at, _)| outside(at % columns));
            let (sum, count) = errors
                .fold((0.0, 0), |(sum, count), (_, (x, q))| (sum + (f64::from(*x) - f64::from(*q)).powi(2), count + 1));
            sum / f64::from(count)
        };
        let by = |spec: &str, shape: [usize; 2], values: &[f32]| {
            let mut rounded = values.to_vec();
            fake_quantize_tensor(&mut rounded, &shape, &spec.parse::<QuantSpec>().unwrap());
            rounded
        };
        let transposed = |values: &[f32], columns: usize| -> Vec<f32> {
            (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
        };
        let block = mse(&decoded(&Block2d::quantize(&values, columns, Rounding::Nearest)));
        let token = mse(&by("int8/token", [rows, columns], &values));
        let channels = by("int8/channel", [columns, rows], &transposed(&values, columns));
        let channel = mse(&transposed(&channels, rows));
        assert!(token > 100.0 * block, "per token {token:e}, per block {block:e}");
        assert!(block < 2.0 * channel, "per channel {channel:e}, per block {block:e}");
    }

    #[test]
    fn zeros_tiny_and_broken_values() {
        let zeros = Block2d::quantize(&[0.0; 2048], 64, Rounding::Stochastic(1));
        assert_eq!(decoded(&zeros), vec![0.0; 2048]);
        // Below 127 x 2^-24 the scale is the least float16: codes are few, and nothing is lost but precision.
        let least = 2_f32.powi(-24);
        let tiny = Block2d::quantize(&[3.0 * least, -least, 0.0, 0.4 * least], 4, Rounding::Nearest);
        assert_eq!(decoded(&tiny), [3.0 * least, -least, 0.0, 0.0]);
        // The power of two over the matrix gives such values their eight bits back.
        let mut values = [1e-9_f32, -5e-10, 3e-12, 0.0];
        fake_quantize_blocks(&mut values, 4, Rounding::Nearest);
        assert!((values[0] / 1e-9 - 1.0).abs() < 0.005 && (values[1] / -5e-10 - 1.0).abs() < 0.01, "{values:?}");
        let mut broken = vec![127.0; 64 * 64];
        broken[5] = f32::NAN;
        broken[40] = f32::INFINITY;
        let rounded = decoded(&Block2d::quantize(&broken, 64, Rounding::Nearest));
        assert!(rounded[..64].iter().all(|value| value.is_nan()), "both tiles of the first row");
        assert!(rounded[64 * 32..].iter().all(|&value| value == 127.0), "the tiles below");
        let mut zeros = [0.0; 8];
        fake_quantize_blocks(&mut zeros, 8, Rounding::Nearest);
        assert_eq!(zeros, [0.0; 8]);
    }

    #[test]
    fn nearest_codes_by_hand() {
        let matrix = Block2d::quantize(&[127.0, -127.0, 2.5, -3.5, 0.49], 5, Rounding::Nearest);
        assert_eq!(matrix.codes, [127, -127, 2, -4, 0]);
        assert_eq!(matrix.scales, [f16::ONE]);
    }

    #[test]
    fn stochastic_rounding_is_unbiased_and_repeats_under_its_stream() {
        let values: Vec<f32> = normal(40 * 24, 9);
        let draws = 4000;
        let once = |stream| decoded(&Block2d::quantize(&values, 24, Rounding::Stochastic(stream)));
        let mut sums = vec![(0.0_f64, 0.0_f64); values.len()];
        for draw in 0..draws {
            for ((sum, squares), rounded) in sums.iter_mut().zip(once(Seed::new(1).at(draw).number())) {
                *sum += f64::from(rounded);
                *squares += f64::from(rounded).powi(2);
            }
        }
        let count = draws as f64;
        let mut scores = Vec::new();
        for (&value, &(sum, squares)) in values.iter().zip(&sums) {
            let mean = sum / count;
            let error = ((squares / count - mean * mean).max(0.0) / count).sqrt();
            // A value on a code never moves; float32 leaves it within an ulp.
            scores.push((mean - f64::from(value)).abs() / error.max(1e-6));
        }
        // Of 960 means some lie beyond 3 standard errors by chance; beyond 5 none does.
        assert!(scores.iter().all(|&score| score < 5.0), "{:?}", scores.iter().copied().fold(0.0, f64::max));
        assert!(scores.iter().filter(|&&score| score > 4.0).count() <= 1);
        // The mean over all elements, whose errors are independent, within 4.
        let bias: f64 = values.iter().zip(&sums).map(|(&value, (sum, _))| sum / count - f64::from(value)).sum();
        let spread: f64 = sums.iter().map(|(sum, squares)| (squares / count - (sum / count).powi(2)) / count).sum();
        assert!(bias.abs() < 4.0 * spread.sqrt(), "{bias} against {}", spread.sqrt());
        assert_eq!(once(7), once(7));
        assert_ne!(once(7), once(8));
    }
}
