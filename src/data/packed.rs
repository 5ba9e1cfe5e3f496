//! Reading a data file that may be packed with gzip.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};

/// The first two bytes of every gzip file (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The file `name` or `name.gz` in `folder`.
///
/// # Errors
/// When neither is there; the message says what the folder holds instead.
pub(super) fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let plain = folder.join(name);
    let packed = folder.join(format!("{name}.gz"));
    if plain.is_file() {
        return Ok(plain);
    }
    if packed.is_file() {
        return Ok(packed);
    }
    Err(Error::bad_file(plain, format!("missing: expected `{name}` or `{name}.gz`, found {}", listing(folder))))
}

/// The first few names in `folder`, for an error message.
fn listing(folder: &Path) -> String {
    let Ok(entries) = fs::read_dir(folder) else {
        return format!("no folder `{}`", folder.display());
    };
    let mut names: Vec<String> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into()).collect();
    names.sort();
    match names.len() {
        0 => "an empty folder".to_string(),
        count if count > 6 => format!("{}, ... ({count} entries)", names[..6].join(", ")),
        _ => names.join(", "),
    }
}

/// Content of the file at `path`, unpacked if it is gzip by extension or by its first bytes.
///
/// # Errors
/// When the file cannot be read or its gzip stream is damaged.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).map_err(|source| Error::io(path, source))?;
    let named_packed = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    if named_packed || bytes.starts_with(&GZIP_MAGIC) { unpack(path, &bytes) } else { Ok(bytes) }
}

/// Unpacks gzip `bytes`; `path` is for the message.
///
/// # Errors
/// When the gzip stream is damaged or ends early.
pub(super) fn unpack(path: &Path, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut content).map_err(|source| {
        Error::bad_file(path, format!("expected a whole gzip file, found a damaged one: {source}"))
    })?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn packed_files_are_known_by_name_and_by_magic() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b.gz"] {
            fs::write(folder.path().join(name), gzip(b"content")).unwrap();
            assert_eq!(read(&folder.path().join(name)).unwrap(), b"content");
        }
        fs::write(folder.path().join("plain"), b"content").unwrap();
        assert_eq!(read(&folder.path().join("plain")).unwrap(), b"content");
        assert_eq!(find(folder.path(), "b").unwrap(), folder.path().join("b.gz"));
    }

    #[test]
    fn cut_gzip_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.gz");
        let whole = gzip(&[7; 1000]);
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("cut.gz") && message.contains("damaged"), "{message}");
        fs::write(&path, b"not gzip").unwrap();
        assert!(matches!(read(&path), Err(Error::BadFile { .. })));
    }

    #[test]
    fn missing_file_says_what_the_folder_holds() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("other.bin"), b"").unwrap();
        let message = find(folder.path(), "test_batch.bin").unwrap_err().to_string();
        assert!(message.contains("`test_batch.bin.gz`") && message.contains("found other.bin"), "{message}");
        let message = find(&folder.path().join("nowhere"), "x").unwrap_err().to_string();
        assert!(message.contains("no folder"), "{message}");
    }
}
