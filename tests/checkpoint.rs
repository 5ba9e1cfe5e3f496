//! Checkpoint files through the public API: every kind is read, and no damage to one makes the reader panic.

use std::fs;
use std::path::{Path, PathBuf};

use bitfront::checkpoint::{Array, Checkpoint, read, write_safetensors};
use bitfront::seed::Seed;
use rand::RngExt;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoint").join(name)
}

/// The arrays that `make.py` puts into every training fixture.
fn expected_arrays() -> Vec<(&'static str, Array)> {
    vec![
        ("bfloat", Array::floats([1, 2], [1.0, -3.140_625])),
        ("bn.num_batches_tracked", Array::integers([], [1_234_567_890_123])),
        ("conv.second_row", Array::floats([3], [1.5, 2.0, 2.5])),
        ("conv.transposed", Array::floats([3, 2], [0.0, 1.5, 0.5, 2.0, 1.0, 2.5])),
        ("conv.weight", Array::floats([2, 3], [0.0, 0.5, 1.0, 1.5, 2.0, 2.5])),
        ("double", Array::floats([1], [0.1])),
        ("embed.weight", Array::floats([2], [7.0, -8.0])),
        ("half", Array::floats([3], [1.5, -2.0, 65_504.0])),
        ("head.weight", Array::floats([2], [7.0, -8.0])),
        ("mask", Array::integers([2], [1, 0])),
    ]
}

fn assert_expected(checkpoint: &Checkpoint, file: &str) {
    let found: Vec<(&str, Array)> =
        checkpoint.arrays.iter().map(|(name, array)| (name.as_str(), array.clone())).collect();
    assert_eq!(found, expected_arrays(), "{file}");
}

/// What reading these bytes as a file of `folder` gives.
fn read_bytes(folder: &Path, bytes: &[u8]) -> bitfront::error::Result<Checkpoint> {
    let path = folder.join("checkpoint");
    fs::write(&path, bytes).unwrap();
    read(path)
}

#[test]
fn nested_torch_files_of_both_kinds_give_the_same_arrays() {
    for file in ["training.pt", "training.pth"] {
        let checkpoint = read(fixture(file)).unwrap();
        assert_expected(&checkpoint, file);
        assert!(checkpoint.stripped_module_prefix, "{file}");
        let kept: Vec<_> = checkpoint.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(kept, [("arch", "net"), ("best", "91.5"), ("epoch", "3")], "{file}");
        assert_eq!(checkpoint.ignored["optimizer"], "a dictionary", "{file}");
    }
}

#[test]
fn flat_state_dict_of_protocol_4_is_read_without_stripping() {
    let checkpoint = read(fixture("flat_protocol4.pt")).unwrap();
    assert_expected(&checkpoint, "flat_protocol4.pt");
    assert!(!checkpoint.stripped_module_prefix);
    assert!(checkpoint.metadata.is_empty() && checkpoint.ignored.is_empty());
}

#[test]
fn legacy_view_starts_inside_its_storage() {
    // The storage is 1 2 3 4, the view is two elements from the second on.
    assert_eq!(read(fixture("view.pth")).unwrap().arrays["a"], Array::floats([2], [2.0, 3.0]));
}

#[test]
fn whole_pickled_model_is_refused_with_the_way_out() {
    let error = read(fixture("whole_model.pt")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("whole_model.pt") && text.contains("models.Net") && text.contains("state_dict()"), "{text}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn files_of_another_kind_are_named_for_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let zip_of_one_empty_entry = {
        let mut bytes = fs::read(fixture("training.pt")).unwrap();
        // Both mentions of the name (local and central header), so that data.pkl is gone.
        while let Some(at) = bytes.windows(8).position(|window| window == b"data.pkl") {
            bytes[at] = b'b';
        }
        bytes
    };
    let cases: [(&[u8], &str); 6] = [
        (b"", "is empty"),
        (b"hello", "neither safetensors nor"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x80\x02}.", "plain pickle"),
        (b"PK\x03\x04 and no more", "damaged or cut-off zip"),
        (&zip_of_one_empty_entry, "without one data.pkl"),
    ];
    for (bytes, word) in cases {
        let error = read_bytes(folder.path(), bytes).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(read(folder.path()).unwrap_err().to_string().contains("not a file"));
    let absent = read(folder.path().join("absent.pt")).unwrap_err();
    assert!(absent.to_string().contains("absent.pt"), "{absent}");
}

#[test]
fn damaged_zip_entry_is_found_by_its_checksum() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(fixture("training.pt")).unwrap();
    // 65504 as float16, the last element of `half`
    let at = bytes.windows(2).position(|window| window == [0xFF, 0x7B]).unwrap();
    bytes[at] ^= 1;
    let error = read_bytes(folder.path(), &bytes).unwrap_err().to_string();
    assert!(error.contains("checksum") && error.contains("training/data/"), "{error}");
}

#[test]
fn every_truncation_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for bytes in samples(folder.path()) {
        for length in 0..bytes.len() {
            assert!(read_bytes(folder.path(), &bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
        assert!(read_bytes(folder.path(), &bytes).is_ok());
    }
}

#[test]
fn random_damage_never_panics_or_invents_elements() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Seed::new(0).child("damage").rng();
    for bytes in samples(folder.path()) {
        let (mut refused, mut accepted) = (0, 0);
        for _ in 0..2000 {
            let mut damaged = bytes.clone();
            for _ in 0..rng.random_range(1..=4) {
                let at = rng.random_range(0..damaged.len());
                damaged[at] = rng.random();
            }
            match read_bytes(folder.path(), &damaged) {
                Ok(checkpoint) => {
                    accepted += 1;
                    for array in checkpoint.arrays.values() {
                        assert_eq!(array.data.len(), array.shape.iter().product::<usize>());
                    }
                }
                Err(_) => refused += 1,
            }
        }
        // Damage to numbers or names cannot be seen without a checksum, damage to structure is.
        assert!(refused > 100, "only {refused} of {} refused", refused + accepted);
    }
}

/// A sound file of each kind.
fn samples(folder: &Path) -> Vec<Vec<u8>> {
    let path = folder.join("sample.safetensors");
    let arrays = expected_arrays().into_iter().map(|(name, array)| (name.to_string(), array)).collect();
    write_safetensors(&path, &arrays, &[("epoch".to_string(), "3".to_string())].into()).unwrap();
    let files = [fixture("training.pt"), fixture("flat_protocol4.pt"), fixture("training.pth"), path];
    files.map(|file| fs::read(file).unwrap()).to_vec()
}
