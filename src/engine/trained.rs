//! What a run's candidates are made of: shared weights that every network adapts to, or one trained network, calibrated.

use std::sync::Arc;

use super::JudgingImages;
use crate::models::{Folded, Weights};
use crate::network::Network;
use crate::ptq::Calibrated;
use crate::train::prepare;

/// Trained weights, and how networks are made from them.
#[derive(Debug)]
pub enum Trained {
    /// Statistics and ranges are found anew for each network.
    Shared(Weights),
    /// Weights and ranges were found once, for every format.
    Calibrated(Arc<Calibrated>),
}

impl Trained {
    /// A further handle, for another thread.
    #[must_use]
    pub fn shallow_clone(&self) -> Self {
        match self {
            Self::Shared(weights) => Self::Shared(weights.shallow_clone()),
            Self::Calibrated(calibrated) => Self::Calibrated(calibrated.clone()),
        }
    }

    /// A network, ready to run.
    pub fn ready(&self, network: &Network, images: &JudgingImages) -> Folded {
        match self {
            Self::Shared(weights) => prepare(network, weights, images.evaluation()),
            Self::Calibrated(calibrated) => calibrated.ready(network, images.device()),
        }
    }
}
