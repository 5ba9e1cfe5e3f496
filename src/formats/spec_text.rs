//! Quantizers as text: a preset (`mxfp4`), or `FORMAT[/GRANULARITY][:SCALE]` (`int4/group64:pow2`).

use std::{fmt, str::FromStr};

use super::{Format, Granularity, MiniFloat, QuantSpec, ScaleKind};
use crate::error::{Error, Result};

/// The block formats by name: OCP MX with blocks of 32 under float8_e8m0fnu, NVFP4 with blocks of 16 under
/// float8_e4m3fn. `mxfp6` is its E2M3 form, the finer one; `float6_e3m2fn/block32:e8m0` is the other.
const PRESETS: [(&str, QuantSpec); 5] = [
    ("mxfp8", mx(Format::Mini(MiniFloat::E4M3FN))),
    ("mxfp6", mx(Format::Mini(MiniFloat::E2M3FN))),
    ("mxfp4", mx(Format::Mini(MiniFloat::E2M1FN))),
    (
        "nvfp4",
        QuantSpec {
            format: Format::Mini(MiniFloat::E2M1FN),
            granularity: Granularity::Block(16),
            scale: ScaleKind::E4m3,
        },
    ),
    ("mxint8", mx(Format::Int(8))),
];

const fn mx(format: Format) -> QuantSpec {
    QuantSpec { format, granularity: Granularity::Block(32), scale: ScaleKind::E8m0 }
}

impl QuantSpec {
    /// Reads a preset or `FORMAT[/GRANULARITY][:SCALE]`; without a granularity, takes `default_granularity`.
    ///
    /// # Errors
    /// [`Error::BadValue`] naming the part that is not known and the nearest known name.
    pub fn parse(text: &str, default_granularity: Granularity) -> Result<Self> {
        let text = text.trim();
        if let Some((_, spec)) = PRESETS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Ok(*spec);
        }
        let (rest, scale) = match text.split_once(':') {
            Some((rest, scale)) => (rest, scale.parse()?),
            None => (text, ScaleKind::Float32),
        };
        let (format, granularity) = match rest.split_once('/') {
            Some((format, granularity)) => (format, granularity.parse()?),
            None => (rest, default_granularity),
        };
        // A lone name that is no format may be a misspelt preset, so both are offered.
        let format = format.parse().map_err(|error| if format == text { unknown(text) } else { error })?;
        Ok(Self { format, granularity, scale })
    }
}

fn unknown(text: &str) -> Error {
    let formats = Format::all();
    Error::unknown_name("format", text, PRESETS.iter().map(|(name, _)| *name).chain(formats.iter().map(|f| f.name())))
}

impl fmt::Display for QuantSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = PRESETS.iter().find(|(_, spec)| spec == self) {
            return f.pad(name);
        }
        let mut text = self.format.to_string();
        if self.granularity != Granularity::Tensor {
            text = format!("{text}/{}", self.granularity);
        }
        if self.scale != ScaleKind::Float32 {
            text = format!("{text}:{}", self.scale);
        }
        f.pad(&text)
    }
}

impl FromStr for QuantSpec {
    type Err = Error;

    /// [`QuantSpec::parse`] with one scale for the tensor as the default.
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text, Granularity::Tensor)
    }
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor => f.pad("tensor"),
            Self::Channel => f.pad("channel"),
            Self::Token => f.pad("token"),
            Self::Group(size) => f.pad(&format!("group{size}")),
            Self::Block(size) => f.pad(&format!("block{size}")),
        }
    }
}

impl FromStr for Granularity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let sized =
            |prefix: &str| text.strip_prefix(prefix).and_then(|size| size.parse().ok()).filter(|&size| size > 0);
        match text {
            "tensor" => Ok(Self::Tensor),
            "channel" => Ok(Self::Channel),
            "token" => Ok(Self::Token),
            _ => match (sized("group"), sized("block")) {
                (Some(size), _) => Ok(Self::Group(size)),
                (_, Some(size)) => Ok(Self::Block(size)),
                _ => Err(Error::bad_value(
                    "granularity",
                    text,
                    "not known. Known: tensor, channel, token, groupN, blockN with N of at least 1",
                )),
            },
        }
    }
}

/// The kinds of scale with their names.
const SCALES: [(ScaleKind, &str); 4] = [
    (ScaleKind::Float32, "float32"),
    (ScaleKind::PowerOfTwo, "pow2"),
    (ScaleKind::E8m0, "e8m0"),
    (ScaleKind::E4m3, "e4m3"),
];

impl fmt::Display for ScaleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(SCALES.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for ScaleKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match SCALES.iter().find(|(_, name)| *name == text) {
            Some((kind, _)) => Ok(*kind),
            None => Err(Error::unknown_name("scale", text, SCALES.iter().map(|(_, name)| *name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quantizer_is_read_back_from_its_text() {
        let granularities = [
            Granularity::Tensor,
            Granularity::Channel,
            Granularity::Token,
            Granularity::Group(64),
            Granularity::Block(7),
        ];
        let mut specs: Vec<QuantSpec> = PRESETS.iter().map(|(_, spec)| *spec).collect();
        for format in Format::all() {
            for granularity in granularities {
                specs.extend(SCALES.iter().map(|&(scale, _)| QuantSpec { format, granularity, scale }));
            }
        }
        for spec in specs {
            assert_eq!(spec.to_string().parse::<QuantSpec>().unwrap(), spec, "{spec}");
        }
    }

    #[test]
    fn presets_print_as_their_name_and_plain_formats_plainly() {
        assert_eq!(QuantSpec::parse("NVFP4", Granularity::Tensor).unwrap().to_string(), "nvfp4");
        assert_eq!(QuantSpec::per_tensor(Format::Int(8)).to_string(), "int8");
        assert_eq!(QuantSpec::per_channel(Format::Int(8)).to_string(), "int8/channel");
        assert_eq!("int8/block32:e8m0".parse::<QuantSpec>().unwrap().to_string(), "mxint8");
    }

    #[test]
    fn the_caller_chooses_the_granularity_of_a_plain_name() {
        let channel = |text: &str| QuantSpec::parse(text, Granularity::Channel).unwrap().granularity;
        assert_eq!(channel("fp8"), Granularity::Channel);
        assert_eq!(channel("fp8/tensor"), Granularity::Tensor);
        assert_eq!(channel("mxfp8"), Granularity::Block(32));
    }

    #[test]
    fn mistakes_are_named() {
        let message = |text: &str| text.parse::<QuantSpec>().unwrap_err().to_string();
        assert!(message("mxfp5").contains("did you mean `mxfp"), "{}", message("mxfp5"));
        assert!(message("int4/group0").contains("granularity `group0`"));
        assert!(message("int4:e8m1").contains("did you mean `e8m0`"));
        assert!(message("int9/channel").contains("format `int9`"));
    }
}
