//! What is counted: the network as built, or the form the FLIQS paper's figures count.

use std::borrow::Cow;
use std::fmt;

use clap::ValueEnum;

use crate::network::Network;

/// A cost convention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Convention {
    /// Every multiplication of the network as built.
    #[default]
    Full,
    /// As the figures of FLIQS (Dotzel et al. 2024): ResNet-18 and -34 with a projection in stage 1 too, in the formats of
    /// that block's first convolution; attention without its products of activations.
    Fliqs,
}

impl Convention {
    /// The network this convention counts.
    pub fn counted(self, network: &Network) -> Cow<'_, Network> {
        match self {
            Self::Full => Cow::Borrowed(network),
            Self::Fliqs => network.in_tf_form().map_or(Cow::Borrowed(network), Cow::Owned),
        }
    }
}

impl fmt::Display for Convention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Full => "full",
            Self::Fliqs => "fliqs",
        })
    }
}
