//! The RON file that describes a hyperspace.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::check_kernel;
use crate::network::{Act, BlockType};
use crate::ron_text;

/// Most block types or windows a stage may offer: one digit each in a code.
const MOST_OPTIONS: usize = 36;
/// Largest factor on channels inside a block.
const LARGEST_FACTOR: f64 = 16.0;
/// Most channels of a tensor.
const MOST_CHANNELS: usize = 1 << 16;
/// Most blocks of a stage.
const MOST_BLOCKS: usize = 64;

/// A hyperspace as its file describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hyperspace {
    /// Its name; a table of its blocks lies in a folder of this name.
    pub name: String,
    /// Sides of the images, with what stem, first stage and head take there.
    pub resolutions: Vec<Resolution>,
    /// Channels of an image.
    #[serde(default = "colours")]
    pub channels: usize,
    /// Number of classes.
    #[serde(default = "imagenet_classes")]
    pub classes: usize,
    /// The first convolution.
    pub stem: Stem,
    /// The stage behind it, the same in all spaces.
    pub first: FixedStage,
    /// The block types that every further stage chooses from; a code's digit counts them from 0.
    pub blocks: Vec<BlockChoice>,
    /// The further stages.
    pub stages: Vec<StageChoice>,
    /// What follows the stages.
    pub head: HeadSizes,
}

/// One side of the images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolution {
    /// Pixels.
    pub side: usize,
    /// Latency in ms of what a table of blocks leaves out: stem, first stage and head of the smallest network. It was never
    /// measured where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_ms: Option<f64>,
}

/// The first convolution, 3x3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stem {
    /// Output channels to choose from.
    pub widths: Vec<usize>,
    /// Stride.
    pub stride: usize,
    /// Activation.
    pub act: Act,
}

/// A stage of one block type, the same in all networks but for sizes: the one behind the stem, and those of a found space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedStage {
    /// Its block type.
    pub block: BlockChoice,
    /// Output channels to choose from.
    pub widths: Vec<usize>,
    /// Fewest and most blocks.
    pub depths: (usize, usize),
    /// Stride of the first block.
    pub stride: usize,
    /// Whether its shortcuts go through a convolution where the shape changes.
    pub projects: bool,
}

/// A block type with what each block of it chooses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockChoice {
    /// The type.
    pub kind: BlockType,
    /// Activation.
    pub act: Act,
    /// Kernels.
    pub kernels: Vec<usize>,
    /// Factors on channels inside; empty for types without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expansions: Vec<f64>,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageChoice {
    /// Output channels, rising; a window is some that follow each other.
    pub widths: Vec<usize>,
    /// Widths in a window.
    pub window: usize,
    /// Fewest and most blocks.
    pub depths: (usize, usize),
    /// Stride of the first block.
    pub stride: usize,
}

impl StageChoice {
    /// Number of windows.
    pub fn windows(&self) -> usize {
        (self.widths.len() + 1).saturating_sub(self.window)
    }

    /// The widths of a window, which must exist.
    pub fn window(&self, index: usize) -> &[usize] {
        &self.widths[index..index + self.window]
    }
}

/// What follows the stages: a 1x1 convolution, the mean over the map, another 1x1 convolution, the classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadSizes {
    /// Output channels of the convolution before the mean.
    pub expand: usize,
    /// Output channels of the one behind it.
    pub mix: usize,
    /// Their activation.
    pub act: Act,
}

fn colours() -> usize {
    3
}

fn imagenet_classes() -> usize {
    1000
}

impl Hyperspace {
    /// The hyperspace described by the file at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, or a key, name or value in it is wrong (with line and nearest name).
    pub fn load(path: &Path) -> Result<Self> {
        let file: Self = ron_text::read(path)?;
        file.check().map_err(|error| Error::bad_file(path, error.to_string()))?;
        Ok(file)
    }

    /// Pixels of the image's side behind each pixel's side of what the stage at this index reads.
    pub fn reduction(&self, stage: usize) -> usize {
        let before = self.stages[..stage].iter().map(|stage| stage.stride).product::<usize>();
        self.stem.stride * self.first.stride * before
    }

    /// Checks what the types do not: nothing is empty or listed twice, sizes lie in their ranges.
    ///
    /// # Errors
    /// The first violation, with its key.
    pub fn check(&self) -> Result<()> {
        let sides: Vec<usize> = self.resolutions.iter().map(|ends| ends.side).collect();
        check_sizes("resolutions", &sides, 8..=4096)?;
        for (index, ends) in self.resolutions.iter().enumerate() {
            if let Some(ms) = ends.ends_ms.filter(|ms| !(*ms >= 0.0 && ms.is_finite())) {
                return Err(Error::bad_value(format!("resolutions[{index}].ends_ms"), ms, "milliseconds, 0 or more"));
            }
        }
        check_sizes("channels", &[self.channels], 1..=1024)?;
        check_sizes("classes", &[self.classes], 2..=1_000_000)?;
        self.stem.check("stem")?;
        self.first.check("first")?;
        self.head.check("head")?;
        for (key, count) in [("blocks", self.blocks.len()), ("stages", self.stages.len())] {
            if !(1..=MOST_OPTIONS).contains(&count) {
                return Err(Error::bad_value(key, count, format!("1 to {MOST_OPTIONS} entries")));
            }
        }
        for (index, block) in self.blocks.iter().enumerate() {
            block.check(&format!("blocks[{index}]"))?;
            if self.blocks[..index].iter().any(|other| other.kind == block.kind) {
                return Err(Error::bad_value(format!("blocks[{index}].kind"), block.kind.name(), "listed twice"));
            }
        }
        self.stages.iter().enumerate().try_for_each(|(index, stage)| stage.check(&format!("stages[{index}]")))
    }
}

