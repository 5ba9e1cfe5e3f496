//! A tensor of a torch file: a strided window on a storage.

use std::borrow::Cow;
use std::collections::HashMap;

use super::element::Element;
use super::pickle::{Id, Tree};
use super::{Array, Parsed};

/// The raw bytes of each storage of a file, by key.
pub(super) type Storages<'a> = HashMap<String, &'a [u8]>;

/// More dimensions than any model has; bounds what a tiny file can make us copy.
const MAX_RANK: usize = 16;

/// Wrappings of a tensor (`Parameter`) that are looked through.
const MAX_WRAPPINGS: usize = 4;

/// A storage as a pickle refers to it: `('storage', class, key, location, numel[, view])`.
#[derive(Debug, PartialEq)]
pub(super) struct StorageRef<'a> {
    pub(super) element: Element,
    pub(super) key: &'a str,
    /// Elements of the whole storage.
    numel: usize,
    /// First element and element count of the part that is used, in files before PyTorch 1.6.
    view: Option<(usize, usize)>,
}

impl<'a> StorageRef<'a> {
    /// Reads a persistent reference; `None` if it is none to a storage of a known class.
    pub(super) fn parse(tree: &'a Tree, id: Id) -> Option<Self> {
        let parts = tree.persistent(id)?;
        let (&[tag, class, key, _location, numel], rest) = parts.split_first_chunk::<5>()?;
        let (module, class) = tree.global(class)?;
        if tree.text(tag)? != "storage" || !matches!(module, "torch" | "torch.cuda") {
            return None;
        }
        let view = rest.first().and_then(|&view| tree.sequence(view));
        let view = match view {
            Some(&[_, offset, count]) => Some((tree.size(offset)?, tree.size(count)?)),
            Some(_) => return None,
            None => None,
        };
        Some(Self { element: Element::of_storage(class)?, key: tree.text(key)?, numel: tree.size(numel)?, view })
    }

    fn bytes<'b>(&self, storages: &Storages<'b>) -> Parsed<&'b [u8]> {
        let all = *storages.get(self.key).ok_or_else(|| format!("storage `{}` is not in the file", self.key))?;
        let (first, count) = self.view.unwrap_or((0, self.numel));
        let end = first.checked_add(count).filter(|&end| end <= self.numel);
        let end = end.and_then(|_| self.numel.checked_mul(self.element.size())).filter(|&bytes| bytes <= all.len());
        if end.is_none() {
            return Err(format!(
                "storage `{}` holds {} bytes, not {} elements of {} bytes",
                self.key,
                all.len(),
                self.numel.max(first.saturating_add(count)),
                self.element.size()
            ));
        }
        Ok(&all[first * self.element.size()..(first + count) * self.element.size()])
    }
}

/// A tensor as a pickle describes it.
#[derive(Debug)]
pub(super) struct TensorRef<'a> {
    storage: StorageRef<'a>,
    /// First element within the storage.
    offset: usize,
    shape: Vec<usize>,
    /// Elements to skip for one step along each dimension.
    strides: Vec<usize>,
}

/// The storage, offset, shape and strides of a value that is a tensor or a parameter.
fn tensor_arguments(tree: &Tree, mut id: Id) -> Option<[Id; 4]> {
    for _ in 0..MAX_WRAPPINGS {
        let (callee, args) = tree.call(id)?;
        match callee {
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => id = *args.first()?,
            // A seventh argument marks a conjugate or negative view, whose stored numbers are not its values.
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") if args.len() <= 6 => {
                return args.first_chunk::<4>().copied();
            }
            _ => return None,
        }
    }
    None
}

/// Whether the value is a tensor.
pub(super) fn is_tensor(tree: &Tree, id: Id) -> bool {
    tensor_arguments(tree, id).is_some()
}

impl<'a> TensorRef<'a> {
    /// Reads the description of a tensor.
    ///
    /// # Errors
    /// It is no tensor, its storage is of an unknown class, or its shape and strides are not two lists of sizes.
    pub(super) fn parse(tree: &'a Tree, id: Id) -> Parsed<Self> {
        let [storage, offset, shape, strides] =
            tensor_arguments(tree, id).ok_or_else(|| format!("is {}, not a tensor", tree.kind(id)))?;
        let storage = StorageRef::parse(tree, storage).ok_or("its storage is of a type that is not read here")?;
        let offset = tree.size(offset).ok_or("its offset is no size")?;
        let sizes = |id| -> Option<Vec<usize>> {
            let ids = tree.sequence(id).filter(|ids| ids.len() <= MAX_RANK)?;
            ids.iter().map(|&id| tree.size(id)).collect()
        };
        let shape = sizes(shape).ok_or_else(|| format!("its shape is no list of at most {MAX_RANK} sizes"))?;
        let strides = sizes(strides).filter(|strides| strides.len() == shape.len());
        let strides = strides.ok_or("its strides do not go with its shape")?;
        Ok(Self { storage, offset, shape, strides })
    }

