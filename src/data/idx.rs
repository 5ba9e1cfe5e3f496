//! The IDX format of the MNIST family (LeCun, Cortes, Burges, <http://yann.lecun.com/exdb/mnist/>): big-endian magic,
//! one count a dimension, then bytes.

use std::path::Path;

use crate::data::images::Images;
use crate::data::packed;
use crate::data::source::Split;
use crate::error::{Error, Result};
use crate::network::Shape;

/// Magic of unsigned bytes in three dimensions (images, rows, columns).
const IMAGES: u32 = 0x0803;
/// Magic of unsigned bytes in one dimension (labels).
const LABELS: u32 = 0x0801;

/// Reads one split from `train-images-idx3-ubyte[.gz]`, `train-labels-idx1-ubyte[.gz]` or their `t10k-` counterparts.
/// The training labels, where they are there, say how many classes there are; classes have numbers for names.
///
/// # Errors
/// When a file is missing, truncated or of another kind, the counts differ, or a test label is no training class.
pub(super) fn load(folder: &Path, split: Split) -> Result<Images> {
    let stem = match split {
        Split::Train => "train",
        Split::Test => "t10k",
    };
    let images_path = packed::find(folder, &format!("{stem}-images-idx3-ubyte"))?;
    let labels_path = packed::find(folder, &format!("{stem}-labels-idx1-ubyte"))?;
    let labels = parse_labels(&labels_path, &packed::read(&labels_path)?)?;
    let classes = match (split, packed::find(folder, "train-labels-idx1-ubyte")) {
        (Split::Test, Ok(path)) => class_count(&parse_labels(&path, &packed::read(&path)?)?),
        _ => class_count(&labels),
    };
    if let Some(at) = labels.iter().position(|&label| usize::from(label) >= classes) {
        let what = format!("label of image {at}: expected 0 to {} as in training, found {}", classes - 1, labels[at]);
        return Err(Error::bad_file(labels_path, what));
    }
    let names = (0..classes).map(|class| class.to_string()).collect();
    assemble(&images_path, &packed::read(&images_path)?, labels, names)
}

/// Images from an unpacked image file and the labels that belong to it.
///
/// # Errors
/// When the image file is truncated or of another kind, or its count is not that of the labels.
pub(super) fn assemble(path: &Path, content: &[u8], labels: Vec<u16>, classes: Vec<String>) -> Result<Images> {
    let ([count, h, w], pixels) = parse(path, content, IMAGES)?;
    if count != labels.len() {
        return Err(Error::bad_file(path, format!("expected {} images as labels, found {count}", labels.len())));
    }
    Images::new(pixels.to_vec(), labels, Shape { c: 1, h, w }, classes)
}

/// Labels from an unpacked label file.
///
/// # Errors
/// When it is truncated or of another kind.
pub(super) fn parse_labels(path: &Path, content: &[u8]) -> Result<Vec<u16>> {
    let ([_], labels) = parse(path, content, LABELS)?;
    Ok(labels.iter().map(|&label| u16::from(label)).collect())
}

fn class_count(labels: &[u16]) -> usize {
    labels.iter().max().map_or(0, |&label| usize::from(label) + 1)
}

