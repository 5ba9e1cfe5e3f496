//! Why a tensor stands in its format: what it measures in others, how heavy its tails are, what another format would lose.

use serde::Serialize;

use super::ClipRule;
use crate::formats::{Format, MiniFloat, QuantSpec, absmax, fake_quantize_with};

/// A format with the signal to noise that it gives a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Noise {
    /// The format.
    pub format: Format,
    /// Signal to noise in decibels; infinite where the tensor is on the format's grid already.
    pub sqnr_db: f64,
}

/// What moving a tensor from an 8-bit float to an 8-bit integer adds to its error (van Baalen et al. 2023, arXiv 2303.17951,
/// section 6).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ToInt8 {
    /// The tensor in its float format over the noise that the integer adds, range by the largest magnitude.
    pub min_max_db: f64,
    /// The same, range by the least squared error.
    pub mse_db: f64,
    /// Whether the integer adds no more noise than the float did.
    pub lossless: bool,
}

/// What speaks for and against a tensor's format. The integers that it is compared with have 2, 4 and 8 bits, the floats 4 and
/// 8, and above both is `float16`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reason {
    /// Its format.
    pub format: Format,
    /// Signal to noise in it, in decibels; `None` where the tensor in float is not known.
    pub sqnr_db: Option<f64>,
    /// The next narrower format of its kind.
    pub narrower: Option<Noise>,
    /// The next wider one.
    pub wider: Option<Noise>,
    /// The best format of its width.
    pub best: Option<Noise>,
    /// Exponent bits of that; 0 for an integer. The bits that the tensor wants.
    pub exponent_bits: Option<u8>,
    /// Largest magnitude over root mean square.
    pub peak: f64,
    /// Fourth moment over the square of the second: 1.8 for a uniform density, 3 for a Gaussian.
    pub kurtosis: f64,
    /// For an 8-bit float, what becomes of it in an 8-bit integer.
    pub to_int8: Option<ToInt8>,
}

/// A tensor with what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Measured<'a> {
    /// Its values, in float where `is_float`, else as they are stored.
    pub values: &'a [f32],
    /// Its shape.
    pub shape: &'a [usize],
    /// Its quantizer.
    pub spec: QuantSpec,
    /// Its values as they are stored, where they do not follow from the float ones.
    pub stored: Option<&'a [f32]>,
    /// Whether `values` are the float network's.
    pub is_float: bool,
    /// Whether no value is negative: integers are unsigned.
    pub nonnegative: bool,
}

impl Measured<'_> {
    /// The reasons.
    pub fn reason(&self) -> Reason {
        let format = self.spec.format;
        let narrow = format.takes_scale();
        let stored =
            if narrow { self.stored.map_or_else(|| self.rounded(format), <[f32]>::to_vec) } else { Vec::new() };
        let sqnr_db = (narrow && self.is_float).then(|| sqnr_db_of(self.values, &stored));
        let of = |format: Format| Noise { format, sqnr_db: sqnr_db_of(self.values, &self.rounded(format)) };
        let best = rivals(format).into_iter().map(|rival| of(self.signed(rival)));
        let best = best.filter(|_| narrow).max_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
        let (peak, kurtosis) = tails(self.values);
        Reason {
            format,
            sqnr_db,
            narrower: neighbour(format, |bits, own| bits < own).map(|other| of(self.signed(other))),
            wider: neighbour(format, |bits, own| bits > own).map(|other| of(self.signed(other))),
            best,
            exponent_bits: best.map(|best| exponent_bits(best.format)),
            peak,
            kurtosis,
            to_int8: self.converted(&stored, sqnr_db),
        }
    }

    fn signed(&self, format: Format) -> Format {
        if self.nonnegative { format.for_nonnegative() } else { format }
    }

    /// The values in another format under the clip of the least squared error.
    fn rounded(&self, format: Format) -> Vec<f32> {
        self.clipped(self.values, format, ClipRule::Mse)
    }

    fn clipped(&self, values: &[f32], format: Format, rule: ClipRule) -> Vec<f32> {
        let spec = QuantSpec { format, ..self.spec };
        let mut rounded = values.to_vec();
        let scales = rule.scales(values, self.shape, &spec);
        fake_quantize_with(&mut rounded, self.shape, &spec, &scales);
        rounded
    }

    fn converted(&self, stored: &[f32], own_db: Option<f64>) -> Option<ToInt8> {
        let Format::Mini(mini) = self.spec.format else { return None };
        if self.spec.format.bits() != 8 {
            return None;
        }
        let int8 = self.signed(Format::Int(8));
        let noise = |rule| sqnr_db_of(stored, &self.clipped(stored, int8, rule));
        let (min_max_db, mse_db) = (noise(ClipRule::MinMax), noise(ClipRule::Mse));
        // Of an unknown tensor the noise that the float's steps have on a Gaussian: M + 2.233 bits.
        let own = own_db.unwrap_or(20.0 * 2_f64.log10() * (f64::from(mini.mantissa) + 2.233));
        Some(ToInt8 { min_max_db, mse_db, lossless: min_max_db.max(mse_db) >= own })
    }
}

