//! The packed file: a stored network in as few bits as its formats take, as safetensors.
//!
//! For every layer with weights or float parameters: `<layer>.weight`, the codes; `<layer>.weight_scale`; `<layer>.bias`. For every quantization
//! point `<tensor>.activation_scale`. Codes have the file format's own type where it has one (F32, F16, BF16, I8, F8_E4M3,
//! F8_E5M2; F6_E2M3, F6_E3M2 and F4 where whole bytes make a row), else U8: one output channel a row, codes from the lowest
//! bit of the first byte up, each row starting on a byte. The metadata's `network` is the network file, in JSON.
//!
//! What the file takes beside its header is what `cost` calls `size_mb`, to the byte.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::StoredLayer;
use super::StoredNetwork;
use super::StoredWeight;
use super::bits::{pack_rows, unpack_rows};
use crate::checkpoint::Dtype;
use crate::checkpoint::RawArray;
use crate::checkpoint::RawFile;
use crate::checkpoint::read_raw;
use crate::checkpoint::write_raw;
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::formats::MiniFloat;
use crate::formats::QuantSpec;
use crate::formats::ScaleKind;
use crate::formats::Scales;
use crate::network::LayerSpec;
use crate::network::Point;
use crate::space::NetworkFile;

/// Metadata key of the network file.
const NETWORK: &str = "network";

/// Metadata keys of the hash of that file and of the SHA-256 of all arrays.
const HASH: &str = "config_hash";
const CHECKSUM: &str = "arrays_sha256";

/// Name of the input among the quantized tensors.
const INPUT: &str = "input";

/// Writes a network and returns the number of bytes behind the header. `described` is its network file; `facts` go into the
/// metadata beside it.
///
/// # Errors
/// A file that cannot be written.
pub fn write_packed(
    path: impl AsRef<Path>,
    stored: &StoredNetwork,
    described: &NetworkFile,
    facts: &[(String, String)],
) -> Result<usize> {
    let mut arrays = BTreeMap::new();
    let layers = stored.network.layers.iter().zip(&stored.layers);
    for (spec, layer) in layers.filter_map(|(spec, layer)| Some((spec, layer.as_ref()?))) {
        let name = &spec.name;
        arrays.insert(format!("{name}.weight"), codes(&layer.weight));
        arrays.extend(scale_arrays(&format!("{name}.weight_scale"), layer.weight.spec, &layer.weight.scales));
        if spec.stored_bias().is_some() {
            arrays.insert(format!("{name}.bias"), RawArray::floats(vec![layer.bias.len()], &layer.bias));
        }
    }
    for (name, point, scale) in points(stored) {
        if let Some(scale) = scale {
            let scales = Scales { runs: vec![*scale], tensor: 1.0 };
            arrays.extend(scale_arrays(&format!("{name}.activation_scale"), point.spec, &scales));
        }
    }
    let json = serde_json::to_string(described).map_err(|error| Error::Failed(format!("as JSON: {error}")))?;
    let own =
        [(NETWORK.to_owned(), json), (HASH.to_owned(), described.hash()?), (CHECKSUM.to_owned(), checksum(&arrays))];
    let metadata = facts.iter().cloned().chain(own).collect();
    write_raw(path, &RawFile { arrays, metadata })
}

/// Reads a packed file: the network file in it, and the network with all its arrays.
///
/// # Errors
/// The file is no packed file or is damaged; the message names the file and the array.
pub fn read_packed(path: impl AsRef<Path>) -> Result<(NetworkFile, StoredNetwork)> {
    let path = path.as_ref();
    let file = read_raw(path)?;
    let bad = |what: String| Error::bad_file(path, what);
    let json = file.metadata.get(NETWORK).ok_or_else(|| {
        bad("holds weights but no network: `bitfront export --to safetensors` writes packed files, --weights reads others".into())
    })?;
    let described: NetworkFile =
        serde_json::from_str(json).map_err(|error| bad(format!("its network cannot be read: {error}")))?;
    for (key, own) in [(HASH, described.hash()?), (CHECKSUM, checksum(&file.arrays))] {
        if file.metadata.get(key).is_some_and(|told| *told != own) {
            return Err(bad(format!("is damaged or was edited: its {key} is not that of its contents")));
        }
    }
    let network = described.to_network().map_err(|error| bad(error.to_string()))?;
    let layers = network.layers.iter().map(|spec| layer(&file, spec)).collect::<std::result::Result<Vec<_>, _>>();
    let mut stored = StoredNetwork {
        layers: layers.map_err(bad)?,
        input_scale: None,
        scales: vec![None; network.layers.len()],
        network,
    };
    let scales: std::result::Result<Vec<Option<f32>>, String> =
        points(&stored).map(|(name, point, _)| activation_scale(&file, name, point)).collect();
    let mut scales = scales.map_err(bad)?.into_iter();
    stored.input_scale = scales.next().flatten();
    for (slot, spec) in stored.scales.iter_mut().zip(&stored.network.layers) {
        if spec.point.is_some() {
            *slot = scales.next().flatten();
        }
    }
    Ok((described, stored))
}

