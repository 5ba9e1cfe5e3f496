//! Named arrays in memory.

use std::collections::BTreeMap;

/// A dense array in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extent of each dimension; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements; as many as the product of `shape`.
    pub data: ArrayData,
}

/// The elements of an [`Array`], by kind of number.
#[derive(Clone, Debug, PartialEq)]
pub enum ArrayData {
    /// Any floating-point type, converted to single precision (float64 is rounded).
    Floats(Vec<f32>),
    /// Any integer type or bool, widened.
    Integers(Vec<i64>),
}

/// What a checkpoint file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// The arrays by name.
    pub arrays: BTreeMap<String, Array>,
    /// safetensors metadata, or the plain numbers and texts a torch file keeps beside its arrays (`epoch`).
    pub metadata: BTreeMap<String, String>,
    /// Whether every name began with `module.` (saved from DataParallel) and lost that prefix here.
    pub stripped_module_prefix: bool,
    /// Entries that are neither arrays nor plain values, with what they are (`optimizer`: a dictionary).
    pub ignored: BTreeMap<String, String>,
}

impl Array {
    /// An array of floats.
    pub fn floats(shape: impl Into<Vec<usize>>, data: impl Into<Vec<f32>>) -> Self {
        Self { shape: shape.into(), data: ArrayData::Floats(data.into()) }
    }

    /// An array of integers.
    pub fn integers(shape: impl Into<Vec<usize>>, data: impl Into<Vec<i64>>) -> Self {
        Self { shape: shape.into(), data: ArrayData::Integers(data.into()) }
    }

    /// The elements as floats, if they are floats.
    pub fn as_floats(&self) -> Option<&[f32]> {
        match &self.data {
            ArrayData::Floats(values) => Some(values),
            ArrayData::Integers(_) => None,
        }
    }
}

impl ArrayData {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Integers(values) => values.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Checkpoint {
    /// Drops the `module.` that DataParallel puts before every name, if it is before every one.
    pub(super) fn strip_module_prefix(&mut self) {
        const PREFIX: &str = "module.";
        if self.arrays.is_empty() || !self.arrays.keys().all(|name| name.starts_with(PREFIX)) {
            return;
        }
        let arrays = std::mem::take(&mut self.arrays);
        self.arrays = arrays.into_iter().map(|(name, array)| (name[PREFIX.len()..].to_string(), array)).collect();
        self.stripped_module_prefix = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(names: &[&str]) -> Checkpoint {
        let arrays = names.iter().map(|name| (name.to_string(), Array::floats([], [1.0]))).collect();
        Checkpoint { arrays, ..Checkpoint::default() }
    }

    #[test]
    fn module_prefix_goes_only_when_every_name_has_it() {
        let mut parallel = checkpoint(&["module.conv.weight", "module.module.fc"]);
        parallel.strip_module_prefix();
        assert!(parallel.stripped_module_prefix);
        assert_eq!(parallel.arrays.keys().collect::<Vec<_>>(), ["conv.weight", "module.fc"]);

        let mut mixed = checkpoint(&["module.conv.weight", "head.weight"]);
        mixed.strip_module_prefix();
        assert_eq!(mixed, checkpoint(&["module.conv.weight", "head.weight"]));
    }
}
