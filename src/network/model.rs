//! Which models exist and what a user can set about one: the recipe a [`Network`] is expanded from.
//!
//! A family is one file that turns a [`ModelSpec`] into layers; [`build`] is the only way in.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;
use crate::error::Result;

use super::inverted_residual::divisible;
use super::{Interpolation, LowRank, Network, Operators, Shape, Stage, StagedModel, Transform};
use super::{efficientnet_lite, mobilenet_v2, resnet, small_resnet, staged, vit};

/// A model by the name the command line takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ModelName {
    /// Residual network for small images: 3x3 stem, three stages of basic blocks (He et al. 2016, section 4.2).
    SmallResnet {
        /// Layers with weights on the main path: 8, 20, 32, 44 or 56.
        depth: usize,
    },
    /// Residual network for large images in torchvision's form (18, 34: basic blocks; 50: bottlenecks).
    Resnet {
        /// Layers with weights on the main path: 18, 34 or 50.
        depth: usize,
        /// Where a downsampling bottleneck has its stride: in the 3x3 (torchvision) or in the first 1x1 (the paper).
        stride_in_first: bool,
    },
    /// MobileNetV2 in torchvision's form.
    MobilenetV2,
    /// Vision transformer in timm's form.
    Vit {
        /// Which of the published sizes.
        size: VitSize,
        /// Whether it is DeiT's training of that network, which differs in the input transform alone.
        deit: bool,
    },
    /// EfficientNet-Lite in TensorFlow's form.
    EfficientnetLite {
        /// Size on the compound scale, 0 to 4.
        scale: usize,
    },
    /// Stages of blocks as the spec lists them, as evolved spaces have them.
    Staged,
}

/// The published sizes of a vision transformer (Touvron et al. 2021, table 1): 12 blocks each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VitSize {
    /// 192 features, 3 heads.
    Tiny,
    /// 384 features, 6 heads.
    Small,
    /// 768 features, 12 heads.
    Base,
}

/// Every model with its name.
const NAMES: [(ModelName, &str); 22] = [
    (ModelName::SmallResnet { depth: 8 }, "resnet8"),
    (ModelName::SmallResnet { depth: 20 }, "resnet20"),
    (ModelName::SmallResnet { depth: 32 }, "resnet32"),
    (ModelName::SmallResnet { depth: 44 }, "resnet44"),
    (ModelName::SmallResnet { depth: 56 }, "resnet56"),
    (ModelName::Resnet { depth: 18, stride_in_first: false }, "resnet18"),
    (ModelName::Resnet { depth: 34, stride_in_first: false }, "resnet34"),
    (ModelName::Resnet { depth: 50, stride_in_first: false }, "resnet50"),
    (ModelName::Resnet { depth: 50, stride_in_first: true }, "resnet50_v1"),
    (ModelName::MobilenetV2, "mobilenet_v2"),
    (ModelName::Vit { size: VitSize::Tiny, deit: true }, "deit_tiny"),
    (ModelName::Vit { size: VitSize::Small, deit: true }, "deit_small"),
    (ModelName::Vit { size: VitSize::Base, deit: true }, "deit_base"),
    (ModelName::Vit { size: VitSize::Tiny, deit: false }, "vit_tiny"),
    (ModelName::Vit { size: VitSize::Small, deit: false }, "vit_small"),
    (ModelName::Vit { size: VitSize::Base, deit: false }, "vit_base"),
    (ModelName::EfficientnetLite { scale: 0 }, "efficientnet_lite0"),
    (ModelName::EfficientnetLite { scale: 1 }, "efficientnet_lite1"),
    (ModelName::EfficientnetLite { scale: 2 }, "efficientnet_lite2"),
    (ModelName::EfficientnetLite { scale: 3 }, "efficientnet_lite3"),
    (ModelName::EfficientnetLite { scale: 4 }, "efficientnet_lite4"),
    (ModelName::Staged, "staged"),
];

impl ModelName {
    /// Every model with published sizes.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(model, _)| *model).filter(|model| *model != Self::Staged)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(model, _)| *model == self).map_or("resnet", |(_, name)| *name)
    }

    /// Side of the input image and number of classes when nothing is said: CIFAR-10's or ImageNet's.
    fn usual_task(self) -> (usize, usize) {
        match self {
            Self::SmallResnet { .. } | Self::Staged => (32, 10),
            Self::Resnet { .. } | Self::MobilenetV2 | Self::Vit { .. } => (224, 1000),
            Self::EfficientnetLite { scale } => (efficientnet_lite::resolution(scale), 1000),
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ModelName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.trim().to_ascii_lowercase();
        let found = NAMES.iter().find(|(_, name)| *name == lower).map(|(model, _)| *model);
        found.ok_or_else(|| Error::unknown_name("model", text, NAMES.iter().map(|(_, name)| *name)))
    }
}

