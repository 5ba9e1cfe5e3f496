//! What tells one set of images from another of the same name.

use std::fs::read_dir;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::DataSource;
use crate::error::{Error, Result};

impl DataSource {
    /// The first digits of a SHA-256: of a folder of images over their names, of other files over names and contents. Empty for
    /// embedded data and where no file is found.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn identity(&self) -> Result<String> {
        let files = match self {
            Self::FashionMnistMini => Vec::new(),
            Self::Idx(at) => files(at, |name| name.contains("-ubyte")),
            Self::Cifar10(at) => files(at, |name| name.contains("_batch") && name.contains(".bin")),
            Self::ImageFolder(at) => ["train", "val"].iter().flat_map(|split| images(&at.join(split))).collect(),
        };
        let mut digest = Sha256::new();
        for file in &files {
            digest.update(file.file_name().unwrap_or_default().as_encoded_bytes());
            digest.update([0]);
            if !matches!(self, Self::ImageFolder(_)) {
                digest.update(std::fs::read(file).map_err(|error| Error::io(file, error))?);
            }
        }
        let digits = || digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Ok(if files.is_empty() { String::new() } else { digits() })
    }
}

/// The files of a folder of such names, in order; none where there is no such folder.
fn files(folder: &Path, named: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok());
    let mut paths: Vec<PathBuf> =
        entries.filter(|entry| named(&entry.file_name().to_string_lossy())).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The classes of a split and the files of each.
fn images(split: &Path) -> Vec<PathBuf> {
    files(split, |_| true)
        .into_iter()
        .flat_map(|class| [vec![class.clone()], files(&class, |_| true)].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_contents_or_names_are_other_images_and_stray_files_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let idx = DataSource::Idx(folder.path().to_owned());
        assert_eq!(idx.identity().unwrap(), "");
        write("train-images-idx3-ubyte", "one");
        let one = idx.identity().unwrap();
        assert_eq!(one.len(), 12);
        write("notes.txt", "stray");
        assert_eq!(idx.identity().unwrap(), one);
        write("train-images-idx3-ubyte", "two");
        assert_ne!(idx.identity().unwrap(), one);
        let tree = DataSource::ImageFolder(folder.path().to_owned());
        write("train/cat/1.png", "");
        let one = tree.identity().unwrap();
        write("val/cat/2.png", "");
        assert_ne!(tree.identity().unwrap(), one);
        assert_eq!(DataSource::FashionMnistMini.identity().unwrap(), "");
    }
}
