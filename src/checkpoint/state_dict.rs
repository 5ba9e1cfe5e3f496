//! Finding the arrays in the tree of a torch file.

use super::pickle::{Id, Tree};
use super::tensor::{Storages, TensorRef, is_tensor};
use super::{Checkpoint, Parsed};

/// Keys under which training scripts put the state dict, best first.
const WRAPPERS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// Wrappers within wrappers that are opened.
const MAX_DEPTH: usize = 4;

/// Longest name of an array, in bytes.
const MAX_NAME: usize = 1024;

/// Elements that tensors sharing storages may add up to, as a multiple of the bytes of the file.
const MAX_SHARING: usize = 4;

/// Room for expanded tensors in very small files, in elements.
const SMALL_FILE: usize = 1 << 16;

/// The arrays of the state dict in `tree`, whose storages lie in a file of `file_bytes` bytes.
///
/// # Errors
/// No array is found, or one does not fit its storage.
pub(super) fn state_dict(tree: &Tree, storages: &Storages<'_>, file_bytes: usize) -> Parsed<Checkpoint> {
    let mut checkpoint = Checkpoint::default();
    let mut budget = file_bytes.saturating_mul(MAX_SHARING).saturating_add(SMALL_FILE);
    let Some(mut items) = tree.items(tree.root()) else { return Err(no_dictionary(tree)) };
    for _ in 0..MAX_DEPTH {
        let Some((name, inner)) = wrapped(tree, &items) else { break };
        items.retain(|&(key, _)| tree.text(key) != Some(name));
        for &(key, value) in &items {
            note(tree, key, value, &mut checkpoint);
        }
        items = inner;
    }
    for (key, value) in items {
        if !is_tensor(tree, value) {
            note(tree, key, value, &mut checkpoint);
            continue;
        }
        let name = tree.text(key).filter(|name| name.len() <= MAX_NAME);
        let name = name.ok_or_else(|| format!("a tensor is filed under {} instead of a name", tree.kind(key)))?;
        let array = TensorRef::parse(tree, value).and_then(|tensor| {
            budget = budget.checked_sub(tensor.numel()?).ok_or("the tensors hold far more elements than the file")?;
            tensor.array(storages)
        });
        checkpoint.arrays.insert(name.to_string(), array.map_err(|what| format!("`{name}`: {what}"))?);
    }
    if checkpoint.arrays.is_empty() {
        return Err(no_arrays(&checkpoint));
    }
    Ok(checkpoint)
}

/// The dictionary under the first wrapper key, and that key; only dictionaries that lead to tensors count.
fn wrapped<'a>(tree: &Tree, items: &[(Id, Id)]) -> Option<(&'a str, Vec<(Id, Id)>)> {
    WRAPPERS.into_iter().find_map(|wrapper| {
        let &(_, value) = items.iter().rev().find(|(key, _)| tree.text(*key) == Some(wrapper))?;
        let inner = tree.items(value)?;
        let leads_on = |&(key, value): &(Id, Id)| {
            is_tensor(tree, value) || tree.text(key).is_some_and(|name| WRAPPERS.contains(&name))
        };
        inner.iter().any(leads_on).then_some((wrapper, inner))
    })
}

/// Keeps a plain value as metadata and the kind of anything else.
fn note(tree: &Tree, key: Id, value: Id, checkpoint: &mut Checkpoint) {
    let name = tree.plain(key).unwrap_or_else(|| tree.kind(key));
    if let Some(plain) = tree.plain(value) {
        checkpoint.metadata.insert(name, plain);
    } else {
        let kind = if is_tensor(tree, value) { "a tensor outside the state dict".into() } else { tree.kind(value) };
        checkpoint.ignored.insert(name, kind);
    }
}

fn no_dictionary(tree: &Tree) -> String {
    format!(
        "holds {} instead of a dictionary of tensors; in Python, save `model.state_dict()` instead of the model",
        tree.kind(tree.root())
    )
}