/// Exponent bits; 0 for integers.
fn exponent_bits(format: Format) -> u8 {
    match format {
        Format::Mini(mini) => mini.exponent,
        _ => 0,
    }
}

/// The next format of the same kind on the side that `beyond` (other's bits, own bits) says.
fn neighbour(format: Format, beyond: impl Fn(u32, u32) -> bool) -> Option<Format> {
    let floats = [Format::Mini(MiniFloat::E2M1FN), Format::Mini(MiniFloat::E4M3FN), Format::Float16];
    let integers = [Format::Int(2), Format::Int(4), Format::Int(8), Format::Float16];
    let ladder: &[Format] = if format.is_integer() { &integers } else { &floats };
    let own = format.bits();
    let nearest = ladder.iter().filter(|other| beyond(other.bits(), own) && format.takes_scale());
    nearest.min_by_key(|other| other.bits().abs_diff(own)).copied()
}

/// The formats of a width that ml_dtypes or we have a name for; those of papers that have no other number than theirs are left
/// out.
fn rivals(format: Format) -> Vec<Format> {
    let plain =
        |other: &Format| matches!(other, Format::Int(_) | Format::Mini(_)) && !other.name().ends_with("allfinite");
    Format::all().into_iter().filter(|other| other.bits() == format.bits() && plain(other)).collect()
}

/// Largest magnitude over root mean square, and kurtosis; 0 where all values are 0.
fn tails(values: &[f32]) -> (f64, f64) {
    let mean = |power: i32| values.iter().map(|&x| f64::from(x).powi(power)).sum::<f64>() / values.len().max(1) as f64;
    let (second, fourth) = (mean(2), mean(4));
    if second > 0.0 { (f64::from(absmax(values)) / second.sqrt(), fourth / second.powi(2)) } else { (0.0, 0.0) }
}

