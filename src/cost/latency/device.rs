//! What a latency table was measured on: `device.ron`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{KernelOp, Overhead};
use crate::formats::Format;

/// CPU or GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A processor.
    #[default]
    Cpu,
    /// An accelerator.
    Gpu,
}

/// A device with its runtime.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its name.
    pub device: String,
    /// The processor, where the table was made on it by us: on another one nothing is measured.
    #[serde(default)]
    pub processor: String,
    /// CPU or GPU.
    pub kind: Kind,
    /// Runtime and version.
    pub runtime: String,
    /// Threads of the runtime.
    pub threads: usize,
    /// Images at a time.
    pub batch: usize,
    /// Day of the measurement.
    pub date: String,
    /// The command that made the table.
    pub command: Vec<String>,
    /// The formats that the runtime really computes in; float32 first.
    pub computes: Vec<Format>,
    /// What every other format is computed in; float32 where none is named.
    pub falls_back: BTreeMap<Format, Format>,
    /// Rows of the table; a file with fewer is cut off.
    #[serde(default)]
    pub kernels: usize,
    /// Operators that the table does not price, because they were not measured: they count as nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_counted: Vec<KernelOp>,
    /// Whether the times hold for every activation.
    #[serde(default)]
    pub any_act: bool,
    /// The search spaces whose kernels are in the table, and whether all of them are or a sample.
    #[serde(default)]
    pub spaces: Vec<String>,
    /// Kernels of those spaces that were left out; their times are estimates.
    #[serde(default)]
    pub left_out: usize,
    /// From the sum of kernels to the time of a network.
    #[serde(default)]
    pub overhead: Overhead,
}

impl Device {
    /// What is wrong with its values, if something is.
    pub fn fault(&self) -> Option<String> {
        let Overhead { call_us, float32, narrow, transitions, .. } = self.overhead;
        let names = |formats: &[Format]| formats.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ");
        let factors = [("call_us", call_us), ("float32", float32), ("narrow", narrow), ("transitions", transitions)];
        if let Some((key, value)) = factors.iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            return Some(format!("overhead.{key} `{value}`: must be a finite number, 0 or more"));
        }
        if float32 + narrow <= 0.0 {
            return Some("overhead: one of float32 and narrow must be above 0".to_owned());
        }
        if self.device.trim().is_empty() {
            return Some("device ``: needs a name".to_owned());
        }
        if self.threads == 0 || self.batch == 0 {
            return Some(format!("threads, batch `{}, {}`: must be above 0", self.threads, self.batch));
        }
        if self.computes.is_empty() {
            return Some("computes ``: names no format".to_owned());
        }
        let stray =
            self.falls_back.iter().find(|(from, to)| self.computes.contains(from) || !self.computes.contains(to));
        stray.map(|(from, to)| {
            let known = names(&self.computes);
            format!("falls_back `{from}: {to}`: from a format without kernels to one with; the device computes {known}")
        })
    }

    /// Whether it is this processor.
    pub fn is(&self, processor: &str) -> bool {
        self.processor == processor || self.processor.is_empty() && self.device == processor
    }

    /// The format that the device computes a format in.
    pub fn computed(&self, format: Format) -> Format {
        let signed = match format {
            Format::Float32 => return format,
            Format::Uint(bits) => Format::Int(bits),
            other => other,
        };
        if self.computes.contains(&signed) {
            return signed;
        }
        self.falls_back.get(&signed).copied().unwrap_or(Format::Float32)
    }

    /// Integers below 8 bits fall back to int8, where the device computes in that.
    pub fn usual_fallback(computes: &[Format]) -> BTreeMap<Format, Format> {
        let int8 = Format::Int(8);
        if !computes.contains(&int8) {
            return BTreeMap::new();
        }
        (2..8).map(Format::Int).filter(|format| !computes.contains(format)).map(|format| (format, int8)).collect()
    }

    #[cfg(test)]
    pub(crate) fn cpu_of_tests() -> Self {
        let computes = vec![Format::Float32, Format::Int(8)];
        Self {
            device: "a processor".into(),
            processor: String::new(),
            kind: Kind::Cpu,
            runtime: "onnxruntime".into(),
            threads: 1,
            batch: 1,
            date: "2026-11-22".into(),
            command: vec![],
            falls_back: Self::usual_fallback(&computes),
            computes,
            kernels: 0,
            not_counted: vec![],
            any_act: false,
            spaces: vec![],
            left_out: 0,
            overhead: Overhead::default(),
        }
    }
}
