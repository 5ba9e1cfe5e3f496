//! Opening a checkpoint of any kind: the content decides, not the file name.

use std::fs;
use std::path::Path;

use super::legacy::read_legacy;
use super::safetensors_file::{is_safetensors, read_safetensors};
use super::torch_zip::read_torch_zip;
use super::{Checkpoint, Parsed};
use crate::error::{Error, Result};

/// Reads a safetensors or PyTorch file.
///
/// Names lose the `module.` of DataParallel; of a torch file the state dict is taken, at the top or
/// under `state_dict`, `model_state_dict` or `model`.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::BadFile`] when it is of another kind, cut off,
/// damaged, or holds no arrays.
pub fn read(path: impl AsRef<Path>) -> Result<Checkpoint> {
    let path = path.as_ref();
    let about = fs::metadata(path).map_err(|source| Error::io(path, source))?;
    if !about.is_file() {
        return Err(Error::bad_file(path, "is not a file; a checkpoint is one file"));
    }
    let all = fs::read(path).map_err(|source| Error::io(path, source))?;
    parse(&all).map_err(|what| Error::bad_file(path, what))
}

/// Reads the content of a checkpoint file.
pub(super) fn parse(all: &[u8]) -> Parsed<Checkpoint> {
    let mut checkpoint = if is_safetensors(all) {
        read_safetensors(all)?
    } else if all.starts_with(b"PK\x03\x04") {
        read_torch_zip(all)?
    } else if all.starts_with(b"\x80") {
        read_legacy(all)?
    } else if all.is_empty() {
        return Err("is empty".to_string());
    } else if all.starts_with(b"version https://git-lfs") {
        return Err("is a Git LFS pointer, not the file itself; `git lfs pull` fetches it".to_string());
    } else {
        return Err("is neither safetensors nor a file of torch.save, or its start is damaged".to_string());
    };
    checkpoint.strip_module_prefix();
    Ok(checkpoint)
}
