//! The spaces that are compared: the evolved one, and one a manual block type.

use std::path::Path;

use crate::cli::common::write_result;
use crate::cli::evolve_space::Found;
use crate::error::{Error, Result};
use crate::network::BlockType;
use crate::ron_text;
use crate::space::SpaceCode;

/// A space.
pub(super) struct Arm {
    pub(super) name: &'static str,
    pub(super) code: SpaceCode,
    file: String,
}

impl Arm {
    /// Its name in files.
    pub(super) fn slug(&self) -> String {
        self.name.to_lowercase().replace(' ', "-")
    }

    /// Its search space file.
    pub(super) fn file(&self) -> &str {
        &self.file
    }
}

/// Hand-made families by their block.
const MANUAL: [(&str, BlockType); 3] =
    [("MobileNetV2-like", BlockType::MBv2), ("MobileNetV3-like", BlockType::MBv3), ("ResNet-like", BlockType::ResNet)];

/// The evolved space and, of the manual block types that the hyperspace has, the uniform spaces of the middle widths.
///
/// # Errors
/// Nothing was found, or a file cannot be written.
pub(super) fn arms(found: &Found, folder: &Path) -> Result<Vec<Arm>> {
    let space = &found.space;
    let (best, _) = found.spaces.first().ok_or_else(|| Error::Infeasible("no space was found".into()))?;
    let manual = MANUAL.iter().filter_map(|(name, kind)| {
        let at = space.blocks.iter().position(|block| block.kind == *kind)?;
        let windows = space.stages.iter().map(|stage| ((stage.windows() - 1) / 2) as u8).collect();
        Some((*name, SpaceCode { blocks: vec![at as u8; space.stages.len()], windows }))
    });
    let side = space.resolutions[0].side;
    let arm = |(name, code): (&'static str, SpaceCode)| {
        let mut arm = Arm { name, code, file: String::new() };
        let path = folder.join(format!("{}.ron", arm.slug()));
        write_result(Some(&path), &ron_text::text(&space.space_file(&arm.code, side)?)?)?;
        arm.file = path.display().to_string();
        Ok(arm)
    };
    std::iter::once(("evolved", best.clone())).chain(manual).map(arm).collect()
}
