//! safetensors files: a JSON header and the raw little-endian arrays behind it.
//!
//! The header is written here rather than by the crate, whose metadata comes out in the order of a hash
//! map: the same arrays must give the same bytes. Format: <https://github.com/huggingface/safetensors>.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

use super::element::Element;
use super::{Array, ArrayData, Checkpoint, Parsed};
use crate::atomic::write_atomically;
use crate::error::{Error, Result};

/// Header key of the metadata, which no array can be called.
const METADATA: &str = "__metadata__";

/// Whether the file starts like safetensors: a header length within the file, then a JSON object.
pub(super) fn is_safetensors(all: &[u8]) -> bool {
    let Some((length, rest)) = all.split_first_chunk::<8>() else { return false };
    rest.first() == Some(&b'{') && u64::from_le_bytes(*length) <= rest.len() as u64
}

/// Reads a whole safetensors file.
///
/// # Errors
/// The header is malformed or does not fit the file, or an array is of a type that is not read here.
pub(super) fn read_safetensors(all: &[u8]) -> Parsed<Checkpoint> {
    let broken = |what| format!("is no sound safetensors file: {what}");
    let (_, header) = SafeTensors::read_metadata(all).map_err(broken)?;
    let mut checkpoint = Checkpoint::default();
    checkpoint.metadata.extend(header.metadata().clone().unwrap_or_default());
    for (name, view) in SafeTensors::deserialize(all).map_err(broken)?.tensors() {
        let element = Element::of_dtype(view.dtype())
            .ok_or_else(|| format!("`{name}` is of type {:?}, which is not read here", view.dtype()))?;
        let data = element.decode(view.data()).map_err(|what| format!("`{name}`: {what}"))?;
        checkpoint.arrays.insert(name, Array { shape: view.shape().to_vec(), data });
    }
    Ok(checkpoint)
}

/// An array as the file holds it: element type, shape, little-endian bytes (small elements packed).
#[derive(Clone, Debug, PartialEq)]
pub struct RawArray {
    /// Element type.
    pub dtype: Dtype,
    /// Extents.
    pub shape: Vec<usize>,
    /// The elements.
    pub bytes: Vec<u8>,
}

impl RawArray {
    /// An array of float32.
    pub fn floats(shape: Vec<usize>, values: &[f32]) -> Self {
        Self { dtype: Dtype::F32, shape, bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    }

    fn of(array: &Array) -> Self {
        match &array.data {
            ArrayData::Floats(values) => Self::floats(array.shape.clone(), values),
            ArrayData::Integers(values) => {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                Self { dtype: Dtype::I64, shape: array.shape.clone(), bytes }
            }
        }
    }

    /// Whether the bytes are what type and shape ask for.
    fn is_full(&self) -> bool {
        let elements = self.shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
        elements.and_then(|elements| elements.checked_mul(self.dtype.bitsize())) == self.bytes.len().checked_mul(8)
    }
}

/// Arrays as a safetensors file holds them, and its metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawFile {
    /// By name.
    pub arrays: BTreeMap<String, RawArray>,
    /// Texts.
    pub metadata: BTreeMap<String, String>,
}

/// Reads a safetensors file without decoding its elements.
///
/// # Errors
/// The file cannot be read or is no sound safetensors file.
pub fn read_raw(path: impl AsRef<Path>) -> Result<RawFile> {
    let path = path.as_ref();
    let all = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    let broken = |what| Error::bad_file(path, format!("is no sound safetensors file: {what}"));
    let (_, header) = SafeTensors::read_metadata(&all).map_err(broken)?;
    let tensors = SafeTensors::deserialize(&all).map_err(broken)?.tensors().into_iter();
    let raw = |view: &safetensors::tensor::TensorView<'_>| RawArray {
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        bytes: view.data().to_vec(),
    };
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(RawFile { arrays: tensors.map(|(name, view)| (name, raw(&view))).collect(), metadata })
}

