//! Which networks the claims are put to the test on, as a table.
//!
//! The full protocol repeats the ImageNet experiments of FLIQS: its widths, both of its sets of formats, integers and floats.
//! The paper's schedule is not known to us; ours is that of the constants below. The scaled protocol puts the same questions
//! to small networks of the same families on images of 28 or 32 pixels.

use super::cell::{FormatSet, Numbers, Purpose};

/// Changes with everything that makes finished cells no longer comparable.
pub(super) const VERSION: u32 = 1;

/// Cost that the searches of small networks aim at, as a share of the int8 cost: 1.5 times that of uniform 4 bits, as the
/// authors of FLIQS set their targets.
const SMALL_TARGET: &[f64] = &[0.375];

const BOTH: &[Numbers] = &[Numbers::Int, Numbers::Fp];
const FLOATS: &[Numbers] = &[Numbers::Fp];
const SETS: &[FormatSet] = &[FormatSet::S, FormatSet::L];
/// How much of the papers' experiments a protocol repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Small networks of the family.
    Scaled,
    /// The published networks on ImageNet.
    Full,
}

/// The experiments on one family of networks.
#[derive(Debug)]
pub struct Protocol {
    /// Its name, also that of its files.
    pub name: &'static str,
    /// How much it repeats.
    pub extent: Extent,
    /// Models of the published figures: the first is drawn, all are priced.
    pub published: &'static [&'static str],
    /// Passes over the training images of every training.
    pub epochs: usize,
    /// Images a step.
    pub batch: usize,
    /// Highest learning rate; the model's usual one where not said.
    pub lr: Option<f64>,
    /// Seeds of a run.
    pub seeds: u64,
    /// Whether trainings start from given weights.
    pub pretrained: bool,
    /// Search space that the networks are taken from: file name and text.
    pub(super) space: (&'static str, &'static str),
    /// Model instead of the space's.
    pub(super) model: Option<&'static str>,
    /// Kinds of numbers.
    pub(super) numbers: &'static [Numbers],
    /// Searches.
    pub(super) sets: &'static [FormatSet],
    /// Factors on the widths of the space.
    pub(super) widths: &'static [f64],
    /// Shares of the int8 cost; empty for the published cost of FLIQS-L in floats.
    pub(super) targets: &'static [f64],
    /// Networks that only some claim needs: floats in FLIQS-L at width 1.
    pub(super) extras: &'static [Purpose],
}

macro_rules! shipped {
    ($name:literal) => {
        (concat!("search_spaces/", $name), include_str!(concat!("../../search_spaces/", $name)))
    };
}

/// The space of joint search; its operators are the open ones.
pub(super) const ELASTIC: (&str, &str) = shipped!("mobilenet_v2_fashion_elastic.ron");

const RESNET: Protocol = Protocol {
    name: "resnet",
    extent: Extent::Scaled,
    published: &["resnet18", "resnet50"],
    epochs: 5,
    batch: 32,
    lr: None,
    seeds: 3,
    pretrained: false,
    space: shipped!("resnet8_fashion.ron"),
    model: None,
    numbers: BOTH,
    sets: SETS,
    widths: &[1.0, 1.5],
    targets: SMALL_TARGET,
    extras: &[Purpose::Scratch, Purpose::NoEntropy],
};

const IMAGENET: Protocol = Protocol {
    name: "resnet18",
    extent: Extent::Full,
    published: &["resnet18"],
    epochs: 90,
    batch: 128,
    lr: Some(0.1),
    seeds: 1,
    pretrained: false,
    space: shipped!("resnet18_imagenet.ron"),
    model: None,
    numbers: BOTH,
    sets: SETS,
    widths: &[0.5, 0.75, 1.0, 1.25, 1.5, 2.0],
    targets: &[],
    extras: &[],
};

/// The scaled protocols.
pub(super) static SCALED: [Protocol; 4] = [
    RESNET,
    Protocol {
        name: "mobilenet",
        // Fewer than ResNet's five: its steps are three times as long, and two cores shall be done in an hour and a half.
        epochs: 3,
        published: &["mobilenet_v2"],
        space: shipped!("mobilenet_v2_fashion.ron"),
        numbers: FLOATS,
        widths: &[1.0],
        extras: &[Purpose::Joint],
        ..RESNET
    },
    Protocol {
        name: "vit",
        epochs: 3,
        published: &["deit_small"],
        space: shipped!("vit_fashion.ron"),
        numbers: FLOATS,
        widths: &[1.0],
        extras: &[],
        ..RESNET
    },
    Protocol {
        name: "resnet20",
        published: &["resnet18"],
        epochs: 2,
        batch: 64,
        lr: Some(0.02),
        pretrained: true,
        space: shipped!("resnet20_cifar10.ron"),
        numbers: FLOATS,
        sets: &[FormatSet::L],
        widths: &[1.0],
        targets: &[0.35, 0.5, 0.75],
        extras: &[],
        ..RESNET
    },
];

/// The full protocols, each with the name of its family's scaled one.
pub(super) static FULL: [(Protocol, &str); 4] = [
    (IMAGENET, "resnet"),
    (Protocol { name: "resnet50", published: &["resnet50"], model: Some("resnet50"), ..IMAGENET }, "resnet"),
    (
        Protocol {
            name: "mobilenet_v2",
            published: &["mobilenet_v2"],
            lr: None,
            model: Some("mobilenet_v2"),
            widths: &[0.25, 0.5, 1.0, 1.4],
            ..IMAGENET
        },
        "mobilenet",
    ),
    (
        Protocol {
            name: "deit_small",
            published: &["deit_small"],
            lr: None,
            model: Some("deit_small"),
            // 288, 384, 576, 672 and 768 features.
            widths: &[0.75, 1.0, 1.5, 1.75, 2.0],
            ..IMAGENET
        },
        "vit",
    ),
];
