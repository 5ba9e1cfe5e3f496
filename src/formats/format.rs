//! One number format: name, width, largest value, exact rounding.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// A number format an element can be stored in.
///
/// Names are those of ml_dtypes where it has the format; [`Format::from_str`] also takes aliases (`fp4`, `e4m3`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// IEEE binary32: not quantized.
    Float32,
    /// IEEE binary16.
    Float16,
    /// The upper half of binary32.
    BFloat16,
    /// Signed integer of this many bits (2 to 8), `[-2^(b-1), 2^(b-1)-1]`.
    Int(u8),
    /// Unsigned integer of this many bits (2 to 8), `[0, 2^b - 1]`.
    Uint(u8),
    /// A float of at most 8 bits.
    Mini(MiniFloat),
}

/// A small binary float: `(-1)^s * 2^(e-bias) * (1 + m/2^M)`, subnormals at `e = 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MiniFloat {
    /// Exponent bits E.
    pub exponent: u8,
    /// Mantissa bits M.
    pub mantissa: u8,
    /// Exponent bias.
    pub bias: i8,
    /// How many of the highest magnitude codes are not finite numbers: 0 all finite, 1 as in e4m3fn,
    /// `2^M` as in the IEEE-style types.
    pub reserved: u8,
}

impl MiniFloat {
    /// The OCP E2M1: element of MXFP4 and NVFP4.
    pub const E2M1FN: Self = Self::new(2, 1, 1, 0);
    /// The OCP E2M3: the finer element of MXFP6.
    pub const E2M3FN: Self = Self::new(2, 3, 1, 0);
    /// The OCP E3M2: the wider element of MXFP6.
    pub const E3M2FN: Self = Self::new(3, 2, 3, 0);
    /// The OCP E4M3: element of MXFP8, scale of NVFP4.
    pub const E4M3FN: Self = Self::new(4, 3, 7, 1);
    /// The OCP E5M2: the wider element of MXFP8.
    pub const E5M2: Self = Self::new(5, 2, 15, 4);

    const fn new(exponent: u8, mantissa: u8, bias: i8, reserved: u8) -> Self {
        Self { exponent, mantissa, bias, reserved }
    }

    /// Largest finite magnitude.
    pub fn max(self) -> f64 {
        let top = (1_i32 << (self.exponent + self.mantissa)) - 1 - i32::from(self.reserved);
        self.decode_magnitude(top as u32)
    }

    /// The value of a magnitude code, reserved ones included: infinity where the IEEE-style types have it, else NaN.
    pub(super) fn decode_code(self, code: u32) -> f64 {
        let first_reserved = (1 << (self.exponent + self.mantissa)) - u32::from(self.reserved);
        if code < first_reserved {
            self.decode_magnitude(code)
        } else if code == first_reserved && self.reserved > 1 {
            f64::INFINITY
        } else {
            f64::NAN
        }
    }

    /// The code of a NaN with its highest mantissa bit set, positive; 0 where the format has none.
    pub(super) fn quiet_nan(self) -> u32 {
        match self.reserved {
            0 => 0,
            1 => (1 << (self.exponent + self.mantissa)) - 1,
            reserved => (1 << (self.exponent + self.mantissa)) - u32::from(reserved) + (1 << (self.mantissa - 1)),
        }
    }

    /// The value of a magnitude code (sign bit left out).
    pub fn decode_magnitude(self, code: u32) -> f64 {
        let exponent = (code >> self.mantissa) as i32;
        let fraction = f64::from(code & ((1 << self.mantissa) - 1)) / f64::from(1_u32 << self.mantissa);
        let bias = i32::from(self.bias);
        if exponent == 0 { fraction * 2_f64.powi(1 - bias) } else { (1.0 + fraction) * 2_f64.powi(exponent - bias) }
    }
}

/// The small floats with their names; aliases behind the name.
const MINI: &[(MiniFloat, &str, &[&str])] = &[
    (MiniFloat::E2M1FN, "float4_e2m1fn", &["fp4", "e2m1", "float4_e2m1"]),
    (MiniFloat::new(1, 2, 1, 0), "float4_e1m2", &["e1m2"]),
    (MiniFloat::new(3, 0, 3, 0), "float4_e3m0", &["e3m0"]),
    (MiniFloat::new(2, 2, 1, 0), "float5_e2m2", &["fp5", "e2m2"]),
    (MiniFloat::E3M2FN, "float6_e3m2fn", &["fp6", "e3m2", "float6_e3m2"]),
    (MiniFloat::E2M3FN, "float6_e2m3fn", &["e2m3", "float6_e2m3"]),
    (MiniFloat::new(3, 3, 3, 0), "float7_e3m3", &["fp7", "e3m3"]),
    (MiniFloat::E4M3FN, "float8_e4m3fn", &["fp8", "e4m3", "e4m3fn"]),
    (MiniFloat::E5M2, "float8_e5m2", &["e5m2"]),
    (MiniFloat::new(3, 4, 3, 16), "float8_e3m4", &["e3m4"]),
    (MiniFloat::new(2, 5, 1, 0), "float8_e2m5", &["e2m5"]),
    (MiniFloat::new(4, 3, 7, 0), "e4m3_allfinite", &[]),
    (MiniFloat::new(5, 2, 15, 0), "e5m2_allfinite", &[]),
    (MiniFloat::new(3, 4, 3, 0), "e3m4_allfinite", &[]),
];