impl Serialize for ModelName {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ModelName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How a residual block whose shape changes brings its input to the add (He et al. 2016, section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShortcutKind {
    /// Every second row and column, padded with zero channels: no parameters.
    A,
    /// A 1x1 convolution with batch normalisation.
    B,
}

/// Everything a network's shapes follow from; what is `None` is the model's usual value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The model.
    pub model: ModelName,
    /// Factor on all widths, stem included; 1 is the published network.
    #[serde(default = "published_width")]
    pub width: f64,
    /// Side of the square input image in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<usize>,
    /// Channels of the input image; 3 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Number of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// Kind of shortcut: A when not said for small residual networks; torchvision's have only B.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortcut: Option<ShortcutKind>,
    /// A projection also in the first block of stage 1, as in the TensorFlow ResNet that FLIQS counts.
    #[serde(default)]
    pub tf_form: bool,
    /// Blocks of a transformer, where they are not the published 12.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Sizes that a search chose.
    #[serde(default, skip_serializing_if = "Operators::is_empty")]
    pub operators: Operators,
    /// Layers with a low-rank correction beside them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub low_rank: Vec<LowRank>,
    /// The parts of a network of stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<StagedModel>,
}

/// Mean and deviation of pixels in `[0, 1]` by the image's channels: ImageNet's of three, Fashion-MNIST's of one.
pub(super) fn usual_mean_and_std(channels: usize) -> (Vec<f32>, Vec<f32>) {
    match channels {
        3 => (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]),
        1 => (vec![0.2860], vec![0.3530]),
        c => (vec![0.5; c], vec![0.5; c]),
    }
}

fn published_width() -> f64 {
    1.0
}

impl ModelSpec {
    /// The published network.
    pub fn new(model: ModelName) -> Self {
        Self {
            model,
            width: 1.0,
            resolution: None,
            channels: None,
            classes: None,
            shortcut: None,
            tf_form: false,
            depth: None,
            operators: Operators::default(),
            low_rank: Vec::new(),
            staged: None,
        }
    }

    /// The stages whose operators can be chosen; none where the model has no such choice.
    pub fn stages(&self) -> Vec<Stage> {
        match self.model {
            ModelName::MobilenetV2 => mobilenet_v2::stages(self),
            ModelName::EfficientnetLite { scale } => efficientnet_lite::stages(self, scale),
            _ => Vec::new(),
        }
    }

    /// Name of a block of those stages, counted through them all.
    pub fn block_name(&self, number: usize) -> String {
        match (&self.staged, self.model) {
            (Some(staged), _) => staged.block_name(number),
            (None, ModelName::EfficientnetLite { .. }) => efficientnet_lite::block(number),
            _ => mobilenet_v2::block(number),
        }
    }

    /// Output channels of the stage at this index under a factor of its own.
    pub fn stage_channels(&self, index: usize, width: f64) -> usize {
        self.stages().get(index).map_or(0, |stage| divisible(stage.channels * width))
    }

    /// The input image's shape, `[channels, resolution, resolution]`.
    pub fn input(&self) -> Shape {
        let side = self.resolution.unwrap_or(self.model.usual_task().0);
        Shape { c: self.channels.unwrap_or(3), h: side, w: side }
    }

    /// The number of classes.
    pub fn class_count(&self) -> usize {
        self.classes.unwrap_or(self.model.usual_task().1)
    }

    /// `base` channels at this width: the nearest even number, at least 2 (option-A shortcuts pad both sides equally).
    pub(super) fn channels_of(&self, base: usize) -> usize {
        2 * ((base as f64 * self.width / 2.0).round() as usize).max(1)
    }

    /// The usual input transform. Three channels: ImageNet's mean and deviation (the public ResNet-20 for CIFAR-10 was
    /// trained with them too); one: Fashion-MNIST's. Images are resized to 256/224 of the side they are cropped to, small
    /// ones taken as they are.
    pub(super) fn transform(&self) -> Transform {
        let input = self.input();
        let (mean, std) = usual_mean_and_std(input.c);
        let (mean, std) = match self.model {
            ModelName::EfficientnetLite { .. } if input.c == 3 => {
                efficientnet_lite::MEAN_AND_STD.map(|x| vec![x; 3]).into()
            }
            _ => (mean, std),
        };
        let plain = Transform::plain(&mean, &std);
        let fitted = |resize| Transform { resize: Some(resize), crop: Some(input.h), ..plain.clone() };
        match self.model {
            _ if self.is_small() => plain,
            ModelName::SmallResnet { .. } | ModelName::Staged => plain,
            // timm: a crop of nine tenths; the weights of ViT itself want pixels between -1 and 1.
            ModelName::Vit { deit, .. } => {
                let fitted =
                    Transform { interpolation: Interpolation::Bicubic, ..fitted((input.h as f64 / 0.9) as usize) };
                let half = vec![0.5; input.c];
                if deit { fitted } else { Transform { mean: half.clone(), std: half, ..fitted } }
            }
            ModelName::Resnet { .. } | ModelName::MobilenetV2 => {
                fitted((input.h as f64 * 256.0 / 224.0).round() as usize)
            }
            ModelName::EfficientnetLite { .. } => {
                Transform { interpolation: Interpolation::Bicubic, ..fitted(input.h + efficientnet_lite::MARGIN) }
            }
        }
    }

