//! Writing a file so that a reader sees the old content or the new, never a half.
//!
//! The content goes to a temporary name in the same folder, reaches the disk, and is then renamed over
//! the target. When anything fails the temporary file is removed and the target is as it was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// How many temporary names are tried when files of a killed run are in the way.
const TEMPORARY_NAMES: u32 = 1000;

/// Replaces the file at `path` by what `write` puts out.
///
/// A symbolic link is followed. A device or a pipe cannot be renamed over, so it is written in place.
///
/// # Errors
/// [`Error::Io`] naming `path`, with the reason of the first step that failed (a full disk stays
/// `ErrorKind::StorageFull`).
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    replace(path, write).map_err(|source| Error::io(path, source))
}

/// Whether [`write_atomically`] could begin: the folder is there, and a file can be made in it. Leaves nothing behind.
///
/// # Errors
/// The reason why not.
pub fn check_writable(path: impl AsRef<Path>) -> io::Result<()> {
    let target = resolved(path.as_ref())?;
    if target.exists() && !target.is_file() {
        return File::options().write(true).open(&target).map(drop);
    }
    create_beside(&target).and_then(|(_, temporary)| fs::remove_file(temporary))
}

/// Where a file really lies; a folder is refused.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    let target = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(missing) if missing.kind() == ErrorKind::NotFound => path.to_path_buf(),
        Err(other) => return Err(other),
    };
    if target.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "is a folder, a file is written here"));
    }
    Ok(target)
}

fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let target = resolved(path)?;
    if target.exists() && !target.is_file() {
        return fill(File::options().write(true).open(&target)?, write).map(drop);
    }
    let (file, temporary) = create_beside(&target)?;
    let done = fill(file, write).and_then(|file| file.sync_all()).and_then(|()| fs::rename(&temporary, &target));
    if done.is_err() {
        // The first error is the one to report; a leftover that cannot be removed changes nothing about it.
        let _ = fs::remove_file(&temporary);
    } else if let Some(Ok(folder)) = target.parent().map(File::open) {
        // Makes the rename itself durable. Some file systems refuse to sync a folder; the content is safe anyway.
        let _ = folder.sync_all();
    }
    done
}

fn fill(file: File, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<File> {
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    out.flush()?;
    out.into_inner().map_err(io::IntoInnerError::into_error)
}

/// A new, empty file next to `target`: hidden, and named after it and this process.
fn create_beside(target: &Path) -> io::Result<(File, PathBuf)> {
    let name = target.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "has no file name"))?;
    for attempt in 0..TEMPORARY_NAMES {
        let temporary =
            target.with_file_name(format!(".{}.{}-{attempt}.tmp", name.to_string_lossy(), std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            Err(taken) if taken.kind() == ErrorKind::AlreadyExists => {}
            Err(other) => return Err(other),
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, "every temporary name beside it is taken"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_place_is_checked_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("result.md");
        check_writable(&file).unwrap();
        assert!(names(folder.path()).is_empty());
        std::fs::write(&file, "kept").unwrap();
        check_writable(&file).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
        assert_eq!(check_writable(folder.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(check_writable(folder.path().join("no/result.md")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(names(folder.path()), ["result.md"]);
    }

    #[test]
    fn content_replaces_the_old_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.ron");
        for content in ["first, and longer", "second"] {
            write_atomically(&path, |out| out.write_all(content.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(names(folder.path()), ["run.ron"]);
    }

    #[test]
    fn failure_keeps_the_old_file_and_removes_the_temporary_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pareto.csv");
        fs::write(&path, "old").unwrap();
        let error = write_atomically(&path, |out| {
            out.write_all(b"half a li")?;
            out.flush()?;
            assert_eq!(fs::read_to_string(&path).unwrap(), "old");
            Err(ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert!(error.to_string().contains("pareto.csv"), "{error}");
        assert_eq!(error.exit_code(), 1, "a full disk is a failure while running");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["pareto.csv"]);
    }

    #[test]
    fn leftover_of_a_killed_run_is_not_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!(".a.{}-0.tmp", std::process::id())), "stale").unwrap();
        let path = folder.path().join("a");
        write_atomically(&path, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn folder_as_target_and_missing_parent_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_atomically(folder.path(), |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("is a folder"), "{error}");
        let absent = folder.path().join("no/such/file");
        let error = write_atomically(&absent, |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("no/such/file"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn full_device_reports_storage_full_and_stays_a_device() {
        let error = write_atomically("/dev/full", |out| out.write_all(b"x")).unwrap_err();
        assert_eq!(error.exit_code(), 1, "{error}");
        assert!(!Path::new("/dev/full").is_file());
    }

    #[cfg(unix)]
    #[test]
    fn symbolic_link_keeps_pointing_and_its_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_atomically(&link, |out| out.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
    }
}
