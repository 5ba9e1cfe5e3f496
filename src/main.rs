//! The `bitfront` program.

use std::process::ExitCode;

use bitfront::cli::Cli;
use bitfront::cli::run;
use bitfront::progress;
use clap::Parser;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::say(&format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}
