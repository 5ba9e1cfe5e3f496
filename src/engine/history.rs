//! `history.csv`, one row a candidate, appended as candidates are evaluated; and `pareto.csv`, its tested candidates.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic::write_atomically;
use crate::cost::Costs;
use crate::error::{Error, Result};
use crate::genome::Genome;

/// What a row's candidate is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Found by the run's algorithm.
    #[default]
    Searched,
    /// A network in one format, evaluated for comparison.
    Uniform,
    /// Found by the random search that runs beside.
    Baseline,
    /// Repaired to meet a hard limit.
    Repaired,
}

/// One candidate, in the columns of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Number of the candidate in this run.
    pub id: usize,
    /// Candidate it was derived from.
    pub parent_id: Option<usize>,
    /// Generation that proposed it.
    pub generation: usize,
    /// What it is.
    pub status: Status,
    /// Whether it meets every hard limit.
    pub feasible: bool,
    /// Validation top-1 in percent.
    pub top1: f64,
    /// Validation loss.
    pub loss: Option<f64>,
    /// Bit operations in 1e9.
    pub gbops: f64,
    /// Size of the packed weights in 1e6 bytes.
    pub size_mb: f64,
    /// Largest sum of live activations in 1e3 bytes.
    pub act_mem_kb: f64,
    /// Predicted latency.
    pub latency_ms: Option<f64>,
    /// Parameters.
    pub params: u64,
    /// Mean weight bits, by parameters.
    pub avg_w_bits: f64,
    /// Mean activation bits, by elements.
    pub avg_a_bits: f64,
    /// Seconds of this session when the row was written.
    #[serde(default)]
    pub wall_s: f64,
    /// Seed of the run.
    pub seed: u64,
    /// The choices.
    pub genome: Genome,
}

impl Row {
    /// Fills the cost columns.
    #[must_use]
    pub fn with_costs(mut self, costs: &Costs) -> Self {
        self.gbops = costs.gbops;
        self.size_mb = costs.size_mb;
        self.act_mem_kb = costs.act_mem_kb;
        self.latency_ms = costs.latency_ms;
        self.params = costs.params;
        self.avg_w_bits = costs.avg_w_bits;
        self.avg_a_bits = costs.avg_a_bits;
        self
    }
}

/// The file of what is added to candidates' top-1, beside a history.
fn bonus_file(history: &Path) -> PathBuf {
    history.with_file_name("state").join("friendliness.csv")
}

fn read_bonuses(path: &Path) -> Result<BTreeMap<usize, f64>> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(BTreeMap::new()) };
    let row = |(at, line): (usize, &str)| {
        let read = line.split_once(',').and_then(|(id, bonus)| Some((id.parse().ok()?, bonus.parse().ok()?)));
        read.ok_or_else(|| Error::bad_file(path, format!("line {}: expected id,bonus", at + 1)))
    };
    text.lines().enumerate().skip(1).map(row).collect()
}

/// The file, open for appending.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    file: File,
    /// The rows in the file.
    pub rows: Vec<Row>,
    /// What was added to the top-1 of candidates, where something was.
    bonuses: BTreeMap<usize, f64>,
}

impl History {
    /// Opens or begins the file. A last line that a kill cut off is dropped; every complete row stays.
    ///
    /// # Errors
    /// The file cannot be opened, or a complete line is not a row.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |error| Error::io(path, error);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(complete as u64).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        let rows = read_rows(path, &text[..complete])?;
        let bonuses = read_bonuses(&bonus_file(path))?;
        Ok(Self { path: path.to_path_buf(), file, rows, bonuses })
    }

    /// What was added to a candidate's top-1 while it was searched.
    pub fn bonus(&self, id: usize) -> f64 {
        self.bonuses.get(&id).copied().unwrap_or_default()
    }

    /// Keeps what is added to a candidate's top-1, for a resumed run; nothing where it is 0.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remember_bonus(&mut self, id: usize, bonus: f64) -> Result<()> {
        if bonus.abs() > 0.0 {
            self.bonuses.insert(id, bonus);
            let lines: String = self.bonuses.iter().map(|(id, bonus)| format!("{id},{bonus}\n")).collect();
            write_atomically(bonus_file(&self.path), |out| write!(out, "id,bonus\n{lines}"))?;
        }
        Ok(())
    }

    /// Appends a row, in one write.
    ///
    /// # Errors
    /// The row cannot be written (a full disk); earlier rows are safe.
    pub fn append(&mut self, row: Row) -> Result<()> {
        let first = self.rows.is_empty();
        let line = csv_text(std::slice::from_ref(&row), first)?;
        self.file.write_all(line.as_bytes()).map_err(|error| Error::io(&self.path, error))?;
        self.file.flush().map_err(|error| Error::io(&self.path, error))?;
        self.rows.push(row);
        Ok(())
    }
}

/// Reads rows, for reports.
///
/// # Errors
/// The file is missing or a line is not a row.
pub fn read_history(path: &Path) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
    read_rows(path, &text)
}

fn read_rows(path: &Path, text: &str) -> Result<Vec<Row>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    if !text.is_empty() {
        check_header(path, &mut reader)?;
    }
    let rows = reader.deserialize().map(|row| {
        let row: Row = row.map_err(|error| Error::bad_file(path, error.to_string()))?;
        if (0.0..=100.0).contains(&row.top1) {
            return Ok(row);
        }
        Err(Error::bad_file(path, format!("candidate {}: top1 `{}`: must be from 0 to 100", row.id, row.top1)))
    });
    rows.collect()
}

