//! The measurements of a profile: every kernel in several rounds, each saved when it is made.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cost::latency::{Kernel, Row, Table};
use crate::error::{Error, Result};
use crate::stats::median;

/// Rounds through all kernels: what slows the machine for a while slows one round of each.
pub const ROUNDS: usize = 7;

/// The rows measured so far, one file a round.
#[derive(Debug)]
pub struct Saved {
    folder: PathBuf,
    rounds: Vec<Vec<Row>>,
}

impl Saved {
    /// Reads what an interrupted profile left in its folder. A last line that a kill cut off is dropped.
    ///
    /// # Errors
    /// A file cannot be read, or a complete line is no kernel.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            let path = file(folder, round);
            let rows = match std::fs::read_to_string(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(Error::io(&path, error)),
                Ok(text) => {
                    let complete = text.rfind('\n').map_or(0, |end| end + 1);
                    if complete < text.len() {
                        std::fs::write(&path, &text[..complete]).map_err(|error| Error::io(&path, error))?;
                    }
                    let lines = text[..complete].lines().count();
                    if lines < 2 { Vec::new() } else { Table::parse(&text[..complete], &path)?.rows }
                }
            };
            rounds.push(rows);
        }
        Ok(Self { folder: folder.to_path_buf(), rounds })
    }

    /// Whether a round has a kernel.
    pub fn has(&self, round: usize, kernel: &Kernel) -> bool {
        self.rounds[round].iter().any(|row| row.kernel == *kernel)
    }

    /// Appends a measurement, in one write.
    ///
    /// # Errors
    /// It cannot be written; earlier ones are safe.
    pub fn append(&mut self, round: usize, row: Row) -> Result<()> {
        let path = file(&self.folder, round);
        let text = Table { rows: vec![row.clone()] }.text()?;
        let new = self.rounds[round].is_empty();
        let line = if new { text.as_str() } else { text.split_once('\n').map_or("", |(_, line)| line) };
        let io = |error| Error::io(&path, error);
        let mut to = OpenOptions::new().create(true).append(!new).write(true).truncate(new).open(&path).map_err(io)?;
        to.write_all(line.as_bytes()).map_err(io)?;
        self.rounds[round].push(row);
        Ok(())
    }

    /// The rows of each round.
    pub fn rounds(&self) -> &[Vec<Row>] {
        &self.rounds
    }

    /// Removes the files.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn remove(self) -> Result<()> {
        for round in 0..ROUNDS {
            let path = file(&self.folder, round);
            if path.exists() {
                std::fs::remove_file(&path).map_err(|error| Error::io(&path, error))?;
            }
        }
        Ok(())
    }
}

fn file(folder: &Path, round: usize) -> PathBuf {
    folder.join(format!("round{}.partial.csv", round + 1))
}

/// A row a kernel from its rounds: the medians of each number, all runs.
pub fn combined(kernels: &[Kernel], rounds: &[Vec<Row>]) -> Vec<Row> {
    let mut by_kernel: HashMap<Kernel, Vec<&Row>> = HashMap::new();
    for row in rounds.iter().flatten() {
        by_kernel.entry(row.kernel).or_default().push(row);
    }
    let row = |kernel: &Kernel| {
        let rows = by_kernel.get(kernel)?;
        let of = |number: fn(&Row) -> f64| {
            median(&rows.iter().map(|row| number(row)).collect::<Vec<f64>>()).unwrap_or_default()
        };
        let median_us = of(|row| row.median_us);
        Some(Row {
            kernel: *kernel,
            batch: rows[0].batch,
            runs: rows.iter().map(|row| row.runs).sum(),
            median_us,
            p10_us: of(|row| row.p10_us).min(median_us),
            p90_us: of(|row| row.p90_us).max(median_us),
            mad_us: of(|row| row.mad_us),
        })
    };
    kernels.iter().filter_map(row).collect()
}