/// The dimensions and the bytes behind the header.
fn parse<'a, const D: usize>(path: &Path, content: &'a [u8], magic: u32) -> Result<([usize; D], &'a [u8])> {
    let (words, _) = content.as_chunks::<4>();
    let Some(header) = words.get(..=D) else {
        let what = format!("expected an IDX header of {} bytes, found {} bytes", 4 * (D + 1), content.len());
        return Err(Error::bad_file(path, what));
    };
    let found = u32::from_be_bytes(header[0]);
    if found != magic {
        return Err(Error::bad_file(path, format!("expected IDX magic {magic:#010x}, found {found:#010x}")));
    }
    let sizes: [usize; D] = std::array::from_fn(|axis| u32::from_be_bytes(header[axis + 1]) as usize);
    let data = &content[4 * (D + 1)..];
    let expected = sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    if expected != Some(data.len()) || data.is_empty() {
        let what = format!("expected {sizes:?} bytes of data, none of them 0, found {} bytes", data.len());
        return Err(Error::bad_file(path, what));
    }
    Ok((sizes, data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn idx(magic: u32, sizes: &[u32], data: &[u8]) -> Vec<u8> {
        let mut out = magic.to_be_bytes().to_vec();
        out.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        out.extend_from_slice(data);
        out
    }

    /// A folder of three training and two test images of 2 x 2 pixels in three classes.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let pixels: Vec<u8> = (0..12).collect();
        let write = |name: &str, content: Vec<u8>| std::fs::write(folder.path().join(name), content).unwrap();
        write("train-images-idx3-ubyte", idx(IMAGES, &[3, 2, 2], &pixels));
        write("train-labels-idx1-ubyte", idx(LABELS, &[3], &[0, 1, 2]));
        write("t10k-images-idx3-ubyte", idx(IMAGES, &[2, 2, 2], &pixels[..8]));
        write("t10k-labels-idx1-ubyte", idx(LABELS, &[2], &[1, 0]));
        folder
    }

    fn refusal(name: &str, content: &[u8], split: Split) -> String {
        let folder = folder();
        std::fs::write(folder.path().join(name), content).unwrap();
        let error = load(folder.path(), split).unwrap_err();
        assert!(matches!(error, Error::BadFile { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(name), "{message}");
        message
    }

    #[test]
    fn images_and_labels_are_read_in_order() {
        let folder = folder();
        let images = load(folder.path(), Split::Train).unwrap();
        assert_eq!(images.shape(), Shape { c: 1, h: 2, w: 2 });
        assert_eq!(images.labels(), [0, 1, 2]);
        assert_eq!(*images.pixels(1).unwrap(), [4, 5, 6, 7]);
        // The test labels reach only class 1; the class count is still that of training.
        assert_eq!(load(folder.path(), Split::Test).unwrap().classes(), ["0", "1", "2"]);
    }

    #[test]
    fn packed_and_plain_files_give_the_same_images() {
        let folder = folder();
        let plain = load(folder.path(), Split::Train).unwrap();
        for name in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"] {
            let path = folder.path().join(name);
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&std::fs::read(&path).unwrap()).unwrap();
            std::fs::write(path.with_extension("gz"), encoder.finish().unwrap()).unwrap();
            std::fs::remove_file(path).unwrap();
        }
        let packed = load(folder.path(), Split::Train).unwrap();
        assert_eq!(packed.labels(), plain.labels());
        for index in 0..3 {
            assert_eq!(packed.pixels(index).unwrap(), plain.pixels(index).unwrap());
        }
    }

    #[test]
    fn missing_file_is_named() {
        let folder = folder();
        std::fs::remove_file(folder.path().join("t10k-labels-idx1-ubyte")).unwrap();
        let message = load(folder.path(), Split::Test).unwrap_err().to_string();
        assert!(message.contains("t10k-labels-idx1-ubyte`"), "{message}");
    }

    #[test]
    fn wrong_magic_is_refused() {
        let message = refusal("train-images-idx3-ubyte", &idx(LABELS, &[3, 2, 2], &[0; 12]), Split::Train);
        assert!(message.contains("0x00000803") && message.contains("0x00000801"), "{message}");
    }

    #[test]
    fn truncated_and_overlong_files_are_refused() {
        for length in [11, 13] {
            let content = idx(IMAGES, &[3, 2, 2], &vec![0; length]);
            let message = refusal("train-images-idx3-ubyte", &content, Split::Train);
            assert!(message.contains("[3, 2, 2]") && message.contains(&format!("found {length} bytes")), "{message}");
        }
        let message = refusal("train-images-idx3-ubyte", &[0, 0, 8, 3, 0, 0], Split::Train);
        assert!(message.contains("16 bytes, found 6 bytes"), "{message}");
        refusal("train-images-idx3-ubyte", &idx(IMAGES, &[u32::MAX, u32::MAX, u32::MAX], &[0; 4]), Split::Train);
        refusal("train-labels-idx1-ubyte", &idx(LABELS, &[0], &[]), Split::Train);
    }

    #[test]
    fn counts_of_images_and_labels_must_agree() {
        let message = refusal("train-images-idx3-ubyte", &idx(IMAGES, &[2, 2, 2], &[0; 8]), Split::Train);
        assert!(message.contains("expected 3 images as labels, found 2"), "{message}");
    }

    #[test]
    fn test_label_beyond_the_training_classes_is_refused() {
        let message = refusal("t10k-labels-idx1-ubyte", &idx(LABELS, &[2], &[1, 3]), Split::Test);
        assert!(message.contains("image 1") && message.contains("0 to 2"), "{message}");
    }
}