/// SHA-256 of names and bytes of all arrays, in hexadecimal.
fn checksum(arrays: &BTreeMap<String, RawArray>) -> String {
    let mut digest = Sha256::new();
    for (name, array) in arrays {
        digest.update(name);
        digest.update(&array.bytes);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tensors with a quantization point, in execution order: name, point, scale.
fn points(stored: &StoredNetwork) -> impl Iterator<Item = (&str, &Point, &Option<f32>)> {
    let layers = stored.network.layers.iter().zip(&stored.scales);
    let of_layers = layers.filter_map(|(spec, scale)| Some((spec.name.as_str(), spec.point.as_ref()?, scale)));
    std::iter::once((INPUT, &stored.network.input_point, &stored.input_scale)).chain(of_layers)
}

/// The file's own type for a format, where rows of `row` elements fill whole bytes.
fn native(format: Format, row: usize) -> Option<Dtype> {
    let dtype = match format {
        Format::Float32 => Dtype::F32,
        Format::Float16 => Dtype::F16,
        Format::BFloat16 => Dtype::BF16,
        Format::Int(8) => Dtype::I8,
        Format::Mini(MiniFloat::E4M3FN) => Dtype::F8_E4M3,
        Format::Mini(MiniFloat::E5M2) => Dtype::F8_E5M2,
        Format::Mini(MiniFloat::E2M3FN) => Dtype::F6_E2M3,
        Format::Mini(MiniFloat::E3M2FN) => Dtype::F6_E3M2,
        Format::Mini(MiniFloat::E2M1FN) => Dtype::F4,
        _ => return None,
    };
    (row * dtype.bitsize()).is_multiple_of(8).then_some(dtype)
}

fn row_length(shape: &[usize]) -> usize {
    shape[1..].iter().product()
}

/// Type and shape that weights of a format have in the file.
fn container(format: Format, shape: &[usize]) -> (Dtype, Vec<usize>) {
    let row = row_length(shape);
    match native(format, row) {
        Some(dtype) => (dtype, shape.to_vec()),
        None => (Dtype::U8, vec![shape[0], (row * format.bits() as usize).div_ceil(8)]),
    }
}

fn codes(weight: &StoredWeight) -> RawArray {
    let format = weight.spec.format;
    let (dtype, shape) = container(format, &weight.shape);
    let codes = weight.grid.iter().map(|&value| format.encode(value));
    RawArray { dtype, shape, bytes: pack_rows(codes, row_length(&weight.shape), format.bits()) }
}

/// The arrays of some scales: their kind's own type; with a scale over all of them for `E4m3`; none for formats without.
fn scale_arrays(name: &str, spec: QuantSpec, scales: &Scales) -> Vec<(String, RawArray)> {
    if !spec.format.takes_scale() {
        return Vec::new();
    }
    let shape = vec![scales.runs.len()];
    let codes = |dtype, code: fn(f32) -> u8| RawArray {
        dtype,
        shape: shape.clone(),
        bytes: scales.runs.iter().map(|&scale| code(scale)).collect(),
    };
    let array = match spec.scale {
        ScaleKind::Float32 | ScaleKind::PowerOfTwo => RawArray::floats(shape.clone(), &scales.runs),
        ScaleKind::E8m0 => codes(Dtype::F8_E8M0, |scale| (scale.to_bits() >> 23) as u8),
        ScaleKind::E4m3 => {
            let block = codes(Dtype::F8_E4M3, |scale| Format::Mini(MiniFloat::E4M3FN).encode(scale) as u8);
            let tensor = RawArray::floats(vec![1], &[scales.tensor]);
            return vec![(name.to_owned(), block), (format!("{name}_2"), tensor)];
        }
    };
    vec![(name.to_owned(), array)]
}

type Checked<T> = std::result::Result<T, String>;

fn array<'a>(file: &'a RawFile, name: &str, dtype: Dtype, shape: &[usize]) -> Checked<&'a [u8]> {
    let array = file.arrays.get(name).ok_or_else(|| format!("`{name}` is missing"))?;
    if array.dtype == dtype && array.shape == shape {
        return Ok(&array.bytes);
    }
    Err(format!("`{name}` is {:?} {:?} where {dtype:?} {shape:?} is expected", array.dtype, array.shape))
}

