//! Options that every verb takes, and what follows from them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use crate::atomic::{check_writable, write_atomically};
use crate::engine::MOST_THREADS;
use crate::engine::Session;
use crate::engine::device;
use crate::engine::set_threads;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::progress;

/// Options of every verb.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Root of all random streams [default: 0]
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// Folder of the run [default: runs/SPACE-N]; for export the file to write
    #[arg(long, global = true, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Replace what --out holds
    #[arg(long, global = true)]
    pub force: bool,
    /// Where to compute: cpu or cuda:N
    #[arg(long, global = true, default_value = "cpu")]
    pub device: String,
    /// Threads [default: all cores]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// One JSON object on stdout instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress on stderr
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// More on stderr
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
}

impl Common {
    /// The seed: as given, or 0.
    pub fn root(&self) -> u64 {
        self.seed.unwrap_or(0)
    }

    /// Number of threads: as given, or one a core.
    ///
    /// # Errors
    /// Zero threads.
    pub fn thread_count(&self) -> Result<usize> {
        match self.threads {
            Some(threads) if (1..=MOST_THREADS).contains(&threads) => Ok(threads),
            Some(threads) => Err(Error::bad_value("--threads", threads, format!("must be from 1 to {MOST_THREADS}"))),
            None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
        }
    }

    /// Sets threads, device and the Ctrl-C handler up.
    ///
    /// # Errors
    /// A device that is not there.
    pub fn session(&self, threads: usize, time_budget_s: Option<f64>) -> Result<Session> {
        let device = device(&self.device)?;
        set_threads(threads)?;
        interrupt::install()?;
        Ok(Session { device, quiet: self.quiet, started: Instant::now(), time_budget_s })
    }

    /// A line on stderr that only `-v` asks for.
    pub fn detail(&self, line: &str) {
        if self.verbose {
            progress::say(line);
        }
    }
}

/// Prints a result on stdout; a reader that closed the pipe is no failure.
///
/// # Errors
/// stdout cannot be written.
pub fn print(text: &str) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("stdout", error)),
        _ => Ok(()),
    }
}

/// The value of `--write`: a file that can be written, seen before hours of measuring and not behind them.
///
/// # Errors
/// Why it cannot.
pub fn result_file(text: &str) -> std::result::Result<PathBuf, String> {
    check_writable(text).map(|()| PathBuf::from(text)).map_err(|error| format!("cannot be written: {error}"))
}

/// What options inside of an option are refused for, in one line.
pub fn reason(error: &clap::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Writes a benchmark's Markdown where `--write` says, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write_result(path: Option<&Path>, text: &str) -> Result<()> {
    match path {
        Some(path) => write_atomically(path, |out| out.write_all(text.as_bytes())),
        None => Ok(()),
    }
}

/// The command line of this process, for the head of what a benchmark writes; not the shell's way of starting it.
pub fn written_by(threads: usize) -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words = shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "));
    let many = if threads == 1 { "" } else { "s" };
    format!("Written by `bitfront {words}` (bitfront {}, {threads} thread{many})", env!("CARGO_PKG_VERSION"))
}
