//! Torch files before PyTorch 1.6: three small pickles, the object, the storage keys, then the raw storages.
//!
//! Layout as written by `torch.serialization._legacy_save`: magic number, protocol version, system
//! information, object, list of keys; then for each key its element count (int64) and its elements, in the
//! byte order of the machine that wrote it.

use std::collections::HashMap;

use super::element::Element;
use super::pickle::{Bytes, Tree, read_pickle};
use super::state_dict::state_dict;
use super::tensor::{StorageRef, Storages};
use super::{Checkpoint, Parsed};

/// 0x1950a86a20f9469cfc6c, little-endian.
const MAGIC: [u8; 10] = [0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19];

/// The only version there ever was.
const PROTOCOL_VERSION: usize = 1001;

/// Reads a whole legacy file.
///
/// # Errors
/// It is another pickle, cut off, big-endian, or holds no arrays.
pub(super) fn read_legacy(all: &[u8]) -> Parsed<Checkpoint> {
    let (magic, position) = read_pickle(all, 0)?;
    if magic.long(magic.root()) != Some(&MAGIC) {
        return Err("is a plain pickle, not a file of torch.save (its magic number is missing)".to_string());
    }
    let (version, position) = read_pickle(all, position)?;
    if version.size(version.root()) != Some(PROTOCOL_VERSION) {
        return Err(format!("has a torch protocol version other than {PROTOCOL_VERSION}"));
    }
    let (system, position) = read_pickle(all, position)?;
    let big_endian = system.items(system.root()).unwrap_or_default().into_iter().any(|(key, value)| {
        system.text(key) == Some("little_endian") && system.plain(value).as_deref() == Some("false")
    });
    if big_endian {
        return Err("was written on a big-endian machine, which is not read here".to_string());
    }
    let (object, position) = read_pickle(all, position)?;
    let (keys, position) = read_pickle(all, position)?;
    state_dict(&object, &storages(all, position, &object, &keys)?, all.len())
}

/// The bytes of every storage from byte `position` on, in the order of `keys`.
fn storages<'a>(all: &'a [u8], position: usize, object: &Tree, keys: &Tree) -> Parsed<Storages<'a>> {
    let elements = element_types(object)?;
    let keys = keys.sequence(keys.root()).unwrap_or_default().iter().map(|&key| keys.text(key));
    let mut bytes = Bytes::new(all, position);
    let mut storages = Storages::new();
    for key in keys {
        let key = key.ok_or("a storage key is no text")?;
        let element = *elements.get(key).ok_or_else(|| format!("no tensor says what storage `{key}` holds"))?;
        let count = i64::from_le_bytes(bytes.array()?);
        let size = usize::try_from(count).ok().and_then(|count| count.checked_mul(element.size()));
        let size = size.ok_or_else(|| format!("storage `{key}` claims {count} elements"))?;
        storages.insert(key.to_string(), bytes.take(size).map_err(|what| format!("storage `{key}`: {what}"))?);
    }
    Ok(storages)
}

/// The element type of each storage that the object refers to.
fn element_types(object: &Tree) -> Parsed<HashMap<&str, Element>> {
    let mut elements = HashMap::new();
    for storage in object.ids().filter_map(|id| StorageRef::parse(object, id)) {
        if elements.insert(storage.key, storage.element).is_some_and(|other| other != storage.element) {
            return Err(format!("storage `{}` is used with two element types", storage.key));
        }
    }
    Ok(elements)
}
