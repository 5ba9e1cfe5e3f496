//! ONNX's element types and which of them holds a format.

use crate::formats::Format;
use crate::formats::MiniFloat;

/// An element type of ONNX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// Its number in `TensorProto.DataType`.
    pub(super) code: i32,
    /// Bits of an element; several share a byte below 8, the first one in the lowest bits.
    pub(super) bits: u32,
    /// Opset from which quantizing, dequantizing and casting know it.
    pub(super) opset: i64,
}

const fn element(code: i32, bits: u32, opset: i64) -> Element {
    Element { code, bits, opset }
}

/// Bytes without a sign: codes of formats that ONNX has no type for.
pub(super) const UINT8: Element = element(2, 8, 13);
/// Bytes with a sign.
pub(super) const INT8: Element = element(3, 8, 13);
/// 32-bit integers, for biases.
pub(super) const INT32: Element = element(6, 32, 13);

impl Element {
    /// The smallest integer type that holds an integer format; `None` for floats.
    pub(super) fn of_integer(format: Format) -> Option<Self> {
        Some(match format {
            Format::Int(2) => element(26, 2, 25),
            Format::Int(3 | 4) => element(22, 4, 21),
            Format::Int(_) => INT8,
            Format::Uint(2) => element(25, 2, 25),
            Format::Uint(3 | 4) => element(21, 4, 21),
            Format::Uint(_) => UINT8,
            _ => return None,
        })
    }

    /// The 8-bit type that holds a tensor of an integer format, and its zero point. ONNX Runtime 1.31 refuses narrower ones
    /// between layers (its optimiser knows no uint4 zero point, its Slice no uint2).
    ///
    /// Unless the reader wants them `signed`, tensors with negative values are bytes around 128: ONNX Runtime makes an
    /// integer kernel only of a layer whose inputs and output have one type, and those behind a ReLU are unsigned. (It
    /// shifts signed tensors on its own, but not one that a convolution and an add share.)
    pub(super) fn of_activation(format: Format, signed: bool) -> Option<(Self, u8)> {
        match format {
            Format::Int(_) if signed => Some((INT8, 0)),
            Format::Int(_) => Some((UINT8, 128)),
            Format::Uint(_) => Some((UINT8, 0)),
            _ => None,
        }
    }

    /// The type of a float format that a Cast rounds to; `None` where ONNX, or ONNX Runtime's CPU, has none.
    pub(super) fn of_float(format: Format) -> Option<Self> {
        Some(match format {
            Format::Float16 => element(10, 16, 13),
            Format::BFloat16 => element(16, 16, 13),
            Format::Mini(mini) if mini == MiniFloat::E4M3FN => element(17, 8, 19),
            Format::Mini(mini) if mini == MiniFloat::E5M2 => element(19, 8, 19),
            _ => return None,
        })
    }

    /// The float8 type that QuantizeLinear rounds a format to, if it has one.
    pub(super) fn of_float8(format: Format) -> Option<Self> {
        Self::of_float(format).filter(|element| element.bits == 8)
    }

    /// Bit patterns as bytes, little-endian, sub-byte elements packed from the low bits up.
    pub(super) fn pack(self, codes: &[u32]) -> Vec<u8> {
        match self.bits {
            32 => codes.iter().flat_map(|code| code.to_le_bytes()).collect(),
            16 => codes.iter().flat_map(|code| (*code as u16).to_le_bytes()).collect(),
            bits => {
                let mask = (1_u32 << bits) - 1;
                let byte = |part: &[u32]| {
                    part.iter().enumerate().fold(0, |byte, (at, code)| byte | (code & mask) << (at as u32 * bits)) as u8
                };
                codes.chunks((8 / bits) as usize).map(byte).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_elements_fill_a_byte_from_the_low_bits() {
        assert_eq!(element(22, 4, 21).pack(&[0x1, 0xF, 0x7]), [0xF1, 0x07]);
        assert_eq!(element(26, 2, 25).pack(&[3, 0, 1, 2, 2]), [0b1001_0011, 0b10]);
        assert_eq!(INT32.pack(&[0xFFFF_FFFE]), [0xFE, 0xFF, 0xFF, 0xFF]);
    }

    #[test]
    fn a_width_without_a_type_takes_the_next_larger_one() {
        let code = |format| Element::of_integer(format).unwrap().code;
        assert_eq!([2, 3, 4, 5, 8].map(|bits| code(Format::Int(bits))), [26, 22, 22, 3, 3]);
        assert_eq!([2, 3, 4, 7, 8].map(|bits| code(Format::Uint(bits))), [25, 21, 21, 2, 2]);
    }

    #[test]
    fn tensors_with_negative_values_are_bytes_around_128_unless_wanted_signed() {
        let of = |format, signed| Element::of_activation(format, signed).map(|(element, zero)| (element.code, zero));
        assert_eq!([of(Format::Int(8), false), of(Format::Int(4), false)], [Some((2, 128)); 2]);
        assert_eq!(of(Format::Int(8), true), Some((3, 0)));
        assert_eq!([of(Format::Uint(8), false), of(Format::Uint(8), true)], [Some((2, 0)); 2]);
        assert_eq!(of(Format::Float32, false), None);
    }
}
