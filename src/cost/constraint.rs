//! A hard limit on one cost: `gbops<=0.1`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::error::Result;

use super::Costs;

/// A cost that can be limited or minimised, by its name in tables and JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Metric {
    /// Multiply-accumulates.
    Macs,
    /// Bit operations in 1e9.
    Gbops,
    /// Size in 1e6 bytes.
    SizeMb,
    /// Activation memory in 1e3 bytes.
    ActMemKb,
    /// Trained parameters.
    Params,
    /// Mean weight bits.
    AvgWBits,
    /// Mean activation bits.
    AvgABits,
    /// Latency in milliseconds.
    LatencyMs,
}

const NAMES: [(Metric, &str); 8] = [
    (Metric::Macs, "macs"),
    (Metric::Gbops, "gbops"),
    (Metric::SizeMb, "size_mb"),
    (Metric::ActMemKb, "act_mem_kb"),
    (Metric::Params, "params"),
    (Metric::AvgWBits, "avg_w_bits"),
    (Metric::AvgABits, "avg_a_bits"),
    (Metric::LatencyMs, "latency_ms"),
];

impl Metric {
    /// Every metric.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(metric, _)| *metric)
    }

    /// The name, with its unit.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(metric, _)| *metric == self).map_or("", |(_, name)| *name)
    }

    /// This cost's value; `None` for a latency that no table gave.
    pub fn of(self, costs: &Costs) -> Option<f64> {
        match self {
            Self::Macs => Some(costs.macs as f64),
            Self::Gbops => Some(costs.gbops),
            Self::SizeMb => Some(costs.size_mb),
            Self::ActMemKb => Some(costs.act_mem_kb),
            Self::Params => Some(costs.params as f64),
            Self::AvgWBits => Some(costs.avg_w_bits),
            Self::AvgABits => Some(costs.avg_a_bits),
            Self::LatencyMs => costs.latency_ms,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Metric {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let name = text.trim();
        let found = NAMES.iter().find(|(_, known)| *known == name).map(|(metric, _)| *metric);
        found.ok_or_else(|| Error::unknown_name("cost", name, NAMES.iter().map(|(_, known)| *known)))
    }
}

/// An upper limit on one cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Constraint {
    /// The cost.
    pub metric: Metric,
    /// The largest allowed value, or the smallest forbidden one.
    pub limit: f64,
    /// Whether the limit itself is forbidden (`<`).
    pub strict: bool,
}

impl Constraint {
    /// How far the costs exceed the limit, relative to it: 0 when met, 0.5 for half as much again. At a strict limit that
    /// is hit exactly the excess is the smallest number above 0; an unknown latency exceeds every limit.
    pub fn violation(&self, costs: &Costs) -> f64 {
        match self.metric.of(costs) {
            None => f64::INFINITY,
            Some(value) if value > self.limit => value / self.limit - 1.0,
            Some(value) if self.strict && value >= self.limit => f64::EPSILON,
            Some(_) => 0.0,
        }
    }
}

impl FromStr for Constraint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let shape =
            || Error::bad_value("constraint", text, "COST<=NUMBER, as in `gbops<=0.1`; costs have upper limits");
        let (metric, limit) = text.split_once('<').ok_or_else(shape)?;
        let (strict, limit) = limit.strip_prefix('=').map_or((true, limit), |limit| (false, limit));
        let metric = metric.parse()?;
        let limit: f64 = limit.trim().parse().map_err(|_| shape())?;
        if !(limit.is_finite() && limit > 0.0) {
            return Err(Error::bad_value("constraint", text, "the limit must be a finite number above 0"));
        }
        Ok(Self { metric, limit, strict })
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.metric, if self.strict { "<" } else { "<=" }, self.limit)
    }
}

impl TryFrom<String> for Metric {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Metric> for String {
    fn from(value: Metric) -> Self {
        value.to_string()
    }
}

impl TryFrom<String> for Constraint {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Constraint> for String {
    fn from(value: Constraint) -> Self {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(gbops: f64) -> Costs {
        Costs {
            macs: 1,
            gbops,
            size_mb: 1.0,
            act_mem_kb: 1.0,
            params: 1,
            avg_w_bits: 4.0,
            avg_a_bits: 4.0,
            latency_ms: None,
        }
    }

    #[test]
    fn limits_parse_and_print() {
        for (text, printed) in [("gbops<=0.1", "gbops<=0.1"), (" size_mb < 5e-2 ", "size_mb<0.05")] {
            assert_eq!(text.parse::<Constraint>().unwrap().to_string(), printed);
        }
        assert!("gbop<=1".parse::<Constraint>().unwrap_err().to_string().contains("did you mean `gbops`"));
        for bad in ["gbops>=1", "gbops=1", "gbops<=0", "gbops<=-1", "gbops<=nan", "gbops<=inf", "gbops<=", "gbops"] {
            assert!(bad.parse::<Constraint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn violation_is_the_relative_excess() {
        let at = |text: &str, gbops| text.parse::<Constraint>().unwrap().violation(&costs(gbops));
        assert!((at("gbops<=2", 3.0) - 0.5).abs() < 1e-12);
        assert!(at("gbops<=2", 2.0) <= 0.0 && at("gbops<2", 2.0) > 0.0 && at("gbops<2", 1.999) <= 0.0);
        assert!(at("latency_ms<=1", 1.0).is_infinite());
    }
}