/// Signal to noise of values against what became of them, in decibels; infinite where nothing did.
fn sqnr_db_of(values: &[f32], rounded: &[f32]) -> f64 {
    let signal: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
    let noise: f64 = values.iter().zip(rounded).map(|(x, q)| (f64::from(*x) - f64::from(*q)).powi(2)).sum();
    if noise > 0.0 { 10.0 * (signal / noise).log10() } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, StandardNormal, StudentT};

    use super::*;
    use crate::seed::Seed;

    fn reason(values: &[f32], format: &str, nonnegative: bool) -> Reason {
        let spec = QuantSpec::per_tensor(format.parse().unwrap());
        Measured { values, shape: &[values.len()], spec, stored: None, is_float: true, nonnegative }.reason()
    }

    fn gaussian() -> Vec<f32> {
        StandardNormal.sample_iter(Seed::new(8).rng()).take(60_000).collect()
    }

    fn heavy() -> Vec<f32> {
        let tails: StudentT<f64> = StudentT::new(3.0).unwrap();
        tails.sample_iter(Seed::new(8).rng()).take(60_000).map(|x| x as f32).collect()
    }

    #[test]
    fn a_gaussian_wants_few_exponent_bits_and_heavy_tails_more() {
        // Quantizers table 2.1 (c): of 8 bits E2M5 is best for a Gaussian, of 4 bits
        // the integer with its sixteenth level.
        let wanted = |values: &[f32], format: &str| reason(values, format, false).exponent_bits.unwrap();
        assert_eq!((wanted(&gaussian(), "e4m3"), wanted(&gaussian(), "int4")), (2, 0));
        assert!(wanted(&heavy(), "int8") > 2 && wanted(&heavy(), "fp4") >= 2);
        let even: Vec<f32> = (0..10_000).map(|at| at as f32 / 5e3 - 1.0).collect();
        assert_eq!((wanted(&even, "e4m3"), reason(&even, "int8", false).best.unwrap().format), (0, Format::Int(8)));
        let (plain, tails) = (reason(&gaussian(), "int4", false), reason(&heavy(), "int4", false));
        assert!((plain.kurtosis - 3.0).abs() < 0.1 && plain.peak > 3.5 && plain.peak < 6.0, "{plain:?}");
        assert!(tails.kurtosis > 10.0 && tails.peak > 10.0, "{tails:?}");
        // 10 log10 of 2^(2 bits) for 3.139 bits at 15 levels.
        assert!((plain.sqnr_db.unwrap() - 19.0).abs() < 0.4, "{plain:?}");
    }

    #[test]
    fn neighbours_are_of_the_same_kind() {
        let of = |format: &str, nonnegative| {
            let reason = reason(&gaussian().iter().map(|x| x.abs()).collect::<Vec<_>>(), format, nonnegative);
            let name = |noise: Option<Noise>| noise.map(|noise| noise.format.name());
            (name(reason.narrower), name(reason.wider))
        };
        assert_eq!(of("int4", false), (Some("int2"), Some("int8")));
        assert_eq!(of("uint4", true), (Some("uint2"), Some("uint8")));
        assert_eq!(of("fp4", false), (None, Some("float8_e4m3fn")));
        assert_eq!(of("int8", false), (Some("int4"), Some("float16")));
        assert_eq!(of("int3", false), (Some("int2"), Some("int4")));
        assert_eq!(of("float32", false), (None, None));
        let reason = reason(&gaussian(), "int4", false);
        let (narrower, wider) = (reason.narrower.unwrap().sqnr_db, reason.wider.unwrap().sqnr_db);
        assert!(narrower + 8.0 < reason.sqnr_db.unwrap() && reason.sqnr_db.unwrap() + 15.0 < wider, "{reason:?}");
    }

    #[test]
    fn outliers_decide_whether_an_8_bit_float_becomes_an_integer_without_loss() {
        let plain = reason(&gaussian(), "e4m3", false).to_int8.unwrap();
        assert!(plain.lossless && plain.mse_db >= plain.min_max_db - 1e-6, "{plain:?}");
        // One outlier in 60,000: the largest magnitude sets a useless range, the least squared error a better one.
        let mut values = gaussian();
        values[7] = 60.0;
        let outlier = reason(&values, "e4m3", false).to_int8.unwrap();
        assert!(outlier.mse_db > outlier.min_max_db, "{outlier:?}");
        assert!(!reason(&heavy(), "e4m3", false).to_int8.unwrap().lossless);
        assert_eq!(reason(&gaussian(), "int8", false).to_int8, None);
        assert_eq!(reason(&gaussian(), "fp4", false).to_int8, None);
    }

    #[test]
    fn what_is_stored_is_what_is_measured() {
        let values = gaussian();
        let spec = QuantSpec::per_tensor(Format::Int(4));
        let zeros = vec![0.0; values.len()];
        let known = Measured {
            values: &values,
            shape: &[values.len()],
            spec,
            stored: Some(&zeros),
            is_float: true,
            nonnegative: false,
        };
        assert!(known.reason().sqnr_db.unwrap().abs() < 1e-9);
        assert_eq!(Measured { is_float: false, ..known }.reason().sqnr_db, None);
    }
}
