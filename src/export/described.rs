//! What an exported network says of itself, in RON or JSON.

use std::collections::BTreeMap;

use crate::cost::Convention;
use crate::cost::Costs;
use crate::error::Result;
use crate::space::Exported;
use crate::space::NetworkFile;
use crate::stored::StoredNetwork;

/// Program and version.
pub const TOOL: &str = concat!("bitfront ", env!("CARGO_PKG_VERSION"));

/// A network file with its costs, scales and origin. `weights` names the packed file beside it; `test_top1` is the measured
/// accuracy in percent.
///
/// # Errors
/// As [`NetworkFile::hash`].
pub fn described(
    file: &NetworkFile,
    stored: &StoredNetwork,
    seed: u64,
    weights: String,
    test_top1: Option<f64>,
) -> Result<NetworkFile> {
    let costs = Costs::of(&stored.network, Convention::Full);
    let costs = [
        ("macs", costs.macs as f64),
        ("gbops", costs.gbops),
        ("size_mb", costs.size_mb),
        ("act_mem_kb", costs.act_mem_kb),
        ("params", costs.params as f64),
        ("avg_w_bits", costs.avg_w_bits),
        ("avg_a_bits", costs.avg_a_bits),
    ];
    let exported = Exported {
        tool: TOOL.to_owned(),
        config_hash: file.hash()?,
        seed,
        weights,
        costs: costs.map(|(name, cost)| (name.to_owned(), cost)).into(),
        test_top1,
        activation_scales: activation_scales(stored),
        weight_scales: weight_scales(stored),
    };
    Ok(NetworkFile { exported: Some(exported), ..file.clone() })
}

/// The scale of every quantized tensor by name; `input` is the image's.
pub fn activation_scales(stored: &StoredNetwork) -> BTreeMap<String, f32> {
    let layers = stored.network.layers.iter().zip(&stored.scales);
    let of_layers = layers.filter_map(|(layer, scale)| Some((layer.name.clone(), (*scale)?)));
    stored.input_scale.map(|scale| ("input".to_owned(), scale)).into_iter().chain(of_layers).collect()
}

/// The scales of every layer's weights by its name, none for formats that take none.
pub fn weight_scales(stored: &StoredNetwork) -> BTreeMap<String, Vec<f32>> {
    let layers = stored.network.layers.iter().zip(&stored.layers);
    let scaled = layers.filter_map(|(spec, layer)| Some((spec, &layer.as_ref()?.weight)));
    let scaled = scaled.filter(|(_, weight)| weight.spec.format.takes_scale());
    scaled
        .map(|(spec, weight)| {
            let scales = weight.scales.runs.iter().map(|scale| scale * weight.scales.tensor);
            (spec.name.clone(), scales.collect())
        })
        .collect()
}
