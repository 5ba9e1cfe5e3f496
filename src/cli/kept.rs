//! Rows that a verb keeps as CSV, so that a rerun goes on where it stopped.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cli::common::write_result;
use crate::error::{Error, Result};

/// The rows of a file; `None` where there is no file.
///
/// # Errors
/// It cannot be read or holds something else; the line is named.
pub(super) fn kept<T: DeserializeOwned>(path: &Path) -> Result<Option<Vec<T>>> {
    if !path.is_file() {
        return Ok(None);
    }
    let bad = |error: csv::Error| Error::bad_file(path, error.to_string());
    csv::Reader::from_path(path).map_err(bad)?.deserialize().collect::<csv::Result<_>>().map(Some).map_err(bad)
}

/// Writes rows, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub(super) fn keep<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().try_for_each(|row| writer.serialize(row)).map_err(|error| Error::bad_file(path, error.to_string()))?;
    let bytes = writer.into_inner().map_err(|error| Error::bad_file(path, error.to_string()))?;
    write_result(Some(path), &String::from_utf8_lossy(&bytes))
}
