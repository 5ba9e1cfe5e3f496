//! What a runtime accepts, told before a file is written for it.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::formats::Format;
use crate::formats::MiniFloat;
use crate::network::Network;
use crate::network::Op;
use crate::network::Source;
use crate::onnx::Dialect;

/// A runtime that an ONNX file is written for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// ONNX Runtime on a CPU with its default options: runs every format, those without kernels in float32.
    #[default]
    OnnxruntimeCpu,
    /// TensorRT: signed 8-bit integers and float8_e4m3fn around zero, on both sides of a layer; int4 for the weights of
    /// fully connected layers (TensorRT documentation, Working with Quantized Types).
    Tensorrt,
    /// OpenVINO: as ONNX Runtime, but its ONNX reader has no 2-bit integers (2026.4), so those are stored in 4 bits.
    Openvino,
}

const NAMES: [(Profile, &str); 3] =
    [(Profile::OnnxruntimeCpu, "onnxruntime-cpu"), (Profile::Tensorrt, "tensorrt"), (Profile::Openvino, "openvino")];

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(NAMES.iter().find(|(profile, _)| profile == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Profile {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = NAMES.iter().find(|(_, name)| *name == text).map(|(profile, _)| *profile);
        found.ok_or_else(|| Error::unknown_name("profile", text, NAMES.iter().map(|(_, name)| *name)))
    }
}

impl Profile {
    /// How files for the runtime are written.
    pub fn dialect(self, unsigned_weights: bool) -> Dialect {
        let usual = Dialect { unsigned_weights, ..Dialect::default() };
        match self {
            Self::OnnxruntimeCpu => usual,
            Self::Tensorrt => {
                Dialect { quantize_to_fp8: true, signed_activations: true, widens_images: false, ..usual }
            }
            Self::Openvino => Dialect { narrowest: Format::Int(4), widens_images: false, ..usual },
        }
    }

    /// Refuses a network that the runtime would not load or not compute in its formats.
    ///
    /// # Errors
    /// Names the first refused layer, what about it, and what would be accepted.
    pub fn check(self, network: &Network) -> Result<()> {
        if self != Self::Tensorrt {
            return Ok(());
        }
        for &index in &network.weighted() {
            let layer = &network.layers[index];
            let weight = layer.weight.map_or(Format::Float32, |spec| spec.format);
            let input = network.point(layer.inputs[0]).map_or(Format::Float32, |point| point.spec.format);
            let linear = matches!(layer.op, Op::Linear { .. });
            if let Some(why) = tensorrt(weight, input, linear) {
                let formats = format!("{weight} x {input}");
                return Err(Error::bad_value(&layer.name, formats, format!("{self} refuses this layer: {why}")));
            }
        }
        self.check_sums(network)
    }

    /// Tensors that no layer with weights reads: both sides of a sum.
    fn check_sums(self, network: &Network) -> Result<()> {
        for layer in network.layers.iter().filter(|layer| layer.op == Op::Add) {
            for &source in &layer.inputs {
                let format = network.point(source).map_or(Format::Float32, |point| point.spec.format);
                if !(is_float(format) || format == Format::Int(8) || is_e4m3(format)) {
                    let name = match source {
                        Source::Input => "input",
                        Source::Layer(from) => &network.layers[from].name,
                    };
                    let why = format!("{self} refuses the tensor behind this layer: {SIGNED}");
                    return Err(Error::bad_value(name, format, why));
                }
            }
        }
        Ok(())
    }
}

const SIGNED: &str = "it quantizes activations to int8 around zero or to float8_e4m3fn; ours behind a ReLU are unsigned \
                      integers, so --format float8_e4m3fn is the way there";

fn is_float(format: Format) -> bool {
    matches!(format, Format::Float32 | Format::Float16 | Format::BFloat16)
}

fn is_e4m3(format: Format) -> bool {
    format == Format::Mini(MiniFloat::E4M3FN)
}

fn tensorrt(weight: Format, input: Format, linear: bool) -> Option<&'static str> {
    let accepted = match (weight, input) {
        (Format::Int(8), Format::Int(8)) => true,
        (Format::Int(4), input) => linear && is_float(input),
        (weight, input) => is_e4m3(weight) && is_e4m3(input) || is_float(weight) && is_float(input),
    };
    match (accepted, input) {
        (true, _) => None,
        (false, Format::Uint(_)) => Some(SIGNED),
        (false, _) => Some(
            "weights and input must both be int8, both float8_e4m3fn or both float; int4 is for the weights of fully \
             connected layers on float inputs",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::QuantSpec;
    use crate::network::{ModelSpec, build};

    fn refusal(profile: Profile, format: &str) -> Option<String> {
        let mut network = build(&ModelSpec::new("resnet8".parse().unwrap())).unwrap();
        let layers = network.weighted().len();
        let format = format.parse().unwrap();
        network.assign(&vec![QuantSpec::per_channel(format); layers], &vec![QuantSpec::per_tensor(format); layers]);
        profile.check(&network).err().map(|error| error.to_string())
    }

    #[test]
    fn a_refused_layer_is_named_with_the_reason() {
        let unsigned = refusal(Profile::Tensorrt, "int8").unwrap();
        assert!(unsigned.contains("layer1.0.conv1 `int8 x uint8`") && unsigned.contains("float8_e4m3fn"), "{unsigned}");
        let narrow = refusal(Profile::Tensorrt, "fp4").unwrap();
        assert!(narrow.contains("conv1") && narrow.contains("both be int8"), "{narrow}");
    }

    #[test]
    fn what_a_runtime_computes_is_accepted() {
        for (profile, format) in [
            (Profile::Tensorrt, "fp8"),
            (Profile::Tensorrt, "float32"),
            (Profile::Openvino, "int2"),
            (Profile::Openvino, "fp4"),
            (Profile::OnnxruntimeCpu, "int2"),
        ] {
            assert_eq!(refusal(profile, format), None, "{profile} {format}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for (profile, name) in NAMES {
            assert_eq!((name.parse::<Profile>().unwrap(), profile.to_string().as_str()), (profile, name));
        }
        assert!("tensort".parse::<Profile>().unwrap_err().to_string().contains("tensorrt"));
    }
}
