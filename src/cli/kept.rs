//! Rows that a verb keeps as CSV, so that a rerun goes on where it stopped.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::cli::common::write_result;
use crate::error::{Error, Result};

/// The rows of a file; `None` where there is no file.
///
/// # Errors
/// It cannot be read or holds something else; the line is named.
pub(super) fn kept<T: DeserializeOwned>(path: &Path) -> Result<Option<Vec<T>>> {
    if !path.exists() {
        return Ok(None);
    }
    if !path.is_file() {
        return Err(Error::bad_file(path, "expected a file"));
    }
    let bad = |error: csv::Error| Error::bad_file(path, format!("{error}; move it away to begin anew"));
    csv::Reader::from_path(path).map_err(bad)?.deserialize().collect::<csv::Result<_>>().map(Some).map_err(bad)
}

/// A file by its name and the first digits of its content's SHA-256: what kept results must have been made with.
///
/// # Errors
/// It cannot be read.
pub(super) fn fingerprint(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    let digits: String = Sha256::digest(bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{} {digits}", name_of(path)))
}

/// The last part of a path.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
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
