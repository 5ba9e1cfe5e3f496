//! What counts as a cost of a network: a convention, and the device it is meant for.

use std::sync::Arc;

use super::latency::Target;
use super::{Convention, Costs};
use crate::error::Result;
use crate::network::Network;

/// How networks are priced.
#[derive(Clone, Debug, Default)]
pub struct Pricing {
    /// What is counted.
    pub convention: Convention,
    /// The device whose latency is predicted, if any.
    pub target: Option<Arc<Target>>,
}

impl Pricing {
    /// All costs of a network, latency included where there is a target whose table has its kernels.
    pub fn costs(&self, network: &Network) -> Costs {
        let latency_ms = self.latency(network).ok().flatten();
        Costs { latency_ms, ..Costs::of(network, self.convention) }
    }

    /// Predicted latency in milliseconds; `None` without a target.
    ///
    /// # Errors
    /// The table lacks a kernel of the network.
    pub fn latency(&self, network: &Network) -> Result<Option<f64>> {
        self.target.as_ref().map(|target| Ok(target.predict(network)?.latency_ms)).transpose()
    }
}

impl From<Convention> for Pricing {
    fn from(convention: Convention) -> Self {
        Self { convention, target: None }
    }
}
