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
use crate::onnx::OnnxModel;
use crate::stored::StoredNetwork;

/// An ONNX model ready to be written.
#[derive(Clone, Debug)]
pub struct OnnxFile(OnnxModel);

impl OnnxFile {
    /// The bytes to write.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.proto.encode_to_vec()
    }

    /// Whether it imitates a format in float32, so that its time says nothing about the format.
    pub fn is_simulated(&self) -> bool {
        self.0.simulated
    }

    /// Adds an entry to the metadata.
    pub fn say(&mut self, key: &str, value: &str) {
        self.0.proto.metadata_props.push(onnx::entry(key, value));
    }
}

/// Encodes a network for a runtime; `facts` go into the file's metadata beside its formats and input transform.
///
/// # Errors
/// A layer that the runtime refuses or that cannot be written.
pub fn onnx_file(stored: &StoredNetwork, profile: Profile, facts: &[(String, String)]) -> Result<OnnxFile> {
    let network = &stored.network;
    profile.check(network)?;
    let formats = network.layers.iter().filter_map(|layer| {
        let input = network.point(layer.inputs[0]).map(|point| point.spec.format.to_string());
        Some(serde_json::json!({ "layer": layer.name, "weight": layer.weight?.to_string(), "activation": input }))
    });
    let formats = serde_json::Value::Array(formats.collect());
    let transform = serde_json::json!({
        "resize": network.transform.resize, "crop": network.transform.crop,
        "mean": network.transform.mean, "std": network.transform.std,
    });
    let mut metadata = facts.to_vec();
    metadata.push(("formats".into(), formats.to_string()));
    metadata.push(("input_transform".into(), transform.to_string()));
    let mut file = OnnxFile(onnx::model(stored, profile.quantizes_to_fp8(), &metadata)?);
    if file.is_simulated() {
        file.say("simulation", "true");
    }
    Ok(file)
}
