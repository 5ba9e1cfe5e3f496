//! What there is to know of every format at a glance, and who computes in it.

use std::fmt;

use serde::Serialize;

use super::Format;

/// How ONNX Runtime's CPU provider treats a format (version 1.31; the rows of `uint4`,
/// `float16` and `bfloat16` are not measured).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Execution {
    /// Multiplies in the format itself: a narrow format is faster.
    Native,
    /// Stores it and multiplies in float32: smaller, not faster.
    AsFloat,
    /// Has no kernel or no type for it: the values are right, stored as float32.
    Simulated,
}

impl fmt::Display for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Native => "native",
            Self::AsFloat => "as float",
            Self::Simulated => "simulated",
        })
    }
}

/// One format of the [`table`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FormatRow {
    /// Name, as ml_dtypes spells it where it has the format.
    pub name: &'static str,
    /// Other names it is read by.
    pub aliases: &'static [&'static str],
    /// Bits an element takes.
    pub bits: u32,
    /// Distinct finite values.
    pub values: u64,
    /// Smallest value.
    pub min: f64,
    /// Largest finite value.
    pub max: f64,
    /// Smallest positive value.
    pub smallest: f64,
    /// Whether a bit pattern is NaN.
    pub nan: bool,
    /// What ONNX Runtime's CPU provider does with it.
    pub onnxruntime_cpu: Execution,
    /// Which runtimes compute in it, in words.
    pub runtimes: &'static str,
}

impl FormatRow {
    /// The row of one format.
    pub fn of(format: Format) -> Self {
        let (onnxruntime_cpu, runtimes) = runtimes(format);
        Self {
            name: format.name(),
            aliases: format.aliases(),
            bits: format.bits(),
            values: format.grid_size(),
            min: format.min(),
            max: format.max(),
            smallest: format.smallest(),
            nan: format.has_nan(),
            onnxruntime_cpu,
            runtimes,
        }
    }
}

/// Every format, in the order of [`Format::all`].
pub fn table() -> Vec<FormatRow> {
    Format::all().into_iter().map(FormatRow::of).collect()
}

fn runtimes(format: Format) -> (Execution, &'static str) {
    match format.name() {
        "float32" => (Execution::Native, "every runtime"),
        "float16" | "bfloat16" => {
            (Execution::AsFloat, "GPUs and processors with 16-bit float units; ONNX Runtime CPU: cast to float32")
        }
        "int8" | "uint8" => {
            (Execution::Native, "ONNX Runtime CPU: convolutions and matrix products, faster with VNNI; TensorRT: int8")
        }
        "int4" | "uint4" => (
            Execution::AsFloat,
            "ONNX Runtime CPU: Q/DQ (opset 21), float arithmetic; TensorRT: int4 weights of matrix products only",
        ),
        "int2" | "uint2" => (Execution::AsFloat, "ONNX Runtime CPU: Q/DQ (opset 25), float arithmetic"),
        "float8_e4m3fn" => (
            Execution::AsFloat,
            "ONNX Runtime CPU: Q/DQ (opset 19), float arithmetic; TensorRT: convolutions and matrix products",
        ),
        "float8_e5m2" => (Execution::AsFloat, "ONNX Runtime CPU: Q/DQ (opset 19), float arithmetic"),
        "float4_e2m1fn" => (
            Execution::Simulated,
            "ONNX type (opset 23) without a CPU kernel in ONNX Runtime; TensorRT: matrix products in blocks (NVFP4)",
        ),
        _ if format.is_integer() => (Execution::Simulated, "none; ONNX has no type of this width"),
        _ => (Execution::Simulated, "none; ONNX has no such type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_float32_and_eight_bit_integers_are_native_on_a_cpu() {
        let native: Vec<&str> =
            table().iter().filter(|row| row.onnxruntime_cpu == Execution::Native).map(|row| row.name).collect();
        assert_eq!(native, ["float32", "int8", "uint8"]);
    }

    #[test]
    fn no_two_formats_share_a_name_or_alias() {
        let mut names: Vec<&str> =
            table().iter().flat_map(|row| row.aliases.iter().copied().chain([row.name])).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