fn floats(file: &RawFile, name: &str, count: usize) -> Checked<Vec<f32>> {
    let bytes = array(file, name, Dtype::F32, &[count])?;
    let values: Vec<f32> = bytes.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect();
    finite(name, values)
}

fn finite(name: &str, values: Vec<f32>) -> Checked<Vec<f32>> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(format!("`{name}` holds {value}")),
        None => Ok(values),
    }
}

/// The value of a `float8_e8m0fnu` code; infinity for its NaN.
fn power_of_two(code: u8) -> f32 {
    f32::from_bits(if code == 0 { 0x0040_0000 } else { u32::from(code) << 23 })
}

/// Reads what [`scale_arrays`] writes.
fn scales(file: &RawFile, name: &str, spec: QuantSpec, count: usize) -> Checked<Scales> {
    if !spec.format.takes_scale() {
        return Ok(Scales { runs: vec![1.0; count], tensor: 1.0 });
    }
    let coded = |dtype, value: fn(u8) -> f32| -> Checked<Vec<f32>> {
        Ok(array(file, name, dtype, &[count])?.iter().map(|&code| value(code)).collect())
    };
    let (runs, tensor) = match spec.scale {
        ScaleKind::Float32 | ScaleKind::PowerOfTwo => (floats(file, name, count)?, 1.0),
        ScaleKind::E8m0 => (coded(Dtype::F8_E8M0, power_of_two)?, 1.0),
        ScaleKind::E4m3 => {
            let block = |code| Format::Mini(MiniFloat::E4M3FN).decode(u32::from(code)) as f32;
            (coded(Dtype::F8_E4M3, block)?, floats(file, &format!("{name}_2"), 1)?[0])
        }
    };
    let wrong = runs.iter().chain([&tensor]).find(|scale| !(**scale > 0.0 && scale.is_finite())).copied();
    match wrong {
        Some(scale) => Err(format!("`{name}` holds the scale {scale}; scales are positive numbers")),
        None => Ok(Scales { runs, tensor }),
    }
}

fn activation_scale(file: &RawFile, name: &str, point: &Point) -> Checked<Option<f32>> {
    if !point.has_scale() {
        return Ok(None);
    }
    Ok(scales(file, &format!("{name}.activation_scale"), point.spec, 1)?.runs.first().copied())
}

/// Reads one layer; `None` for operators without weights.
fn layer(file: &RawFile, spec: &LayerSpec) -> Checked<Option<StoredLayer>> {
    let Some((shape, quant)) = spec.stored_weight() else { return Ok(None) };
    let (name, format) = (format!("{}.weight", spec.name), quant.format);
    let (dtype, stored_shape) = container(format, &shape);
    let bytes = array(file, &name, dtype, &stored_shape)?;
    let codes = unpack_rows(bytes, shape[0], row_length(&shape), format.bits());
    let grid = finite(&name, codes.map(|code| format.decode(code) as f32).collect())?;
    let scales = scales(file, &format!("{name}_scale"), quant, quant.granularity.scale_count(&shape))?;
    let bias = match spec.stored_bias() {
        Some(count) => floats(file, &format!("{}.bias", spec.name), count)?,
        None => vec![0.0; shape[0]],
    };
    Ok(Some(StoredLayer { weight: StoredWeight { spec: quant, shape, grid, scales }, bias }))
}
