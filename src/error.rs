//! The one error type, and the nearest known name for a misspelt one.

use std::path::{Path, PathBuf};

/// What went wrong, grouped by who can mend it. [`Error::exit_code`] maps the group to the process exit code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a file operation (missing, no permission, disk full).
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason the system gave.
        source: std::io::Error,
    },
    /// A file was read but its content is wrong: truncated, of another kind, of the wrong shape.
    #[error("{path}: {what}")]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong in it, where, and what was expected.
        what: String,
    },
    /// A value the user gave is not usable.
    #[error("{key}{}: {expected}", quoted(value))]
    BadValue {
        /// The option, field or argument.
        key: String,
        /// What was given.
        value: String,
        /// The allowed range or the nearest valid name.
        expected: String,
    },
    /// No candidate can meet the hard limits.
    #[error("nothing feasible: {0}")]
    Infeasible(String),
    /// Something failed while running: a NaN loss, a libtorch error.
    #[error("{0}")]
    Failed(String),
    /// Verification of a result failed.
    #[error("verification failed: {0}")]
    Unverified(String),
    /// The user interrupted; the state is saved.
    #[error("interrupted{0}")]
    Interrupted(String),
}

/// Result with the crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A file-system failure at `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// Wrong content of the file at `path`.
    pub fn bad_file(path: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Self::BadFile { path: path.as_ref().to_path_buf(), what: what.into() }
    }

    /// An unusable value; `expected` names the allowed range or the nearest valid name.
    pub fn bad_value(key: impl Into<String>, value: impl ToString, expected: impl Into<String>) -> Self {
        Self::BadValue { key: key.into(), value: value.to_string(), expected: expected.into() }
    }

    /// A name that is not among `known`; the message offers the nearest one.
    pub fn unknown_name<'a>(key: &str, value: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let expected = match nearest(value, known.iter().copied()) {
            Some(near) => format!("not known; did you mean `{near}`? Known: {}", known.join(", ")),
            None => format!("not known. Known: {}", known.join(", ")),
        };
        Self::bad_value(key, value, expected)
    }

    /// An option that was not given and has no default.
    pub fn missing_option(key: &str, expected: &str) -> Self {
        Self::bad_value(key, "", expected)
    }

    /// Exit code: 1 failed while running, 2 bad usage or data, 3 nothing feasible, 4 unverified, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => 1,
            Self::Io { .. } | Self::BadFile { .. } | Self::BadValue { .. } => 2,
            Self::Infeasible(_) => 3,
            Self::Unverified(_) => 4,
            Self::Interrupted(_) => 130,
        }
    }
}

/// The known name most like `name` (Jaro-Winkler similarity of at least 0.7), if any.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A value as messages show it; nothing where there is none.
fn quoted(value: &str) -> String {
    if value.is_empty() { String::new() } else { format!(" `{value}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_name_gets_the_nearest_one() {
        assert_eq!(nearest("in8", ["int4", "int8", "float32"]), Some("int8"));
        assert_eq!(nearest("zzz", ["int4", "int8"]), None);
    }

    #[test]
    fn exit_codes_follow_the_design() {
        assert_eq!(Error::Failed(String::new()).exit_code(), 1);
        assert_eq!(Error::bad_value("--x", 1, "0 or 2").exit_code(), 2);
        assert_eq!(Error::Infeasible(String::new()).exit_code(), 3);
        assert_eq!(Error::Interrupted(String::new()).exit_code(), 130);
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(Error::io("x", full).exit_code(), 1);
    }
}
