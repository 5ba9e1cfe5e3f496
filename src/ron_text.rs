//! Reading and writing RON, with errors that name the file, the line and the nearest valid key.
//!
//! Optional values are written bare (`resolution: 28`, not `Some(28)`).

use std::path::Path;

use ron::extensions::Extensions;
use serde::{Serialize, de::DeserializeOwned};

use crate::error::Error;
use crate::error::Result;
use crate::error::nearest;

fn options() -> ron::Options {
    ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME)
}

/// The value in the RON file at `path`.
///
/// # Errors
/// When the file cannot be read, and as [`parse`] does.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    parse(&std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?, path)
}

/// The value in a RON text; `path` is named in errors only.
///
/// # Errors
/// [`Error::BadFile`] with the line and, for an unknown key or name, the nearest valid one.
pub fn parse<T: DeserializeOwned>(text: &str, path: impl AsRef<Path>) -> Result<T> {
    options().from_str(text).map_err(|error| {
        let at = error.span.end;
        Error::bad_file(path, format!("line {}, column {}: {}", at.line, at.col, explain(&error.code)))
    })
}

/// A value as indented RON text.
///
/// # Errors
/// [`Error::Failed`] for a value RON cannot express.
pub fn text(value: &impl Serialize) -> Result<String> {
    let layout = ron::ser::PrettyConfig::new().depth_limit(3);
    let written = options().to_string_pretty(value, layout);
    Ok(written.map_err(|error| Error::Failed(format!("cannot write as RON: {error}")))? + "\n")
}

fn explain(code: &ron::Error) -> String {
    let unknown = |kind: &str, found: &str, known: &[&str]| {
        let near = nearest(found, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
        format!("unknown {kind} `{found}`{} Known: {}", near.unwrap_or_else(|| ".".to_owned()), known.join(", "))
    };
    match code {
        ron::Error::NoSuchStructField { expected, found, .. } => unknown("key", found, expected),
        ron::Error::NoSuchEnumVariant { expected, found, .. } => unknown("value", found, expected),
        ron::Error::MissingStructField { field, .. } => format!("key `{field}` is missing"),
        ron::Error::DuplicateStructField { field, .. } => format!("key `{field}` is given twice"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Page {
        lines: Option<u32>,
        kind: Kind,
    }

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Kind {
        Letter,
        Essay,
    }

    fn message(text: &str) -> String {
        parse::<Page>(text, "page.ron").unwrap_err().to_string()
    }

    #[test]
    fn values_return_as_they_were_written() {
        for lines in [Some(3), None] {
            let page = Page { lines, kind: Kind::Essay };
            assert_eq!(parse::<Page>(&text(&page).unwrap(), "page.ron").unwrap(), page);
        }
        assert_eq!(parse::<Page>("(lines: 3, kind: Letter)", "").unwrap().lines, Some(3));
    }

    #[test]
    fn errors_name_file_line_and_nearest_word() {
        let unknown = message("(\n  lines: 3,\n  knd: Letter,\n)");
        assert!(unknown.starts_with("page.ron: line 3,") && unknown.contains("did you mean `kind`"), "{unknown}");
        let value = message("(\n  lines: 3,\n  kind: Leter,\n)");
        assert!(value.contains("line 3") && value.contains("did you mean `Letter`"), "{value}");
        assert!(message("(lines: 3)").contains("key `kind` is missing"));
        assert!(message("(lines: \"x\", kind: Letter)").contains("line 1"));
    }
}
