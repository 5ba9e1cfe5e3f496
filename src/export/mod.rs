//! Networks that leave the program: ONNX files, and the proof that they run as promised.

mod verify;

pub use verify::{Verification, verify};

use prost::Message;

use crate::error::Result;
use crate::onnx;
use crate::stored::StoredNetwork;

/// An encoded ONNX file.
#[derive(Clone, Debug)]
pub struct OnnxFile {
    /// The bytes to write.
    pub bytes: Vec<u8>,
    /// Whether it imitates a format in float32, so that its time says nothing about the format.
    pub simulated: bool,
}

/// Encodes a network; `facts` go into the file's metadata beside its formats and input transform.
///
/// # Errors
/// A layer that cannot be written.
pub fn onnx_file(stored: &StoredNetwork, facts: &[(String, String)]) -> Result<OnnxFile> {
    let network = &stored.network;
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
    let model = onnx::model(stored, &metadata)?;
    Ok(OnnxFile { bytes: model.proto.encode_to_vec(), simulated: model.simulated })
}
