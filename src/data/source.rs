//! What `--data` names.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::data::augment::Augment;
use crate::data::cifar;
use crate::data::embedded;
use crate::data::folder;
use crate::data::idx;
use crate::data::images::Images;
use crate::error::{Error, Result};
use crate::network::Transform;

/// Training or test images. Validation images are cut from the training ones ([`split`](crate::data::split())).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Images to learn from.
    Train,
    /// Images to judge by, once, at the end.
    Test,
}

/// A data set and where it is. Text form: `fashion-mnist-mini`, `idx:DIR`, `cifar10:DIR`, `imagefolder:DIR`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DataSource {
    /// The embedded subset of Fashion-MNIST.
    #[default]
    FashionMnistMini,
    /// A folder of IDX files, the MNIST family.
    Idx(PathBuf),
    /// A folder of CIFAR-10's binary batches.
    Cifar10(PathBuf),
    /// A folder in ImageNet's layout, `train/<class>/` and `val/<class>/`.
    ImageFolder(PathBuf),
}

const NAMES: [&str; 4] = ["fashion-mnist-mini", "idx:DIR", "cifar10:DIR", "imagefolder:DIR"];

impl DataSource {
    /// Reads one split, at the size that `transform` asks for.
    ///
    /// # Errors
    /// When a file is missing, truncated or of another kind; the message names it, what was expected and found.
    pub fn load(&self, split: Split, transform: &Transform) -> Result<Images> {
        match self {
            Self::FashionMnistMini => embedded::load(split)?.fitted(transform),
            Self::Idx(at) => idx::load(at, split)?.fitted(transform),
            Self::Cifar10(at) => cifar::load(at, split)?.fitted(transform),
            Self::ImageFolder(at) => folder::load(at, split, transform),
        }
    }

    /// The usual input transform of the data set: for `idx` MNIST's constants, for `imagefolder` ImageNet's.
    pub fn transform(&self) -> Transform {
        match self {
            Self::FashionMnistMini => Transform::plain(&[0.2860], &[0.3530]),
            Self::Idx(_) => Transform::plain(&[0.1307], &[0.3081]),
            Self::Cifar10(_) => Transform::plain(
                &[0.491_399_68, 0.482_158_41, 0.446_530_9],
                &[0.247_032_23, 0.243_485_13, 0.261_587_84],
            ),
            Self::ImageFolder(_) => Transform {
                resize: Some(256),
                crop: Some(224),
                ..Transform::plain(&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225])
            },
        }
    }

    /// The usual training augmentation for images of `side` pixels. Digits and letters (`idx`) are not mirrored.
    pub fn augment(&self, side: usize) -> Augment {
        Augment { padding: Augment::usual_padding(side), flip: !matches!(self, Self::Idx(_)) }
    }

    /// The name before the colon and the folder behind it.
    fn parts(&self) -> (&'static str, Option<&Path>) {
        match self {
            Self::FashionMnistMini => ("fashion-mnist-mini", None),
            Self::Idx(at) => ("idx", Some(at)),
            Self::Cifar10(at) => ("cifar10", Some(at)),
            Self::ImageFolder(at) => ("imagefolder", Some(at)),
        }
    }
}

impl fmt::Display for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (name, None) => f.pad(name),
            (name, Some(folder)) => f.pad(&format!("{name}:{}", folder.display())),
        }
    }
}

impl FromStr for DataSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, folder) = match text.split_once(':') {
            Some((name, folder)) => (name, Some(folder)),
            None => (text, None),
        };
        let with_folder = |make: fn(PathBuf) -> Self| match folder {
            Some(folder) if !folder.is_empty() => Ok(make(PathBuf::from(folder))),
            _ => Err(Error::bad_value("--data", text, format!("expected a folder: `{name}:DIR`"))),
        };
        match name {
            "fashion-mnist-mini" if folder.is_none() => Ok(Self::FashionMnistMini),
            "fashion-mnist-mini" => Err(Error::bad_value("--data", text, "the embedded data takes no folder")),
            "idx" => with_folder(Self::Idx),
            "cifar10" => with_folder(Self::Cifar10),
            "imagefolder" => with_folder(Self::ImageFolder),
            _ => Err(Error::unknown_name("--data", name, NAMES)),
        }
    }
}

impl TryFrom<String> for DataSource {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<DataSource> for String {
    fn from(source: DataSource) -> Self {
        source.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        for text in ["fashion-mnist-mini", "idx:a/b", "cifar10:data", "imagefolder:C:\\images"] {
            let source: DataSource = text.parse().unwrap();
            assert_eq!(source.to_string(), text);
            let json = serde_json::to_string(&source).unwrap();
            assert_eq!(serde_json::from_str::<DataSource>(&json).unwrap(), source);
        }
        assert_eq!(DataSource::default(), DataSource::FashionMnistMini);
    }

    #[test]
    fn wrong_text_gets_the_nearest_form() {
        let message = |text: &str| text.parse::<DataSource>().unwrap_err().to_string();
        assert!(message("cifar:x").contains("did you mean `cifar10:DIR`"));
        assert!(message("fashion-mnist").contains("did you mean `fashion-mnist-mini`"));
        assert!(message("imagenet:x").contains("did you mean `imagefolder:DIR`"));
        assert!(message("idx").contains("`idx:DIR`"));
        assert!(message("idx:").contains("`idx:DIR`"));
        assert!(message("fashion-mnist-mini:x").contains("no folder"));
    }

    #[test]
    fn network_size_is_reached_by_resizing() {
        let mut transform = DataSource::FashionMnistMini.transform();
        transform.resize = Some(32);
        let images = DataSource::FashionMnistMini.load(Split::Test, &transform).unwrap();
        assert_eq!((images.shape().c, images.shape().h, images.shape().w), (1, 32, 32));
        assert_eq!(images.pixels(9_999).unwrap().len(), 1024);
    }
}