/// Writes `arrays` and `metadata` to `path`, replacing it only when everything is on disk.
///
/// Floats become F32 and integers I64. The bytes depend on the arguments alone.
///
/// # Errors
/// As [`write_raw`].
pub fn write_safetensors(
    path: impl AsRef<Path>,
    arrays: &BTreeMap<String, Array>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let arrays = arrays.iter().map(|(name, array)| (name.clone(), RawArray::of(array))).collect();
    write_raw(path, &RawFile { arrays, metadata: metadata.clone() }).map(|_| ())
}

/// Writes a file, replacing it only when everything is on disk, and returns the number of its bytes behind the header.
///
/// # Errors
/// [`Error::BadValue`] for an array that does not fill its shape or is called `__metadata__`;
/// [`Error::Io`] naming `path` when it cannot be written.
pub fn write_raw(path: impl AsRef<Path>, file: &RawFile) -> Result<usize> {
    let mut header = Map::new();
    if !file.metadata.is_empty() {
        header.insert(METADATA.to_string(), json!(file.metadata));
    }
    // The wider type first, so that every array starts at a multiple of its element size.
    let mut ordered: Vec<(&String, &RawArray)> = file.arrays.iter().collect();
    ordered.sort_by_key(|(_, array)| std::cmp::Reverse(array.dtype.bitsize()));
    let mut offset = 0;
    for &(name, array) in &ordered {
        if !array.is_full() {
            let shape = format!("{} bytes of {:?} for the shape {:?}", array.bytes.len(), array.dtype, array.shape);
            return Err(Error::bad_value(name, shape, "an array must fill its shape"));
        }
        if name == METADATA {
            return Err(Error::bad_value("array name", name, "is reserved in safetensors files"));
        }
        let end = offset + array.bytes.len();
        header.insert(name.clone(), json!({"dtype": array.dtype, "shape": array.shape, "data_offsets": [offset, end]}));
        offset = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    write_atomically(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        ordered.iter().try_for_each(|(_, array)| out.write_all(&array.bytes))
    })?;
    Ok(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrays() -> BTreeMap<String, Array> {
        BTreeMap::from([
            ("b.weight".to_string(), Array::floats([2, 2], [1.0, -0.5, f32::MIN_POSITIVE, 3e38])),
            ("a.num_batches_tracked".to_string(), Array::integers([], [i64::MIN])),
            ("c.empty".to_string(), Array::floats([0, 3], [])),
        ])
    }

    #[test]
    fn written_arrays_read_back_the_same_and_the_bytes_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let metadata: BTreeMap<String, String> = (0..20).map(|i| (format!("key{i}"), format!("\"{i}\n"))).collect();
        let written: Vec<Vec<u8>> = ["one", "two"]
            .iter()
            .map(|name| {
                let path = folder.path().join(name);
                write_safetensors(&path, &arrays(), &metadata).unwrap();
                std::fs::read(path).unwrap()
            })
            .collect();
        assert_eq!(written[0], written[1]);
        assert!(is_safetensors(&written[0]));
        let checkpoint = read_safetensors(&written[0]).unwrap();
        assert_eq!(checkpoint, Checkpoint { arrays: arrays(), metadata, ..Checkpoint::default() });
    }

    #[test]
    fn array_that_does_not_fill_its_shape_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let write = |name: &str, array| {
            write_safetensors(&path, &BTreeMap::from([(name.to_string(), array)]), &BTreeMap::new()).unwrap_err()
        };
        let error = write("fc.bias", Array::floats([3], [1.0, 2.0])).to_string();
        assert!(error.contains("fc.bias") && error.contains("8 bytes") && error.contains("[3]"), "{error}");
        assert!(write(METADATA, Array::floats([1], [1.0])).to_string().contains("reserved"));
        assert!(!path.exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn full_disk_passes_through() {
        let error = write_safetensors("/dev/full", &arrays(), &BTreeMap::new()).unwrap_err();
        assert!(matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull));
        assert!(error.to_string().starts_with("/dev/full: "), "{error}");
    }

    #[test]
    fn element_type_that_is_not_read_is_named() {
        let header = br#"{"w":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.push(0);
        let error = read_safetensors(&bytes).unwrap_err();
        assert!(error.contains("`w`") && error.contains("F8_E4M3"), "{error}");
        bytes.pop();
        assert!(read_safetensors(&bytes).unwrap_err().contains("no sound safetensors"));
    }
}
