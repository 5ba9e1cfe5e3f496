//! Bit patterns: value to code, code to value, and the list of all values.

use super::Format;
use super::cast::{binade, power_of_two};

impl Format {
    /// The bit pattern of a value, in the low [`Format::bits`] bits; integers in two's complement.
    ///
    /// `value` is on the grid (divided by its scale); one that is not is rounded as [`Format::cast`] does.
    /// NaN gives the format's quiet NaN, or the code of 0 where it has none.
    pub fn encode(self, value: f32) -> u32 {
        let value = self.cast(value);
        match self {
            Self::Float32 => value.to_bits(),
            Self::Float16 => u32::from(half::f16::from_f32(value).to_bits()),
            Self::BFloat16 => u32::from(half::bf16::from_f32(value).to_bits()),
            // The cast of NaN to an integer is 0 in Rust.
            Self::Int(bits) => (value as i32 as u32) & ((1 << bits) - 1),
            Self::Uint(_) => value as u32,
            Self::Mini(mini) => {
                if value.is_nan() {
                    return mini.quiet_nan();
                }
                let sign = u32::from(value.is_sign_negative()) << (mini.exponent + mini.mantissa);
                let magnitude = f64::from(value.abs());
                let min_exponent = 1 - i32::from(mini.bias);
                let exponent = binade(magnitude).max(min_exponent);
                let steps = (magnitude / power_of_two(exponent - i32::from(mini.mantissa))) as u32;
                sign | ((((exponent - min_exponent) as u32) << mini.mantissa) + steps)
            }
        }
    }

    /// The value of a bit pattern; bits above [`Format::bits`] are ignored. Infinity and NaN where the format has them.
    pub fn decode(self, code: u32) -> f64 {
        match self {
            Self::Float32 => f64::from(f32::from_bits(code)),
            Self::Float16 => f64::from(half::f16::from_bits(code as u16).to_f32()),
            Self::BFloat16 => f64::from(half::bf16::from_bits(code as u16).to_f32()),
            Self::Int(bits) => {
                let unused = 32 - u32::from(bits);
                f64::from(((code << unused) as i32) >> unused)
            }
            Self::Uint(bits) => f64::from(code & ((1 << bits) - 1)),
            Self::Mini(mini) => {
                let sign_at = mini.exponent + mini.mantissa;
                let magnitude = mini.decode_code(code & ((1 << sign_at) - 1));
                if (code >> sign_at) & 1 == 1 { -magnitude } else { magnitude }
            }
        }
    }

    /// The distinct finite values in ascending order (zero once); empty for `float32`, which has too many to list.
    pub fn grid(self) -> Vec<f64> {
        if self == Self::Float32 {
            return Vec::new();
        }
        // Adding 0 makes both zeros one.
        let mut values: Vec<f64> =
            (0..1_u32 << self.bits()).map(|code| self.decode(code) + 0.0).filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        values
    }

    /// How many distinct finite values there are.
    pub fn grid_size(self) -> u64 {
        // Infinities and NaNs take the codes of one whole exponent, on both sides; the two zeros are one value.
        let ieee = |bits: u32, mantissa: u32| (1_u64 << bits) - (2 << mantissa) - 1;
        match self {
            Self::Float32 => ieee(32, 23),
            Self::Float16 => ieee(16, 10),
            Self::BFloat16 => ieee(16, 7),
            Self::Int(bits) | Self::Uint(bits) => 1 << bits,
            Self::Mini(mini) => (1 << self.bits()) - 2 * u64::from(mini.reserved) - 1,
        }
    }

    /// The smallest positive value.
    pub fn smallest(self) -> f64 {
        match self.float_grid() {
            Some(grid) => power_of_two(grid.min_exponent - i32::from(grid.mantissa)),
            None if self == Self::Float32 => f64::from(f32::from_bits(1)),
            None => 1.0,
        }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "rounding is exact, so the values are too")]
mod tests {
    use super::*;

    fn format(name: &str) -> Format {
        name.parse().unwrap()
    }

