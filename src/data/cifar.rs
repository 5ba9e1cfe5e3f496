//! CIFAR-10's binary layout (Krizhevsky 2009, <https://www.cs.toronto.edu/~kriz/cifar.html>): records of one label byte
//! and 3,072 pixel bytes `[3, 32, 32]`.

use std::path::Path;

use crate::data::images::Images;
use crate::data::packed;
use crate::data::source::Split;
use crate::error::{Error, Result};
use crate::network::Shape;

/// The classes in label order.
const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const SHAPE: Shape = Shape { c: 3, h: 32, w: 32 };
/// Bytes of one record.
const RECORD: usize = 3073;

/// Reads `data_batch_{1..5}.bin[.gz]` or `test_batch.bin[.gz]`. A file may hold any number of whole records.
///
/// # Errors
/// When a file is missing, empty or not a multiple of 3,073 bytes, or a label is above 9.
pub(super) fn load(folder: &Path, split: Split) -> Result<Images> {
    let names: Vec<String> = match split {
        Split::Train => (1..=5).map(|batch| format!("data_batch_{batch}.bin")).collect(),
        Split::Test => vec!["test_batch.bin".to_string()],
    };
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for name in names {
        let path = packed::find(folder, &name)?;
        let content = packed::read(&path)?;
        append(&path, &content, &mut pixels, &mut labels)?;
    }
    Images::new(pixels, labels, SHAPE, CLASSES.map(str::to_string).to_vec())
}

fn append(path: &Path, content: &[u8], pixels: &mut Vec<u8>, labels: &mut Vec<u16>) -> Result<()> {
    let (records, rest) = content.as_chunks::<RECORD>();
    if records.is_empty() || !rest.is_empty() {
        let what = format!("expected a multiple of {RECORD} bytes, at least one, found {} bytes", content.len());
        return Err(Error::bad_file(path, what));
    }
    pixels.reserve(records.len() * (RECORD - 1));
    for (at, record) in records.iter().enumerate() {
        if usize::from(record[0]) >= CLASSES.len() {
            let what = format!("label of record {at}: expected 0 to 9, found {}", record[0]);
            return Err(Error::bad_file(path, what));
        }
        labels.push(u16::from(record[0]));
        pixels.extend_from_slice(&record[1..]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` records whose pixels all equal the label.
    fn records(labels: &[u8]) -> Vec<u8> {
        labels.iter().flat_map(|&label| vec![label; RECORD]).collect()
    }

    fn folder(test: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for batch in 1..=5 {
            std::fs::write(folder.path().join(format!("data_batch_{batch}.bin")), records(&[batch, 0])).unwrap();
        }
        std::fs::write(folder.path().join("test_batch.bin"), test).unwrap();
        folder
    }

    #[test]
    fn five_batches_are_joined_in_order() {
        let images = load(folder(&records(&[9])).path(), Split::Train).unwrap();
        assert_eq!(images.labels(), [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
        assert!(images.pixels(4).unwrap().iter().all(|&pixel| pixel == 3));
        assert_eq!(images.shape(), SHAPE);
        assert_eq!(images.classes()[9], "truck");
    }

    #[test]
    fn truncated_file_is_refused_with_its_length() {
        for content in [&records(&[1, 2])[..2 * RECORD - 1], &[]] {
            let message = load(folder(content).path(), Split::Test).unwrap_err().to_string();
            assert!(message.contains("test_batch.bin") && message.contains("3073"), "{message}");
            assert!(message.contains(&format!("found {} bytes", content.len())), "{message}");
        }
    }

    #[test]
    fn label_above_nine_is_refused_with_its_record() {
        let message = load(folder(&records(&[9, 10])).path(), Split::Test).unwrap_err().to_string();
        assert!(message.contains("record 1") && message.contains("found 10"), "{message}");
    }

    #[test]
    fn missing_batch_is_named() {
        let folder = folder(&records(&[0]));
        std::fs::remove_file(folder.path().join("data_batch_3.bin")).unwrap();
        let error = load(folder.path(), Split::Train).unwrap_err();
        assert!(matches!(error, Error::BadFile { .. }) && error.to_string().contains("data_batch_3.bin"), "{error}");
    }
}
