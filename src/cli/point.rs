//! Formats of a whole network in short: `int4/int8@int8`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::formats::{Format, QuantSpec};
use crate::network::Network;

/// Formats of weights, activations, and both ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Of weights.
    pub weights: Format,
    /// Of activations.
    pub activations: Format,
    /// Of weights and activations of the first and the last layer, instead.
    pub ends: Option<Format>,
}

impl Point {
    /// Sets the formats of a network.
    pub fn assign(&self, network: &mut Network) {
        let layers = network.weighted().len();
        let at = |rank: usize, inner: Format| match self.ends {
            Some(ends) if rank == 0 || rank + 1 == layers => ends,
            _ => inner,
        };
        let weights: Vec<_> = (0..layers).map(|rank| QuantSpec::per_channel(at(rank, self.weights))).collect();
        let activations: Vec<_> = (0..layers).map(|rank| QuantSpec::per_tensor(at(rank, self.activations))).collect();
        network.assign(&weights, &activations);
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.weights)?;
        if self.activations != self.weights {
            write!(f, "/{}", self.activations)?;
        }
        self.ends.map_or(Ok(()), |ends| write!(f, "@{ends}"))
    }
}

impl FromStr for Point {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (inner, ends) = text.split_once('@').map_or((text, None), |(inner, ends)| (inner, Some(ends)));
        let (weights, activations) = inner.split_once('/').unwrap_or((inner, inner));
        let ends = ends.map(str::parse).transpose()?;
        Ok(Self { weights: weights.parse()?, activations: activations.parse()?, ends })
    }
}
