//! One network of an experiment: what is trained or searched, and under which name its result is kept.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::formats::Format;

/// The kind of numbers that a network computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numbers {
    /// Integers of 4 to 8 bits.
    Int,
    /// Floats of 4 to 8 bits: E2M1, E2M2, E3M2, E3M3, E4M3. FLIQS fixes the ends; the three between are our choice.
    Fp,
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Int => "int",
            Self::Fp => "fp",
        })
    }
}

impl Numbers {
    /// The format of this width.
    ///
    /// # Errors
    /// There is none: other than 4 to 8 bits, and 16 and 32 of floats.
    pub fn format(self, bits: u8) -> Result<Format> {
        match (self, bits) {
            (Self::Int, 4..=8) => Ok(Format::Int(bits)),
            (Self::Fp, 4..=8) => format!("fp{bits}").parse(),
            (Self::Fp, 16) => Ok(Format::BFloat16),
            (Self::Fp, 32) => Ok(Format::Float32),
            _ => Err(Error::bad_value("bits", bits, "4 to 8; of floats 16 and 32 too")),
        }
    }
}

/// Which formats a network may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum FormatSet {
    /// One format of this many bits in the whole network.
    Uniform(u8),
    /// FLIQS-S: 4 or 8 bits, each layer its own.
    S,
    /// FLIQS-L: 4, 5, 6, 7 or 8 bits, each layer its own.
    L,
}

impl FormatSet {
    /// The formats.
    ///
    /// # Errors
    /// As [`Numbers::format`].
    pub fn formats(self, numbers: Numbers) -> Result<Vec<Format>> {
        let bits = match self {
            Self::Uniform(bits) => vec![bits],
            Self::S => vec![4, 8],
            Self::L => vec![4, 5, 6, 7, 8],
        };
        bits.into_iter().map(|bits| numbers.format(bits)).collect()
    }
}

impl fmt::Display for FormatSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform(bits) => f.pad(&bits.to_string()),
            Self::S => f.pad("s"),
            Self::L => f.pad("l"),
        }
    }
}

impl FromStr for FormatSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "s" => Ok(Self::S),
            "l" => Ok(Self::L),
            bits => bits
                .parse()
                .map(Self::Uniform)
                .map_err(|_| Error::bad_value("formats", text, "s, l or the bits of a uniform format")),
        }
    }
}

impl TryFrom<String> for FormatSet {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<FormatSet> for String {
    fn from(set: FormatSet) -> Self {
        set.to_string()
    }
}

/// What a network is trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// One format everywhere, to compare with.
    Uniform,
    /// Formats and weights found together, by FLIQS.
    Search,
    /// The formats of the search with the same settings, trained from its initial weights.
    Scratch,
    /// The search without an entropy penalty.
    NoEntropy,
    /// Operators, formats and weights found together (FLIQNAS), at the cost that the search of formats aims at.
    Joint,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Uniform => "uniform",
            Self::Search => "search",
            Self::Scratch => "scratch",
            Self::NoEntropy => "no-entropy",
            Self::Joint => "joint",
        })
    }
}

/// One network to be trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// What it computes in.
    pub numbers: Numbers,
    /// Which formats it may take.
    pub formats: FormatSet,
    /// Factor on the widths of the protocol's network.
    pub width: f64,
    /// What it is for.
    pub purpose: Purpose,
    /// Cost that the search of its formats aims at, as a share of the int8 cost; none for uniform formats.
    pub target: Option<f64>,
    /// Root of its random streams.
    pub seed: u64,
}

impl Cell {
    /// Its name, unique in a protocol: `fp-l-w1-t0.375-seed0`, `int-4-w1.5-seed2`, `fp-l-w1-t0.375-scratch-seed0`.
    pub fn name(&self) -> String {
        let target = self.target.map_or_else(String::new, |share| format!("-t{share}"));
        let purpose = match self.purpose {
            Purpose::Uniform | Purpose::Search => String::new(),
            other => format!("-{other}"),
        };
        format!("{}-{}-w{}{target}{purpose}-seed{}", self.numbers, self.formats, self.width, self.seed)
    }

    /// The search whose formats a training from scratch takes.
    #[must_use]
    pub fn search(&self) -> Self {
        Self { purpose: Purpose::Search, ..*self }
    }

    /// Whether two cells differ in nothing but what `change` makes equal.
    pub(super) fn pairs_with(&self, other: &Self, change: impl Fn(&mut Self)) -> bool {
        let mut changed = *self;
        change(&mut changed);
        changed.name() == other.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_formats_have_the_papers_ends() {
        let names = |set: FormatSet, numbers| -> Vec<&str> {
            set.formats(numbers).unwrap().into_iter().map(Format::name).collect()
        };
        assert_eq!(names(FormatSet::S, Numbers::Int), ["int4", "int8"]);
        assert_eq!(names(FormatSet::S, Numbers::Fp), ["float4_e2m1fn", "float8_e4m3fn"]);
        let large = ["float4_e2m1fn", "float5_e2m2", "float6_e3m2fn", "float7_e3m3", "float8_e4m3fn"];
        assert_eq!(names(FormatSet::L, Numbers::Fp), large);
        assert_eq!(names(FormatSet::Uniform(16), Numbers::Fp), ["bfloat16"]);
        assert!(FormatSet::Uniform(16).formats(Numbers::Int).is_err() && Numbers::Fp.format(3).is_err());
        for text in ["s", "l", "4", "16"] {
            assert_eq!(text.parse::<FormatSet>().unwrap().to_string(), text);
        }
        assert!("m".parse::<FormatSet>().is_err());
    }

    #[test]
    fn names_tell_cells_apart() {
        let search = Cell {
            numbers: Numbers::Fp,
            formats: FormatSet::L,
            width: 1.5,
            purpose: Purpose::Search,
            target: Some(0.375),
            seed: 2,
        };
        assert_eq!(search.name(), "fp-l-w1.5-t0.375-seed2");
        let scratch = Cell { purpose: Purpose::Scratch, ..search };
        assert_eq!(scratch.name(), "fp-l-w1.5-t0.375-scratch-seed2");
        assert_eq!(scratch.search(), search);
        let uniform = Cell { formats: FormatSet::Uniform(4), purpose: Purpose::Uniform, target: None, ..search };
        assert_eq!(uniform.name(), "fp-4-w1.5-seed2");
        assert!(search.pairs_with(&scratch, |cell| cell.purpose = Purpose::Scratch));
        assert!(!search.pairs_with(&uniform, |cell| cell.purpose = Purpose::Uniform));
    }
}