    /// Whether the input counts as a small image, at most 64 pixels a side: taken as it is, not resized and cropped.
    pub(super) fn is_small(&self) -> bool {
        self.input().h <= 64
    }

    /// An error when the TensorFlow form is asked of a model that has none.
    pub(super) fn refuse_tf_form(&self) -> Result<()> {
        if self.tf_form {
            return Err(Error::bad_value("tf_form", true, format!("{} has no such form: false", self.model)));
        }
        Ok(())
    }

    /// An error when a kind of shortcut is asked of a model that has no such choice.
    pub(super) fn refuse_shortcut(&self) -> Result<()> {
        match self.shortcut {
            Some(kind) => {
                Err(Error::bad_value("shortcut", format!("{kind:?}"), format!("{} has no such choice", self.model)))
            }
            None => Ok(()),
        }
    }

    fn check(&self) -> Result<()> {
        if !(0.05..=16.0).contains(&self.width) {
            return Err(Error::bad_value("width", self.width, "0.05 to 16"));
        }
        let limits = [
            ("depth", self.depth.unwrap_or(1), 1, 100),
            ("resolution", self.input().h, 8, 4096),
            ("channels", self.input().c, 1, 1024),
            ("classes", self.class_count(), 2, 1_000_000),
        ];
        for (key, value, low, high) in limits {
            if !(low..=high).contains(&value) {
                return Err(Error::bad_value(key, value, format!("{low} to {high}")));
            }
        }
        Ok(())
    }
}

/// Expands a model into its layers; all formats are float32.
///
/// # Errors
/// When a value is outside its range or does not fit the model.
///
/// ```
/// use bitfront::network::{ModelSpec, build};
/// let network = build(&ModelSpec::new("resnet20".parse()?))?;
/// assert_eq!(network.weighted().len(), 20);
/// # Ok::<(), bitfront::error::Error>(())
/// ```
pub fn build(spec: &ModelSpec) -> Result<Network> {
    spec.check()?;
    if let (Some(depth), false) = (spec.depth, matches!(spec.model, ModelName::Vit { .. })) {
        return Err(Error::bad_value("depth", depth, format!("{} has no such choice", spec.model)));
    }
    if !spec.operators.is_empty() && spec.stages().is_empty() {
        let hint = format!("{} has no such choice; mobilenet_v2 and efficientnet_lite have", spec.model);
        return Err(Error::bad_value("operators", "", hint));
    }
    let plain = match spec.model {
        ModelName::SmallResnet { depth } => small_resnet::expand(spec, depth),
        ModelName::Resnet { depth, stride_in_first } => resnet::expand(spec, depth, stride_in_first),
        ModelName::MobilenetV2 => mobilenet_v2::expand(spec),
        ModelName::Vit { size, .. } => vit::expand(spec, size),
        ModelName::EfficientnetLite { scale } => efficientnet_lite::expand(spec, scale),
        ModelName::Staged => staged::expand(spec),
    };
    spec.low_rank.iter().try_fold(plain?, |network, own| network.corrected(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_a_misspelt_one_gets_the_nearest() {
        for model in ModelName::all() {
            assert_eq!(model.name().parse::<ModelName>().unwrap(), model);
            assert_eq!(build(&ModelSpec::new(model)).unwrap().model, model.name());
        }
        let message = "resnt20".parse::<ModelName>().unwrap_err().to_string();
        assert!(message.contains("did you mean `resnet20`"), "{message}");
    }

    #[test]
    fn widths_outside_the_range_are_refused_at_both_ends() {
        let with = |width| build(&ModelSpec { width, ..ModelSpec::new(ModelName::SmallResnet { depth: 8 }) });
        assert!(with(0.05).is_ok() && with(16.0).is_ok());
        assert!(with(0.049).is_err() && with(16.1).is_err() && with(f64::NAN).is_err());
    }

    #[test]
    fn efficientnet_lite_is_prepared_as_tensorflow_does() {
        let transform = build(&ModelSpec::new("efficientnet_lite3".parse().unwrap())).unwrap().transform;
        assert_eq!((transform.resize, transform.crop), (Some(312), Some(280)));
        assert_eq!(transform.interpolation, Interpolation::Bicubic);
        // (127 - mean) / std is exactly 0, 255 gives 1, for pixels of 0 to 255.
        let normal = |pixel: f32| (pixel / 255.0 - transform.mean[2]) / transform.std[2];
        assert!(normal(127.0).abs() < 1e-6 && (normal(255.0) - 1.0).abs() < 1e-6, "{transform:?}");
    }

    #[test]
    fn a_smaller_crop_shrinks_the_resize_in_proportion() {
        let spec = ModelSpec { resolution: Some(112), ..ModelSpec::new("resnet18".parse().unwrap()) };
        let transform = build(&spec).unwrap().transform;
        assert_eq!((transform.resize, transform.crop), (Some(128), Some(112)));
    }
}
