//! `bitfront latency`: is a table to be trusted, what does it say, and tables from times measured elsewhere.

pub(super) mod compare;
mod import;
mod report;
mod verify;

use clap::{Args, Subcommand};

use super::Common;
use crate::error::Result;

/// Test a latency table, show what it says, make one from times measured elsewhere.
#[derive(Args, Debug)]
pub struct LatencyArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// The ways to use a table.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Predict and measure random networks
    Verify(verify::VerifyArgs),
    /// Compare the times of two tables
    Compare(compare::CompareArgs),
    /// What narrow formats gain, by operator, width and map
    Report(report::ReportArgs),
    /// Make a table from a CSV of times measured elsewhere
    Import(import::ImportArgs),
}

impl LatencyArgs {
    /// Whether it writes what `--out` names, and whether it draws random numbers.
    pub(super) fn takes(&self) -> (bool, bool) {
        match self.what {
            What::Verify(_) => (false, true),
            What::Report(_) | What::Compare(_) => (false, false),
            What::Import(_) => (true, false),
        }
    }
}

/// Runs one of them.
///
/// # Errors
/// Whatever it fails with.
pub fn run(args: &LatencyArgs, common: &Common) -> Result<()> {
    match &args.what {
        What::Verify(args) => verify::run(args, common),
        What::Compare(args) => compare::run(args, common),
        What::Report(args) => report::run(args, common),
        What::Import(args) => import::run(args, common),
    }
}
