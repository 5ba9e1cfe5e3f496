//! Sizes that a search chooses operator by operator: kernels and expansions of blocks, depths and widths of stages.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::error::Result;

/// A stage of inverted residual blocks as the published network has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// Factor from the block's input channels to those of its depthwise convolution; 1 has no expansion to choose.
    pub expansion: usize,
    /// Output channels before they are rounded, the network's width included.
    pub channels: f64,
    /// Number of blocks.
    pub blocks: usize,
    /// Side of the depthwise kernel.
    pub kernel: usize,
    /// Stride of the first block.
    pub stride: usize,
}

/// What a block is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BlockKind {
    /// Expansion, depthwise convolution, projection, with ReLU6: as published.
    Inverted,
    /// Likewise with hard-swish and squeeze-and-excitation, as in MobileNetV3.
    SqueezeExcite,
    /// A full convolution, which also expands, and a projection, as in EfficientNetV2.
    Fused,
}

impl fmt::Display for BlockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Chosen sizes. A list that is empty leaves the model's own. Blocks are counted through all stages of the published
/// network, those that a depth leaves out included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operators {
    /// Kind of each block; those without expansion are as published whatever theirs says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<BlockKind>,
    /// Side of the depthwise kernel of each block, odd.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<usize>,
    /// Expansion of each block; blocks without one ignore theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expansions: Vec<usize>,
    /// Blocks of each stage: the first so many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depths: Vec<usize>,
    /// Factor on the output channels of each stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub widths: Vec<f64>,
}

/// Largest side of a kernel.
pub(crate) const LARGEST_KERNEL: usize = 15;
/// Largest expansion.
pub(crate) const LARGEST_EXPANSION: usize = 16;

impl Operators {
    /// Whether everything is the model's own.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn block(&self, block: usize, stage: &Stage) -> BlockKind {
        match stage.expansion {
            1 => BlockKind::Inverted,
            _ => self.blocks.get(block).copied().unwrap_or(BlockKind::Inverted),
        }
    }

    pub(super) fn kernel(&self, block: usize, stage: &Stage) -> usize {
        self.kernels.get(block).copied().unwrap_or(stage.kernel)
    }

    pub(super) fn expansion(&self, block: usize, stage: &Stage) -> usize {
        match stage.expansion {
            1 => 1,
            own => self.expansions.get(block).copied().unwrap_or(own),
        }
    }

    pub(super) fn depth(&self, index: usize, stage: &Stage) -> usize {
        self.depths.get(index).copied().unwrap_or(stage.blocks)
    }

    pub(super) fn width(&self, index: usize) -> f64 {
        self.widths.get(index).copied().unwrap_or(1.0)
    }

    /// Checks the lists against a network's stages.
    ///
    /// # Errors
    /// A list of another length, or a size out of range, by its key.
    pub(super) fn check(&self, stages: &[Stage]) -> Result<()> {
        let blocks = stages.iter().map(|stage| stage.blocks).sum();
        let lists = [
            ("operators.blocks", self.blocks.len(), blocks, "blocks"),
            ("operators.kernels", self.kernels.len(), blocks, "blocks"),
            ("operators.expansions", self.expansions.len(), blocks, "blocks"),
            ("operators.depths", self.depths.len(), stages.len(), "stages"),
            ("operators.widths", self.widths.len(), stages.len(), "stages"),
        ];
        if let Some((key, found, wanted, what)) = lists.into_iter().find(|list| list.1 != 0 && list.1 != list.2) {
            return Err(Error::bad_value(key, found, format!("entries; the network has {wanted} {what}")));
        }
        self.kernels.iter().try_for_each(|&kernel| check_kernel("operators.kernels", kernel))?;
        self.expansions.iter().try_for_each(|&expansion| check_expansion("operators.expansions", expansion))?;
        self.widths.iter().try_for_each(|&width| check_width("operators.widths", width))?;
        for (depth, stage) in self.depths.iter().zip(stages) {
            if !(1..=stage.blocks).contains(depth) {
                return Err(Error::bad_value("operators.depths", depth, format!("1 to the stage's {}", stage.blocks)));
            }
        }
        Ok(())
    }
}

pub(crate) fn check_kernel(key: &str, kernel: usize) -> Result<()> {
    if kernel % 2 == 1 && kernel <= LARGEST_KERNEL {
        return Ok(());
    }
    Err(Error::bad_value(key, kernel, format!("an odd number, 1 to {LARGEST_KERNEL}")))
}

pub(crate) fn check_expansion(key: &str, expansion: usize) -> Result<()> {
    if (2..=LARGEST_EXPANSION).contains(&expansion) {
        return Ok(());
    }
    Err(Error::bad_value(key, expansion, format!("2 to {LARGEST_EXPANSION}")))
}

