//! How the error of a layer's output is measured.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metric {
    /// Squared error.
    #[default]
    Output,
    /// Squared error, each output's by the squared gradient of the loss there (the diagonal of Fisher's matrix).
    Fisher,
}

const NAMES: [(Metric, &str); 2] = [(Metric::Output, "output"), (Metric::Fisher, "fisher")];

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(NAMES.iter().find(|(metric, _)| metric == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Metric {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = NAMES.iter().find(|(_, name)| *name == text).map(|(metric, _)| *metric);
        found.ok_or_else(|| Error::unknown_name("--joint", text, NAMES.iter().map(|(_, name)| *name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_read_as_they_print() {
        for (metric, name) in NAMES {
            assert_eq!((name.parse::<Metric>().unwrap(), metric.to_string()), (metric, name.to_owned()));
        }
        assert!("fischer".parse::<Metric>().unwrap_err().to_string().contains("did you mean `fisher`"));
    }
}