const INT: [&str; 7] = ["int2", "int3", "int4", "int5", "int6", "int7", "int8"];
const UINT: [&str; 7] = ["uint2", "uint3", "uint4", "uint5", "uint6", "uint7", "uint8"];

impl Format {
    /// Every format, widest floats first, then integers, then small floats by width.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Float32, Self::BFloat16, Self::Float16];
        all.extend((2..=8).map(Self::Int));
        all.extend((2..=8).map(Self::Uint));
        all.extend(MINI.iter().map(|(mini, _, _)| Self::Mini(*mini)));
        all
    }

    /// The name, as ml_dtypes spells it where it has the format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::BFloat16 => "bfloat16",
            Self::Int(bits) => INT[usize::from(bits) - 2],
            Self::Uint(bits) => UINT[usize::from(bits) - 2],
            Self::Mini(mini) => MINI.iter().find(|entry| entry.0 == mini).map_or("float", |entry| entry.1),
        }
    }

    /// The other names it is read by.
    pub fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Float32 => &["fp32", "float"],
            Self::Float16 => &["fp16", "half"],
            Self::BFloat16 => &["bf16"],
            Self::Int(_) | Self::Uint(_) => &[],
            Self::Mini(mini) => MINI.iter().find(|entry| entry.0 == mini).map_or(&[], |entry| entry.2),
        }
    }

    /// Bits an element takes.
    pub fn bits(self) -> u32 {
        match self {
            Self::Float32 => 32,
            Self::Float16 | Self::BFloat16 => 16,
            Self::Int(bits) | Self::Uint(bits) => u32::from(bits),
            Self::Mini(mini) => 1 + u32::from(mini.exponent) + u32::from(mini.mantissa),
        }
    }

    /// Largest finite value.
    pub fn max(self) -> f64 {
        match self {
            Self::Float32 => f64::from(f32::MAX),
            Self::Float16 => 65504.0,
            Self::BFloat16 => f64::from(half::bf16::MAX.to_f32()),
            Self::Int(bits) => f64::from((1_u32 << (bits - 1)) - 1),
            Self::Uint(bits) => f64::from((1_u32 << bits) - 1),
            Self::Mini(mini) => mini.max(),
        }
    }

    /// Smallest value: `-2^(b-1)` for signed integers, 0 for unsigned ones, `-max` for floats.
    pub fn min(self) -> f64 {
        match self {
            Self::Int(_) => -self.max() - 1.0,
            Self::Uint(_) => 0.0,
            _ => -self.max(),
        }
    }

    /// Whether this is an integer format.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Int(_) | Self::Uint(_))
    }

    /// The format a tensor without negative values takes: integers lose their sign, floats stay.
    pub fn for_nonnegative(self) -> Self {
        match self {
            Self::Int(bits) => Self::Uint(bits),
            other => other,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let name = text.trim().to_ascii_lowercase();
        let all = Self::all();
        match all.iter().find(|format| format.name() == name || format.aliases().contains(&name.as_str())) {
            Some(format) => Ok(*format),
            None => Err(Error::unknown_name("format", text, all.iter().map(|format| format.name()))),
        }
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_alias_is_read_back() {
        for format in Format::all() {
            assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
        }
        for (alias, name) in
            [("fp8", "float8_e4m3fn"), ("FP4", "float4_e2m1fn"), ("bf16", "bfloat16"), ("e5m2", "float8_e5m2")]
        {
            assert_eq!(alias.parse::<Format>().unwrap().name(), name);
        }
    }

    #[test]
    fn a_misspelt_format_names_the_nearest() {
        let message = "float8_e4m3f".parse::<Format>().unwrap_err().to_string();
        assert!(message.contains("did you mean `float8_e4m3fn`"), "{message}");
    }

    #[test]
    fn widths_follow_from_exponent_and_mantissa() {
        for format in Format::all() {
            let digits: String =
                format.name().chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
            let expected = if format.name().ends_with("allfinite") { 8 } else { digits.parse().unwrap() };
            assert_eq!(format.bits(), expected, "{format}");
        }
    }
}