pub(crate) fn check_width(key: &str, width: f64) -> Result<()> {
    if (0.05..=16.0).contains(&width) {
        return Ok(());
    }
    Err(Error::bad_value(key, width, "0.05 to 16"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{ModelSpec, Network, Op, build};

    fn sampled(operators: Operators) -> Result<Network> {
        let model = "mobilenet_v2".parse()?;
        build(&ModelSpec { width: 0.5, resolution: Some(32), classes: Some(10), operators, ..ModelSpec::new(model) })
    }

    #[test]
    fn sizes_reach_their_blocks_and_names_stay() {
        let mut kernels = vec![3; 17];
        kernels[4] = 7;
        let mut expansions = vec![6; 17];
        expansions[4] = 4;
        let (depths, widths) = (vec![1, 2, 2, 4, 1, 3, 1], vec![1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0]);
        let network = sampled(Operators { kernels, expansions, depths, widths, ..Operators::default() }).unwrap();
        let conv = |name: &str| {
            let layer = network.layers.iter().find(|layer| layer.name == name)?;
            if let Op::Conv(conv) = layer.op { Some((conv.c_in, conv.c_out, conv.kernel)) } else { None }
        };
        // Stage 3 is 32 x 0.5 x 0.5 = 8 wide; block 4 is its second, features.5.
        assert_eq!(conv("features.5.conv.0.0"), Some((8, 32, 1)));
        assert_eq!(conv("features.5.conv.1.0"), Some((32, 32, 7)));
        assert_eq!(conv("features.6.conv.0.0"), None);
        assert_eq!(conv("features.7.conv.0.0"), Some((8, 48, 1)));
        assert_eq!(conv("features.11.conv.0.0"), Some((32, 192, 1)));
        assert!(conv("features.12.conv.0.0").is_none() && conv("features.13.conv.0.0").is_none());
        assert_eq!(conv("features.18.0"), Some((160, 1280, 1)));
    }

    #[test]
    fn other_kinds_of_blocks_have_weights_of_their_own() {
        let mut blocks = vec![BlockKind::Inverted; 17];
        (blocks[2], blocks[3]) = (BlockKind::SqueezeExcite, BlockKind::Fused);
        let network = sampled(Operators { blocks, ..Operators::default() }).unwrap();
        let parameters = network.parameters();
        // Stage 2 is 24 x 0.5 = 16 wide (12 rounded to eights): 96 channels inside, 24 in the gates.
        for (name, shape) in [
            ("features.3.mbv3.depthwise.0.weight", vec![96, 1, 3, 3]),
            ("features.3.mbv3.se.fc1.weight", vec![24, 96, 1, 1]),
            ("features.3.mbv3.se.fc1.bias", vec![24]),
            ("features.3.mbv3.se.fc2.weight", vec![96, 24, 1, 1]),
            ("features.4.fused.expand.0.weight", vec![96, 16, 3, 3]),
            ("features.4.fused.project.1.bias", vec![16]),
        ] {
            assert_eq!(parameters.get(name), Some(&shape), "{name}");
        }
        assert!(!parameters.contains_key("features.3.conv.0.0.weight") && network.validate().is_ok());
        // The map and its gates take the format of the projection that reads their product.
        let decider = |name: &str| {
            let layer = network.layers.iter().find(|layer| layer.name == name)?;
            Some(network.layers[layer.point.as_ref()?.decided_by].name.as_str())
        };
        for gated in ["depthwise.act", "se.gates", "se.scale"] {
            assert_eq!(decider(&format!("features.3.mbv3.{gated}")), Some("features.3.mbv3.project.0"), "{gated}");
        }
        assert_eq!(decider("features.3.mbv3.se.pool"), Some("features.3.mbv3.se.fc1"));
    }

    #[test]
    fn wrong_lists_are_refused_by_their_key() {
        let message = |operators| sampled(operators).unwrap_err().to_string();
        let kernels = |kernels| message(Operators { kernels, ..Operators::default() });
        assert!(kernels(vec![3; 16]).contains("17 blocks"));
        assert!(kernels(vec![4; 17]).contains("operators.kernels `4`: an odd number"));
        let depths = message(Operators { depths: vec![1, 3, 3, 4, 3, 3, 1], ..Operators::default() });
        assert!(depths.contains("operators.depths `3`: 1 to the stage's 2"), "{depths}");
        let widths = message(Operators { widths: vec![f64::NAN; 7], ..Operators::default() });
        assert!(widths.contains("operators.widths"), "{widths}");
        assert!(message(Operators { expansions: vec![0; 17], ..Operators::default() }).contains("2 to 16"));
        let operators = Operators { depths: vec![1; 7], ..Operators::default() };
        let other = build(&ModelSpec { operators, ..ModelSpec::new("resnet18".parse().unwrap()) });
        assert!(other.unwrap_err().to_string().contains("resnet18 has no such choice"));
    }
}
