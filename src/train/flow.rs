//! The numbers that operators of a training hand one another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The numbers that operators of a training hand one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flow {
    /// Floats, as the network's quantizers leave them.
    #[default]
    Float32,
    /// INT8 in blocks of 32 x 32 with stochastic gradients.
    Int8Blocks,
}

const FLOWS: [(Flow, &str); 2] = [(Flow::Float32, "float32"), (Flow::Int8Blocks, "int8-blocks")];

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(FLOWS.iter().find(|(flow, _)| flow == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Flow {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = FLOWS.iter().find(|(_, name)| *name == text).map(|(flow, _)| *flow);
        found.ok_or_else(|| Error::unknown_name("--flow", text, FLOWS.iter().map(|(_, name)| *name)))
    }
}