impl BlockChoice {
    fn check(&self, key: &str) -> Result<()> {
        let (name, kernels, factors) = (self.kind.name(), format!("{key}.kernels"), format!("{key}.expansions"));
        check_sizes(&kernels, &self.kernels, 1..=MOST_OPTIONS)?;
        self.kernels.iter().try_for_each(|&kernel| check_kernel(&kernels, kernel))?;
        if self.expansions.is_empty() == self.kind.expands() {
            let expected = if self.kind.expands() { "needs at least one" } else { "has none to choose" };
            return Err(Error::bad_value(factors, self.expansions.len(), format!("entries: {name} {expected}")));
        }
        if self.expansions.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(Error::bad_value(factors, format!("{:?}", self.expansions), "must rise"));
        }
        match self.expansions.iter().find(|factor| !(**factor > 0.0 && **factor <= LARGEST_FACTOR)) {
            Some(factor) => Err(Error::bad_value(factors, factor, format!("above 0, at most {LARGEST_FACTOR}"))),
            None => Ok(()),
        }
    }
}

impl Stem {
    pub(super) fn check(&self, key: &str) -> Result<()> {
        check_sizes(&format!("{key}.widths"), &self.widths, 1..=MOST_CHANNELS)?;
        check_sizes(&format!("{key}.stride"), &[self.stride], 1..=4)
    }
}

impl FixedStage {
    pub(super) fn check(&self, key: &str) -> Result<()> {
        check_sizes(&format!("{key}.widths"), &self.widths, 1..=MOST_CHANNELS)?;
        check_sizes(&format!("{key}.stride"), &[self.stride], 1..=4)?;
        check_depths(&format!("{key}.depths"), self.depths)?;
        self.block.check(&format!("{key}.block"))
    }
}

impl HeadSizes {
    pub(super) fn check(&self, key: &str) -> Result<()> {
        check_sizes(key, &[self.expand], 1..=MOST_CHANNELS)?;
        check_sizes(key, &[self.mix], 1..=MOST_CHANNELS)
    }
}

impl StageChoice {
    fn check(&self, key: &str) -> Result<()> {
        check_sizes(&format!("{key}.widths"), &self.widths, 1..=MOST_CHANNELS)?;
        check_sizes(&format!("{key}.window"), &[self.window], 1..=self.widths.len())?;
        check_sizes(&format!("{key}.stride"), &[self.stride], 1..=4)?;
        if self.windows() > MOST_OPTIONS {
            let expected = format!("at most {MOST_OPTIONS}");
            return Err(Error::bad_value(format!("windows of {key}"), self.windows(), expected));
        }
        check_depths(&format!("{key}.depths"), self.depths)
    }
}

/// Refuses an empty list, one that does not rise, and sizes out of range.
fn check_sizes(key: &str, sizes: &[usize], range: std::ops::RangeInclusive<usize>) -> Result<()> {
    if sizes.is_empty() {
        return Err(Error::bad_value(key, "[]", "at least one entry"));
    }
    if let Some(pair) = sizes.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(Error::bad_value(key, pair[1], format!("after {}: must rise", pair[0])));
    }
    match sizes.iter().find(|size| !range.contains(size)) {
        Some(size) => Err(Error::bad_value(key, size, format!("{} to {}", range.start(), range.end()))),
        None => Ok(()),
    }
}

fn check_depths(key: &str, (fewest, most): (usize, usize)) -> Result<()> {
    if (1..=most).contains(&fewest) && most <= MOST_BLOCKS {
        return Ok(());
    }
    Err(Error::bad_value(key, format!("({fewest}, {most})"), format!("fewest and most blocks, 1 to {MOST_BLOCKS}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: impl FnOnce(&mut Hyperspace)) -> String {
        let mut file = Hyperspace::shipped("mobilew").unwrap();
        change(&mut file);
        file.check().map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_key() {
        assert_eq!(changed(|_| ()), "");
        assert!(changed(|file| file.stages[2].window = 9).starts_with("stages[2].window `9`: 1 to 8"));
        assert!(changed(|file| file.stages[0].widths = vec![32, 24]).starts_with("stages[0].widths `24`: after 32"));
        assert!(changed(|file| file.stages[0].depths = (3, 2)).starts_with("stages[0].depths `(3, 2)`"));
        assert!(changed(|file| file.blocks[0].kernels = vec![4]).starts_with("blocks[0].kernels `4`: an odd number"));
        assert!(changed(|file| file.blocks[0].expansions = vec![3.0]).contains("MBv1Dual has none"));
        assert!(changed(|file| file.blocks[1].expansions.clear()).contains("MBv2 needs at least one"));
        assert!(changed(|file| file.blocks[1].kind = BlockType::MBv3).starts_with("blocks[2].kind `MBv3`: listed"));
        assert!(changed(|file| file.resolutions.clear()).starts_with("resolutions `[]`"));
        assert!(changed(|file| file.resolutions[0].ends_ms = Some(f64::NAN)).contains("resolutions[0].ends_ms"));
        assert!(changed(|file| file.blocks.clear()).starts_with("blocks `0`"));
    }

    #[test]
    fn windows_are_neighbouring_widths() {
        let file = Hyperspace::shipped("mobilew").unwrap();
        let stage = &file.stages[4];
        assert_eq!(stage.windows(), 5);
        assert_eq!(stage.window(4), [224, 240, 256, 272, 288]);
        let reductions: Vec<usize> = (0..6).map(|stage| file.reduction(stage)).collect();
        assert_eq!(reductions, [2, 4, 8, 16, 16, 32]);
    }
}
