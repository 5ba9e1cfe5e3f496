//! The types an element is stored in, and their decoding from little-endian bytes.

use half::{bf16, f16};
use safetensors::Dtype;

use super::{ArrayData, Parsed};

/// How one element is stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    BF16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

impl Element {
    /// The element of a torch storage class, `FloatStorage` and its kin.
    pub(super) fn of_storage(class: &str) -> Option<Self> {
        Some(match class {
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::BF16,
            "FloatStorage" => Self::F32,
            "DoubleStorage" => Self::F64,
            "CharStorage" => Self::I8,
            "ShortStorage" => Self::I16,
            "IntStorage" => Self::I32,
            "LongStorage" => Self::I64,
            "ByteStorage" => Self::U8,
            "BoolStorage" => Self::Bool,
            _ => return None,
        })
    }

    /// The element of a safetensors array; `None` for the sub-byte, 8-bit float and complex types.
    pub(super) fn of_dtype(dtype: Dtype) -> Option<Self> {
        Some(match dtype {
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
            Dtype::F32 => Self::F32,
            Dtype::F64 => Self::F64,
            Dtype::I8 => Self::I8,
            Dtype::I16 => Self::I16,
            Dtype::I32 => Self::I32,
            Dtype::I64 => Self::I64,
            Dtype::U8 => Self::U8,
            Dtype::U16 => Self::U16,
            Dtype::U32 => Self::U32,
            Dtype::U64 => Self::U64,
            Dtype::BOOL => Self::Bool,
            _ => return None,
        })
    }

    /// Bytes of one element.
    pub(super) fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// The numbers in `bytes`, element after element.
    ///
    /// # Errors
    /// A uint64 above the largest int64.
    pub(super) fn decode(self, bytes: &[u8]) -> Parsed<ArrayData> {
        Ok(match self {
            Self::F16 => floats(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Self::BF16 => floats(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Self::F32 => floats(bytes, f32::from_le_bytes),
            Self::F64 => floats(bytes, |b| f64::from_le_bytes(b) as f32),
            Self::I8 => integers(bytes, i8::from_le_bytes),
            Self::I16 => integers(bytes, i16::from_le_bytes),
            Self::I32 => integers(bytes, i32::from_le_bytes),
            Self::I64 => integers(bytes, i64::from_le_bytes),
            Self::U8 => integers(bytes, u8::from_le_bytes),
            Self::U16 => integers(bytes, u16::from_le_bytes),
            Self::U32 => integers(bytes, u32::from_le_bytes),
            Self::Bool => integers(bytes, |[b]: [u8; 1]| b != 0),
            Self::U64 => {
                let values: Result<Vec<i64>, _> = words(bytes).map(|b| u64::from_le_bytes(b).try_into()).collect();
                ArrayData::Integers(values.map_err(|_| "a uint64 is above the largest int64".to_string())?)
            }
        })
    }
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

fn floats<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> ArrayData {
    ArrayData::Floats(words(bytes).map(number).collect())
}

fn integers<const N: usize, T: Into<i64>>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> ArrayData {
    ArrayData::Integers(words(bytes).map(|word| number(word).into()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_decodes_a_known_pattern() {
        // -1.5 in each float type; -2 (or its unsigned reading) in each integer type.
        let minus_three_halves: [(Element, &[u8]); 4] = [
            (Element::F16, &[0x00, 0xBE]),
            (Element::BF16, &[0xC0, 0xBF]),
            (Element::F32, &[0x00, 0x00, 0xC0, 0xBF]),
            (Element::F64, &[0, 0, 0, 0, 0, 0, 0xF8, 0xBF]),
        ];
        for (element, bytes) in minus_three_halves {
            assert_eq!(bytes.len(), element.size());
            assert_eq!(element.decode(bytes).unwrap(), ArrayData::Floats(vec![-1.5]), "{element:?}");
        }
        let bytes = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        let integers = [
            (Element::I8, -2),
            (Element::I16, -2),
            (Element::I32, -2),
            (Element::I64, -2),
            (Element::U8, 254),
            (Element::U16, 65_534),
            (Element::U32, 4_294_967_294),
            (Element::Bool, 1),
        ];
        for (element, value) in integers {
            let decoded = element.decode(&bytes[..element.size()]).unwrap();
            assert_eq!(decoded, ArrayData::Integers(vec![value]), "{element:?}");
        }
        assert!(Element::U64.decode(&bytes).unwrap_err().contains("int64"));
        assert_eq!(Element::U64.decode(&[7, 0, 0, 0, 0, 0, 0, 0]).unwrap(), ArrayData::Integers(vec![7]));
    }
}