/// Refuses a file whose first line does not begin as a history's does.
fn check_header(path: &Path, reader: &mut csv::Reader<impl Read>) -> Result<()> {
    let header = reader.headers().map_err(|error| Error::bad_file(path, error.to_string()))?;
    if header.get(0) == Some("id") && header.iter().any(|name| name == "genome") {
        return Ok(());
    }
    Err(Error::bad_file(path, "line 1: not the header of a table of candidates (`id, parent_id, ..., genome`)"))
}

/// Rows as CSV text.
pub(super) fn csv_text<T: Serialize>(rows: &[T], header: bool) -> Result<String> {
    let mut writer = csv::WriterBuilder::new().has_headers(header).from_writer(Vec::new());
    let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("cannot write a CSV row: {error}"));
    for row in rows {
        writer.serialize(row).map_err(|error| failed(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

/// A candidate with its accuracy on the test images.
#[derive(Clone, Debug, PartialEq)]
pub struct Tested {
    /// The candidate.
    pub row: Row,
    /// Test top-1 in percent.
    pub test_top1: f64,
    /// Measured latency in milliseconds, where there is a target.
    pub latency_meas_ms: Option<f64>,
}

/// Name of the column that only the history has.
const ONLY_HISTORY: &str = "wall_s";

/// Tested candidates as CSV text: the history's columns but `wall_s`, then `test_top1` and `latency_meas_ms`.
///
/// # Errors
/// Never for valid rows; a writer's failure is passed on.
pub fn tested_text(tested: &[Tested]) -> Result<String> {
    let rows: Vec<&Row> = tested.iter().map(|candidate| &candidate.row).collect();
    let plain = csv_text(&rows, true)?;
    let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("cannot write a CSV row: {error}"));
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(plain.as_bytes());
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut dropped = usize::MAX;
    for (line, record) in reader.records().enumerate() {
        let record = record.map_err(|error| failed(&error))?;
        let more = match line.checked_sub(1) {
            None => {
                dropped = record.iter().position(|name| name == ONLY_HISTORY).unwrap_or(usize::MAX);
                ["test_top1".to_owned(), "latency_meas_ms".to_owned()]
            }
            Some(at) => {
                let measured = tested[at].latency_meas_ms.map(|ms| ms.to_string());
                [tested[at].test_top1.to_string(), measured.unwrap_or_default()]
            }
        };
        let kept = record.iter().enumerate().filter(|(column, _)| *column != dropped).map(|(_, field)| field);
        writer.write_record(kept.chain(more.iter().map(String::as_str))).map_err(|error| failed(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

/// Reads what [`tested_text`] wrote.
///
/// # Errors
/// The file is missing or a line is not such a row.
pub fn read_tested(path: &Path) -> Result<Vec<Tested>> {
    #[derive(Deserialize)]
    struct Columns {
        test_top1: f64,
        latency_meas_ms: Option<f64>,
    }
    let bad = |error: csv::Error| Error::bad_file(path, error.to_string());
    // A table of no candidates has no header either.
    if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
        return Ok(Vec::new());
    }
    let mut reader = csv::Reader::from_path(path).map_err(bad)?;
    check_header(path, &mut reader)?;
    let header = reader.headers().map_err(bad)?.clone();
    let tested = |record: csv::Result<csv::StringRecord>| {
        let record = record.map_err(bad)?;
        let row = record.deserialize(Some(&header)).map_err(bad)?;
        let Columns { test_top1, latency_meas_ms } = record.deserialize(Some(&header)).map_err(bad)?;
        Ok(Tested { row, test_top1, latency_meas_ms })
    };
    reader.records().map(tested).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: usize) -> Row {
        Row {
            id,
            parent_id: None,
            generation: 0,
            status: Status::Searched,
            feasible: true,
            top1: 100.0 / 3.0,
            loss: Some(0.1),
            gbops: 0.3,
            size_mb: 0.1,
            act_mem_kb: 12.5,
            latency_ms: None,
            params: 10,
            avg_w_bits: 4.0,
            avg_a_bits: 8.0,
            wall_s: 1.0,
            seed: 0,
            genome: Genome(vec![1, 2]),
        }
    }

    #[test]
    fn a_table_of_no_candidates_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uniform.csv");
        std::fs::write(&path, tested_text(&[]).unwrap()).unwrap();
        assert_eq!(read_tested(&path).unwrap().len(), 0);
    }

    #[test]
    fn rows_come_back_to_the_last_bit_and_a_torn_line_is_dropped() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("history.csv");
        let mut history = History::open(&path).unwrap();
        history.append(row(0)).unwrap();
        history.append(row(1)).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        for cut in 1..30 {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let history = History::open(&path).unwrap();
            assert_eq!(history.rows, [row(0)]);
        }
        let mut history = History::open(&path).unwrap();
        history.append(row(1)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        assert_eq!(read_history(&path).unwrap(), [row(0), row(1)]);
    }

    #[test]
    fn tested_candidates_come_back_without_wall_time() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("pareto.csv");
        let row = Row { wall_s: 0.0, ..row(3) };
        let tested = Tested { row, test_top1: 200.0 / 7.0, latency_meas_ms: Some(1.0 / 3.0) };
        let text = tested_text(std::slice::from_ref(&tested)).unwrap();
        assert!(!text.contains("wall_s") && text.lines().next().unwrap().ends_with("genome,test_top1,latency_meas_ms"));
        std::fs::write(&path, text).unwrap();
        assert_eq!(read_tested(&path).unwrap(), [tested]);
    }
}
