//! Networks that leave the program: ONNX files with the proof that they run as promised, descriptions, packed weights.

mod described;
mod profile;
mod verify;

pub use described::{TOOL, activation_scales, described, weight_scales};
pub use profile::Profile;
pub use verify::{Verification, verify};

use prost::Message;

use crate::error::Result;
use crate::onnx;
use crate::onnx::Dialect;
use crate::onnx::OnnxModel;
use crate::stored::StoredNetwork;

/// An ONNX model ready to be written.
#[derive(Clone, Debug)]
pub struct OnnxFile {
    model: OnnxModel,
    dialect: Dialect,
}

impl OnnxFile {
    /// The bytes to write.
    pub fn bytes(&self) -> Vec<u8> {
        self.model.proto.encode_to_vec()
    }

    /// Why the time that ONNX Runtime's CPU takes for it says nothing about its formats, if that is so.
    pub fn untimed(&self) -> Option<&'static str> {
        if self.model.simulated {
            return Some("simulated: the file imitates a format in float32");
        }
        self.is_foreign().then_some("not timed: the file is for another runtime's kernels")
    }

    /// Whether its integer weights are signed bytes.
    pub fn has_signed_weights(&self) -> bool {
        !self.dialect.unsigned_weights
    }

    /// Whether ONNX Runtime's CPU runs it only node by node.
    pub fn is_foreign(&self) -> bool {
        self.dialect.quantize_to_fp8
    }

    /// Adds an entry to the metadata.
    pub fn say(&mut self, key: &str, value: &str) {
        self.model.proto.metadata_props.push(onnx::entry(key, value));
    }
}

/// Encodes a network for a runtime; `facts` go into the file's metadata beside its formats and input transform.
/// `unsigned_weights` stores weights in bytes around 128: ONNX Runtime's default kernels for those do not saturate on x86
/// without VNNI, but are slower.
///
/// # Errors
/// A layer that the runtime refuses or that cannot be written.
pub fn onnx_file(
    stored: &StoredNetwork,
    profile: Profile,
    unsigned_weights: bool,
    facts: &[(String, String)],
) -> Result<OnnxFile> {
    let network = &stored.network;
    profile.check(network)?;
    let formats = network.layers.iter().filter_map(|layer| {
        let input = network.point(layer.inputs[0]).map(|point| point.spec.format.to_string());
        Some(serde_json::json!({ "layer": layer.name, "weight": layer.weight?.to_string(), "activation": input }))
    });
    let formats = serde_json::Value::Array(formats.collect());
    let transform = serde_json::json!({
        "resize": network.transform.resize, "interpolation": network.transform.interpolation,
        "crop": network.transform.crop,
        "mean": network.transform.mean, "std": network.transform.std,
    });
    let mut metadata = facts.to_vec();
    metadata.push(("formats".into(), formats.to_string()));
    metadata.push(("input_transform".into(), transform.to_string()));
    let dialect = profile.dialect(unsigned_weights);
    let mut file = OnnxFile { model: onnx::model(stored, dialect, &metadata)?, dialect };
    if file.model.simulated {
        file.say("simulation", "true");
    }
    Ok(file)
}
