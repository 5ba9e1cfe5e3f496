//! What `bitfront evolve-space` says without evolving: counts, one network, whether a table's multiplications are ours.

use std::path::Path;

use serde_json::json;

use crate::cli::Common;
use crate::cli::common::print;
use crate::cost::latency::BlockTable;
use crate::cost::{Convention, Costs};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::space::Hyperspace;

/// Prints the size of a hyperspace.
pub(super) fn count(space: &Hyperspace, common: &Common) -> Result<()> {
    let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
    for code in space.uniform() {
        least = least.min(mmacs(&space.smallest(&code)?));
        most = most.max(mmacs(&space.largest(&code)?));
    }
    let types: Vec<&str> = space.blocks.iter().map(|block| block.kind.name()).collect();
    let windows: Vec<usize> = space.stages.iter().map(|stage| stage.windows()).collect();
    let ends: Vec<usize> =
        space.resolutions.iter().filter(|resolution| resolution.ends_ms.is_none()).map(|r| r.side).collect();
    if common.json {
        return print(
            &json!({ "space": space.name, "spaces": space.count(), "stages": windows.len(), "blocks": types, "windows": windows,
            "files": space.cells(), "mmacs": [least, most] })
            .to_string(),
        );
    }
    let product = windows.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
    let (name, files, last) = (&space.name, space.cells(), space.last_file());
    let mut text = format!(
        "{name}: {} spaces\n  stages       {}\n  block types  {}: {}\n  windows      {product}\n  networks     {least:.1} to {most:.0} MMACs in its uniform spaces\n  \
         table        {files} files, stage1_0_0.csv to {last}",
        space.count(),
        windows.len(),
        types.len(),
        types.join(", ")
    );
    if !ends.is_empty() {
        text += &format!("\n  missing      ends_ms (latency of stem, first stage and head) at {ends:?} pixels");
    }
    print(&text)
}

/// Prints the costs of one network of a space.
pub(super) fn network(space: &Hyperspace, text: &str, common: &Common) -> Result<()> {
    let split = || Error::bad_value("--network", text, "expected SPACE:SUBNET, as 122222-155400:d.._k.._w.._e.._r..");
    let (code, subnet) = text.split_once(':').ok_or_else(split)?;
    let network = space.subnet(&space.parse_code(code)?, subnet)?;
    let (macs, params) = (Costs::of(&network, Convention::Full).macs, network.parameter_count());
    if common.json {
        return print(&json!({ "model": network.model, "macs": macs, "params": params }).to_string());
    }
    let (name, side) = (&network.model, network.input.h);
    print(&format!(
        "{name} at {side} pixels: {:.1} MMACs, {:.2} million parameters",
        macs as f64 / 1e6,
        params as f64 / 1e6
    ))
}

/// Compares a table's multiplications with those counted here.
pub(super) fn verify(folder: &Path, space: &Hyperspace, common: &Common) -> Result<()> {
    let rows = BlockTable::verify_macs(folder, space)?;
    if common.json {
        return print(&json!({ "rows": rows, "equal": rows }).to_string());
    }
    print(&format!("{}: {rows} rows, the multiplications of all are those counted here", folder.display()))
}

/// Millions of multiplications.
pub(super) fn mmacs(network: &Network) -> f64 {
    Costs::of(network, Convention::Full).macs as f64 / 1e6
}