    /// Number of elements.
    ///
    /// # Errors
    /// More than can be counted.
    pub(super) fn numel(&self) -> Parsed<usize> {
        if self.shape.contains(&0) {
            return Ok(0);
        }
        let numel = self.shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
        numel.ok_or_else(|| format!("its shape {:?} is too large", self.shape))
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// The storage is missing or the tensor reaches past its end.
    pub(super) fn array(self, storages: &Storages<'_>) -> Parsed<Array> {
        let bytes = self.gather(self.storage.bytes(storages)?)?;
        let data = self.storage.element.decode(&bytes)?;
        Ok(Array { shape: self.shape, data })
    }

    fn gather<'b>(&self, storage: &'b [u8]) -> Parsed<Cow<'b, [u8]>> {
        let (size, numel) = (self.storage.element.size(), self.numel()?);
        if numel == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        let reach = self.shape.iter().zip(&self.strides);
        let last = reach.clone().try_fold(self.offset, |last, (extent, stride)| {
            (extent - 1).checked_mul(*stride).and_then(|reach| reach.checked_add(last))
        });
        if last.is_none_or(|last| last >= storage.len() / size) {
            let held = storage.len() / size;
            return Err(format!("reaches past the {held} elements of its storage `{}`", self.storage.key));
        }
        if self.is_contiguous() {
            return Ok(Cow::Borrowed(&storage[self.offset * size..(self.offset + numel) * size]));
        }
        let mut out = Vec::with_capacity(numel * size);
        let mut index = vec![0; self.shape.len()];
        let mut position = self.offset;
        for _ in 0..numel {
            out.extend_from_slice(&storage[position * size..(position + 1) * size]);
            // The next index, as an odometer: the last dimension runs fastest.
            for (place, (extent, stride)) in index.iter_mut().zip(reach.clone()).rev() {
                if *place + 1 < *extent {
                    *place += 1;
                    position += stride;
                    break;
                }
                position -= stride * *place;
                *place = 0;
            }
        }
        Ok(Cow::Owned(out))
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&extent, &stride)| {
            let fits = extent == 1 || stride == expected;
            expected *= extent;
            fits
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::ArrayData;

    /// A tensor of bytes 0, 1, 2, ... seen through `offset`, `shape` and `strides`.
    fn window(held: u8, offset: usize, shape: &[usize], strides: &[usize]) -> Parsed<Vec<i64>> {
        let bytes: Vec<u8> = (0..held).collect();
        let storage = StorageRef { element: Element::U8, key: "0", numel: held.into(), view: None };
        let tensor = TensorRef { storage, offset, shape: shape.to_vec(), strides: strides.to_vec() };
        match tensor.array(&Storages::from([("0".to_string(), &bytes[..])]))?.data {
            ArrayData::Integers(values) => Ok(values),
            ArrayData::Floats(_) => unreachable!("bytes are integers"),
        }
    }

    #[test]
    fn strides_gather_transposed_broadcast_and_offset_windows() {
        assert_eq!(window(6, 0, &[2, 3], &[3, 1]).unwrap(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(window(6, 0, &[3, 2], &[1, 3]).unwrap(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(window(6, 4, &[2, 2], &[0, 1]).unwrap(), [4, 5, 4, 5]);
        assert_eq!(window(8, 1, &[2, 1, 2], &[4, 99, 2]).unwrap(), [1, 3, 5, 7]);
        assert_eq!(window(6, 5, &[], &[]).unwrap(), [5]);
        assert_eq!(window(0, 9, &[3, 0], &[1, 1]).unwrap(), [0_i64; 0]);
    }

    #[test]
    fn window_is_checked_at_both_sides_of_its_storage() {
        assert_eq!(window(4, 0, &[4], &[1]).unwrap(), [0, 1, 2, 3]);
        assert!(window(4, 1, &[4], &[1]).unwrap_err().contains("past the 4 elements"));
        assert_eq!(window(4, 0, &[2, 2], &[1, 2]).unwrap(), [0, 2, 1, 3]);
        assert!(window(4, 0, &[2, 2], &[1, 3]).unwrap_err().contains("past"));
        assert!(window(4, 0, &[usize::MAX], &[usize::MAX]).unwrap_err().contains("past"));
        assert!(window(4, 0, &[usize::MAX, 2], &[0, 0]).unwrap_err().contains("too large"));
    }

    #[test]
    fn view_of_a_storage_is_a_part_of_it() {
        let bytes = [0, 1, 2, 3];
        let storages = Storages::from([("k".to_string(), &bytes[..])]);
        let part = |numel, view| StorageRef { element: Element::U8, key: "k", numel, view };
        assert_eq!(part(4, Some((1, 2))).bytes(&storages).unwrap(), [1, 2]);
        assert_eq!(part(3, None).bytes(&storages).unwrap(), [0, 1, 2]);
        assert!(part(4, Some((3, 2))).bytes(&storages).unwrap_err().contains("4 bytes, not 5 elements"));
        assert!(part(5, None).bytes(&storages).unwrap_err().contains("5 elements"));
        assert!(part(4, Some((usize::MAX, 2))).bytes(&storages).is_err());
        assert!(
            StorageRef { element: Element::F64, key: "k", numel: usize::MAX, view: None }.bytes(&storages).is_err()
        );
    }
}
