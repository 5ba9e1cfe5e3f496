//! `bitfront latency compare`: do two tables say the same?

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::Common;
use crate::cli::common::print;
use crate::cost::latency::Target;
use crate::error::{Error, Result};
use crate::stats::{median, quantile};

/// Compare the times of two tables, such as one device measured twice.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  bitfront latency compare latency_tables/mine latency_tables/mine-again")]
pub struct CompareArgs {
    /// A table
    #[arg(value_name = "DIR")]
    pub first: PathBuf,
    /// The other one
    #[arg(value_name = "OTHER")]
    pub second: PathBuf,
}

/// Times of the second table over those of the first, for the kernels that both measured.
pub(in crate::cli) fn ratios(first: &Target, second: &Target) -> Vec<f64> {
    let ratio = |(kernel, us): (_, f64)| {
        let before = first.kernel_us(kernel).ok().filter(|(_, measured)| *measured)?.0;
        (before > 0.0).then(|| us / before)
    };
    second.measured().filter_map(ratio).collect()
}

/// Share of ratios that are off 1 by at most `bound`.
pub(in crate::cli) fn within(ratios: &[f64], bound: f64) -> f64 {
    ratios.iter().filter(|ratio| (*ratio - 1.0).abs() <= bound).count() as f64 / ratios.len().max(1) as f64
}

/// Prints how far two tables agree.
///
/// # Errors
/// A table cannot be read, or they have no kernel in common.
pub(super) fn run(args: &CompareArgs, common: &Common) -> Result<()> {
    let (first, second) = (Target::load(&args.first)?, Target::load(&args.second)?);
    let ratios = ratios(&first, &second);
    let Some(middle) = median(&ratios) else {
        let why = format!("has no kernel in common with {}", args.first.display());
        return Err(Error::bad_value("OTHER", args.second.display(), why));
    };
    let shares = [0.05, 0.1, 0.2].map(|bound| within(&ratios, bound));
    let [low, high] = [0.1, 0.9].map(|q| quantile(&ratios, q).unwrap_or_default());
    if common.json {
        let found = json!({ "kernels": ratios.len(), "within_5": shares[0], "within_10": shares[1], "within_20": shares[2],
            "median_ratio": middle, "p10": low, "p90": high });
        return print(&found.to_string());
    }
    let [five, ten, twenty] = shares.map(|share| format!("{:.1} %", 100.0 * share));
    print(&format!(
        "{} kernels in both: times within 5 % for {five} of them, within 10 % for {ten}, within 20 % for {twenty};\n\
         second over first: median {middle:.3}, a tenth below {low:.3}, a tenth above {high:.3}",
        ratios.len()
    ))
}