    #[test]
    fn golden_codes_of_ml_dtypes_hold() {
        let cases: [(&str, &[(f32, u32)]); 4] = [
            ("float4_e2m1fn", &[(0.25, 0), (0.75, 2), (1.75, 4), (3.5, 6), (5.0, 6), (5.0001, 7), (-0.2, 8)]),
            ("float8_e4m3fn", &[(0.014_648_437_5, 8), (17.0, 0x58), (19.0, 0x5A), (27.0, 0x5E), (464.0, 0x7E)]),
            ("float8_e5m2", &[(2e-5, 1), (9.0, 0x48), (11.0, 0x4A), (61439.0, 0x7B), (61440.0, 0x7B)]),
            ("float8_e3m4", &[(0.0, 0), (15.74, 0x6F), (15.75, 0x6F), (-15.75, 0xEF)]),
        ];
        for (name, pairs) in cases {
            for &(value, code) in pairs {
                assert_eq!(format(name).encode(value), code, "{name} {value}");
            }
        }
        assert_eq!(Format::Int(4).encode(-1.0), 0xF);
        assert_eq!(Format::Int(2).encode(-2.0), 0b10);
        assert_eq!(Format::Uint(3).encode(7.0), 7);
    }

    #[test]
    fn every_finite_code_survives_decoding_and_encoding() {
        for format in Format::all().into_iter().filter(|f| f.bits() <= 16) {
            for code in 0..1_u32 << format.bits() {
                let value = format.decode(code);
                if value.is_finite() {
                    assert_eq!(format.encode(value as f32), code, "{format} {value}");
                }
            }
        }
    }

    #[test]
    fn reserved_codes_are_infinity_and_nan_as_in_ml_dtypes() {
        assert!(format("float8_e4m3fn").decode(0x7F).is_nan() && format("float8_e4m3fn").decode(0xFF).is_nan());
        for (name, infinity) in [("float8_e5m2", 0x7C_u32), ("float8_e3m4", 0x70)] {
            assert_eq!(format(name).decode(infinity), f64::INFINITY, "{name}");
            assert_eq!(format(name).decode(infinity | 0x80), f64::NEG_INFINITY, "{name}");
            assert!((infinity + 1..0x80).all(|code| format(name).decode(code).is_nan()), "{name}");
        }
        let quiet = |name: &str| format(name).encode(f32::NAN);
        assert_eq!([quiet("float8_e4m3fn"), quiet("float8_e5m2"), quiet("float8_e3m4")], [0x7F, 0x7E, 0x78]);
        assert_eq!([quiet("float4_e2m1fn"), quiet("int8")], [0, 0]);
    }

    #[test]
    fn grids_have_the_published_sizes_and_limits() {
        // Name, distinct finite values, largest, smallest positive: quantizers table 1.1 (enumerated with ml_dtypes).
        let table: [(&str, u64, f64, f64); 7] = [
            ("float8_e4m3fn", 253, 448.0, 2_f64.powi(-9)),
            ("float8_e5m2", 247, 57344.0, 2_f64.powi(-16)),
            ("float8_e3m4", 223, 15.5, 2_f64.powi(-6)),
            ("float4_e2m1fn", 15, 6.0, 0.5),
            ("float6_e2m3fn", 63, 7.5, 0.125),
            ("float6_e3m2fn", 63, 28.0, 0.0625),
            ("e4m3_allfinite", 255, 480.0, 2_f64.powi(-9)),
        ];
        for (name, size, max, smallest) in table {
            let format = format(name);
            assert_eq!((format.grid_size(), format.max(), format.smallest()), (size, max, smallest), "{name}");
        }
        for format in Format::all().into_iter().filter(|f| f.bits() <= 16) {
            let grid = format.grid();
            assert_eq!(grid.len() as u64, format.grid_size(), "{format}");
            assert_eq!((grid[0], grid[grid.len() - 1]), (format.min(), format.max()), "{format}");
            assert_eq!(grid.iter().copied().find(|&x| x > 0.0), Some(format.smallest()), "{format}");
        }
        assert_eq!(format("fp4").grid()[7..], [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]);
        assert_eq!(format("e3m0").grid()[7..], [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0]);
    }

    #[test]
    fn the_cast_of_any_number_is_a_nearest_grid_point() {
        for format in Format::all().into_iter().filter(|f| f.bits() <= 8) {
            let grid = format.grid();
            for step in -2000..=2000 {
                let x = (f64::from(step) * format.max() / 1700.0) as f32;
                let distance = |g: f64| (g - f64::from(x)).abs();
                let nearest = grid.iter().map(|&g| distance(g)).fold(f64::INFINITY, f64::min);
                assert_eq!(distance(f64::from(format.cast(x))), nearest, "{format} {x}");
            }
        }
    }
}
