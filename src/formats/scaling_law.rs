//! A prior over how a small float splits its bits into exponent and mantissa: the scaling law of low-precision training.
//!
//! Sun et al. 2025, "Scaling laws for floating-point quantization training" (arXiv 2501.02423), equation 1 and table 2, fitted
//! on language models. It orders the splits of one width. It says nothing of integers and nothing of how accurate a
//! classifier is, so nothing here takes either: a [`Split`] has at least one exponent bit, and [`Split::ranked`] compares
//! splits of one width alone.

use serde::Serialize;

use super::Format;

/// Exponent of the parameters, `alpha`.
const ALPHA: f64 = 0.2368;
/// Exponent of the tokens, `beta`.
const BETA: f64 = 0.5162;
/// Factor of the parameter term, `n`.
const SIZE: f64 = 69.2343;
/// Factor of the data term, `d`.
const DATA: f64 = 68_973.062_1;
/// Divisor of the precision term, `gamma`.
const GAMMA: f64 = 11_334.519_7;
/// Exponent of the exponent bits, `delta`.
const DELTA: f64 = 3.1926;
/// Exponent of the mantissa bits, `nu`.
const NU: f64 = 2.9543;

/// Exponent and mantissa bits of a float, the sign bit beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Split {
    exponent: u32,
    mantissa: u32,
}

impl Split {
    /// The split of a float format; `None` for integers, of which the law says nothing.
    pub fn of(format: Format) -> Option<Self> {
        let (exponent, mantissa) = match format {
            Format::Float32 => (8, 23),
            Format::BFloat16 => (8, 7),
            Format::Float16 => (5, 10),
            Format::Mini(mini) => (u32::from(mini.exponent), u32::from(mini.mantissa)),
            Format::Int(_) | Format::Uint(_) => return None,
        };
        (exponent > 0).then_some(Self { exponent, mantissa })
    }

    /// All splits of a width in bits, the one that the law favours first; none below two bits.
    pub fn ranked(bits: u32) -> Vec<Self> {
        let mut splits: Vec<Self> =
            (1..bits).map(|exponent| Self { exponent, mantissa: bits - 1 - exponent }).collect();
        splits.sort_by(|a, b| b.strength().total_cmp(&a.strength()));
        splits
    }

    /// Width in bits.
    pub fn bits(self) -> u32 {
        1 + self.exponent + self.mantissa
    }

    /// `(E + 1/2)^delta (M + 1/2)^nu`: what the precision term of the loss is divided by.
    pub fn strength(self) -> f64 {
        (f64::from(self.exponent) + 0.5).powf(DELTA) * (f64::from(self.mantissa) + 0.5).powf(NU)
    }

    /// Tokens beyond which training a language model of so many parameters in this split makes it worse, with a scale for each
    /// block of `block` channels (section 4.3).
    pub fn critical_tokens(self, parameters: f64, block: f64) -> f64 {
        (DATA * GAMMA * parameters.powf(ALPHA) * self.strength() / block.log2()).powf(1.0 / (2.0 * BETA))
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("E{}M{}", self.exponent, self.mantissa))
    }
}

/// The width in bits at which training a language model on so many tokens costs least for its loss, fractional, with a scale for
/// each block of `block` channels (section 4.4).
pub fn best_bits(tokens: f64, block: f64) -> f64 {
    let sum = DELTA + NU;
    let gamma = GAMMA * DELTA.powf(DELTA) * NU.powf(NU) / sum.powf(sum);
    let share = (sum - ALPHA) / (SIZE * ALPHA * gamma);
    (share * tokens.powf(BETA) * block.log2()).powf(1.0 / sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(name: &str) -> Split {
        Split::of(name.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_papers_layouts_come_out_for_every_width() {
        let layouts = [
            "E1M0", "E1M1", "E2M1", "E2M2", "E3M2", "E3M3", "E4M3", "E4M4", "E5M4", "E5M5", "E6M5", "E6M6", "E7M6",
            "E7M7", "E8M7",
        ];
        for (bits, layout) in (2..=16).zip(layouts) {
            assert_eq!(Split::ranked(bits)[0].to_string(), layout, "{bits} bits");
        }
        assert!(Split::ranked(1).is_empty());
    }

    #[test]
    fn strengths_are_those_of_the_notes() {
        // Quantizers 2.5 (c), computed apart from this code.
        let table = [
            ("e2m1", 61.76),
            ("e1m2", 54.68),
            ("e3m0", 7.04),
            ("e3m2", 817.8),
            ("e2m3", 754.8),
            ("e4m3", 4929.3),
            ("e3m4", 4642.8),
            ("e5m2", 3461.9),
            ("e2m5", 2868.9),
            ("bfloat16", 356_826.0),
        ];
        for (name, expected) in table {
            let found = split(name).strength();
            assert!((found / expected - 1.0).abs() < 1e-3, "{name}: {found}, notes {expected}");
        }
    }

    #[test]
    fn a_model_of_a_billion_parameters_has_the_published_limits() {
        // In 1e12 tokens; the paper prints 1730, 27 and 0.4.
        for (name, expected) in [("bfloat16", 1729.5), ("e4m3", 27.33), ("e2m1", 0.393)] {
            let found = split(name).critical_tokens(1e9, 128.0) / 1e12;
            assert!((found / expected - 1.0).abs() < 2e-3, "{name}: {found}, paper {expected}");
        }
    }

    #[test]
    fn the_best_width_lies_between_four_and_eight_bits_for_feasible_data() {
        // The paper: 4 to 8 bits from 1e21 to 1e31 operations; 6 N D operations at N = k / 6 D or so.
        let bits = [1e10, 1e12, 1e14].map(|tokens| best_bits(tokens, 128.0));
        assert!(bits.is_sorted() && bits[0] > 3.0 && bits[2] < 8.5, "{bits:?}");
        assert!((bits[1] - 5.18).abs() < 0.01 && best_bits(1e12, 32.0) < bits[1], "{bits:?}");
    }

    /// The law has no word for an integer, and a ranking holds one width: so it cannot rank INT against FP, nor widths.
    #[test]
    fn it_never_ranks_integers_against_floats() {
        for format in Format::all() {
            match Split::of(format) {
                None => assert!(format.is_integer(), "{format}"),
                Some(split) => assert!(!format.is_integer() && split.bits() == format.bits(), "{format}"),
            }
        }
        for bits in 2..=16 {
            let ranked = Split::ranked(bits);
            assert_eq!(ranked.len() as u32, bits - 1);
            // E0, which is an integer in sign and magnitude, stands in no ranking; nor does another width.
            assert!(ranked.iter().all(|split| split.exponent > 0 && split.bits() == bits), "{bits}: {ranked:?}");
        }
    }
}
