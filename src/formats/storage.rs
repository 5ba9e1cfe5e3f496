//! Exact bits a quantized tensor takes in a packed file.

use super::{QuantSpec, ScaleKind};

/// Bits of a stored tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageBits {
    /// Element codes, each row (dimension 0) padded to whole bytes.
    pub codes: u64,
    /// Scales.
    pub scales: u64,
}

impl StorageBits {
    /// Codes and scales together.
    pub fn total(self) -> u64 {
        self.codes + self.scales
    }
}

/// Bits of a tensor of this shape: codes packed row by row (dimension 0), each row ending on a whole byte; scales of
/// 32 bits (float32, power of two) or 8 bits (e8m0; e4m3, which adds one float32 for the tensor).
/// Formats of 16 and 32 bits have no scales.
pub fn storage_bits(spec: &QuantSpec, shape: &[usize]) -> StorageBits {
    let row: usize = shape.iter().skip(1).product();
    let rows = shape.first().copied().unwrap_or(1);
    let row_bits = (row as u64 * u64::from(spec.format.bits())).div_ceil(8) * 8;
    let codes = rows as u64 * row_bits;
    let count = spec.granularity.scale_count(shape) as u64;
    let scales = match spec.scale {
        _ if !spec.format.takes_scale() => 0,
        ScaleKind::Float32 | ScaleKind::PowerOfTwo => 32 * count,
        ScaleKind::E8m0 => 8 * count,
        ScaleKind::E4m3 => 8 * count + 32,
    };
    StorageBits { codes, scales }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "rounding is exact, so the values are too")]
mod tests {
    use super::*;

    fn bits(text: &str, shape: &[usize]) -> (u64, u64) {
        let StorageBits { codes, scales } = storage_bits(&text.parse().unwrap(), shape);
        (codes, scales)
    }

    #[test]
    fn rows_end_on_whole_bytes() {
        // 27 codes of 3 bits are 81 bits, stored as 88.
        assert_eq!(bits("int3/channel", &[16, 3, 3, 3]), (16 * 88, 16 * 32));
        assert_eq!(bits("int8", &[10, 64]), (5120, 32));
        assert_eq!(bits("int4/group32", &[2, 40]), (2 * 160, 4 * 32));
    }

    #[test]
    fn block_formats_have_the_published_bits_an_element() {
        let shape = [64, 1024];
        let elements = 64.0 * 1024.0;
        let per_element = |text: &str| storage_bits(&text.parse().unwrap(), &shape).total() as f64 / elements;
        assert_eq!(per_element("mxfp8"), 8.25);
        assert_eq!(per_element("mxfp6"), 6.25);
        assert_eq!(per_element("mxfp4"), 4.25);
        assert_eq!(per_element("nvfp4"), 4.5 + 32.0 / elements);
    }

    #[test]
    fn wide_floats_store_no_scale() {
        assert_eq!(bits("float32/channel", &[4, 5]), (640, 0));
        assert_eq!(bits("bfloat16", &[4, 5]), (320, 0));
    }

    #[test]
    fn a_vector_stores_each_element_as_a_row() {
        assert_eq!(bits("int4", &[6]), (48, 32));
        assert_eq!(bits("int8", &[]), (8, 32));
    }
}