fn no_arrays(checkpoint: &Checkpoint) -> String {
    let found = checkpoint.ignored.iter().map(|(name, kind)| format!("`{name}` ({kind})"));
    let found: Vec<String> = found.chain(checkpoint.metadata.keys().map(|name| format!("`{name}`"))).take(8).collect();
    let found = if found.is_empty() { "nothing".to_string() } else { found.join(", ") };
    format!("holds no arrays at its top level or under {}; found {found}", WRAPPERS.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::pickle::read_pickle;

    /// Reads a pickle whose storage `0` is the two floats 1 and 2.
    fn read(pickle: &[u8]) -> Parsed<Checkpoint> {
        let bytes = [0, 0, 0x80, 0x3F, 0, 0, 0, 0x40];
        let storages = Storages::from([("0".to_string(), &bytes[..])]);
        state_dict(&read_pickle(pickle, 0)?.0, &storages, pickle.len())
    }

    /// `_rebuild_tensor` on storage `0`; `window` pushes offset, shape and strides.
    fn tensor(window: &[u8]) -> Vec<u8> {
        let storage = b"ctorch._utils\n_rebuild_tensor\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x02tQ";
        [storage, window, b"tR"].concat()
    }

    #[test]
    fn tiny_file_cannot_ask_for_endless_elements() {
        // Shape (40000, 40000) with strides (0, 0) needs one element of storage and 6.4 GB of memory.
        let expanded = [b"}U\x01w", &tensor(b"K\0M\x40\x9cM\x40\x9c\x86K\0K\0\x86")[..], b"s."].concat();
        assert!(read(&expanded).unwrap_err().contains("`w`: the tensors hold far more elements"));
        // 250 x 250 fits the allowance of one file, twice does not.
        let small = tensor(b"K\0K\xfaK\xfa\x86K\0K\0\x86");
        let once = [b"}U\x01a", &small[..], b"s."].concat();
        assert_eq!(read(&once).unwrap().arrays["a"].data.len(), 62_500);
        let twice = [b"}U\x01a", &small[..], b"sU\x01b", &small[..], b"s."].concat();
        assert!(read(&twice).unwrap_err().contains("`b`: "));
    }

    #[test]
    fn dictionary_inside_itself_ends() {
        let error = read(b"}q\0X\x05\0\0\0modelh\0s.").unwrap_err();
        assert!(error.contains("no arrays"), "{error}");
    }

    #[test]
    fn wrappers_are_opened_in_order_and_only_if_they_lead_to_tensors() {
        let one = tensor(b"K\x01K\x01\x85K\x01\x85");
        let file =
            [b"}U\x05model}U\x06layers}ssU\x05statecos\nsystem\n)RsU\x01w", &one[..], b"sU\x05epochK\x07s."].concat();
        let checkpoint = read(&file).unwrap();
        assert_eq!(checkpoint.arrays["w"], crate::checkpoint::Array::floats([1], [2.0]));
        assert_eq!(checkpoint.metadata["epoch"], "7");
        assert_eq!(checkpoint.ignored["model"], "a dictionary");
        assert_eq!(checkpoint.ignored["state"], "an object of os.system");

        let nested = [b"}U\x05model}U\x0astate_dict}U\x01w", &one[..], b"sssU\x01v", &one[..], b"s."].concat();
        let checkpoint = read(&nested).unwrap();
        assert_eq!(checkpoint.arrays.keys().collect::<Vec<_>>(), ["w"]);
        assert_eq!(checkpoint.ignored["v"], "a tensor outside the state dict");
    }

    #[test]
    fn missing_arrays_are_explained_by_what_is_there() {
        let error = read(b"}(U\x05epochK\x01U\x03netcmodels\nNet\n)Ru.").unwrap_err();
        assert!(error.contains("`net` (an object of models.Net), `epoch`"), "{error}");
        assert!(read(b"}.").unwrap_err().contains("found nothing"));
        assert!(read(b"K\x01.").unwrap_err().contains("a number"));
    }

    #[test]
    fn unsound_tensor_is_named() {
        let past = [b"}U\x01w", &tensor(b"K\x01K\x02\x85K\x01\x85")[..], b"s."].concat();
        assert!(read(&past).unwrap_err().starts_with("`w`: reaches past the 2 elements"));
        let strides = [b"}U\x01w", &tensor(b"K\0K\x02\x85)")[..], b"s."].concat();
        assert!(read(&strides).unwrap_err().starts_with("`w`: its strides"));
    }
}
