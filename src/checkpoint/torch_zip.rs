//! Torch files since PyTorch 1.6: a zip archive of `NAME/data.pkl` and one `NAME/data/KEY` for each storage.
//!
//! PyTorch stores its entries uncompressed, so a storage is a slice of the file and needs no copy.

use std::collections::HashMap;
use std::io::Cursor;

use flate2::Crc;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::read_pickle;
use super::state_dict::state_dict;
use super::tensor::Storages;
use super::{Checkpoint, Parsed};

/// Reads a whole zip file.
///
/// # Errors
/// It is another archive, damaged, compressed, big-endian, or holds no arrays.
pub(super) fn read_torch_zip(all: &[u8]) -> Parsed<Checkpoint> {
    let entries = entries(all)?;
    let tops: Vec<&str> = entries.keys().filter_map(|name| name.strip_suffix("data.pkl")).collect();
    let &[top] = &tops[..] else {
        return Err("is a zip archive without one data.pkl, not a file of torch.save".to_string());
    };
    if entries.get(&format!("{top}byteorder")).is_some_and(|order| *order != b"little") {
        return Err("was written on a big-endian machine, which is not read here".to_string());
    }
    let (tree, _) = read_pickle(entries[&format!("{top}data.pkl")], 0)?;
    let folder = format!("{top}data/");
    let storages: Storages<'_> =
        entries.iter().filter_map(|(name, &bytes)| Some((name.strip_prefix(&folder)?.to_string(), bytes))).collect();
    state_dict(&tree, &storages, all.len())
}

/// The bytes of every entry by name, their checksums verified.
fn entries(all: &[u8]) -> Parsed<HashMap<String, &[u8]>> {
    let damaged = |what: zip::result::ZipError| format!("is a damaged or cut-off zip archive: {what}");
    let mut archive = ZipArchive::new(Cursor::new(all)).map_err(damaged)?;
    let mut entries = HashMap::new();
    // Entries that overlap could make a small file stand for endless data to check.
    let mut left = all.len();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(damaged)?;
        let name = entry.name().to_string();
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(format!("entry `{name}` is compressed or encrypted; torch.save stores entries as they are"));
        }
        let bytes = entry
            .data_start()
            .zip(entry.data_start().and_then(|start| start.checked_add(entry.size())))
            .and_then(|(start, end)| all.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?));
        let bytes = bytes.ok_or_else(|| format!("is cut off: entry `{name}` ends past the end of the file"))?;
        left = left.checked_sub(bytes.len()).ok_or("its zip entries overlap")?;
        let mut crc = Crc::new();
        crc.update(bytes);
        if crc.sum() != entry.crc32() {
            return Err(format!("entry `{name}` does not match its checksum: the file is damaged"));
        }
        entries.insert(name, bytes);
    }
    Ok(entries)
}
