//! A folder of images in ImageNet's layout: `train/<class>/*.jpg|jpeg|png` and `val/<class>/...`.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::data::fit::Fit;
use crate::data::images::{Images, decode};
use crate::data::source::Split;
use crate::error::{Error, Result};
use crate::network::{Shape, Transform};

/// A split whose images take at most this many bytes after resizing is decoded once and kept (1 GiB: about 7,100 images
/// of 224 x 224); a larger one is decoded anew on every access.
const KEPT_BYTES: usize = 1 << 30;

/// Lists one split under `folder`; classes are the sorted names of its folders. Small splits are decoded at once.
///
/// # Errors
/// When the split's folder is missing, holds no class or an empty class, names other classes than the other split, or an
/// image cannot be decoded.
pub(super) fn load(folder: &Path, split: Split, transform: &Transform) -> Result<Images> {
    load_keeping(folder, split, transform, KEPT_BYTES)
}

/// The same; decoded at once only up to `kept_bytes`.
pub(super) fn load_keeping(folder: &Path, split: Split, transform: &Transform, kept_bytes: usize) -> Result<Images> {
    let (own, other) = match split {
        Split::Train => ("train", "val"),
        Split::Test => ("val", "train"),
    };
    let own = folder.join(own);
    if !own.is_dir() {
        return Err(Error::bad_file(&own, "missing: expected a folder with one folder of images a class"));
    }
    let classes = class_names(&own)?;
    if folder.join(other).is_dir() {
        check_same(&own, &classes, &folder.join(other))?;
    }
    let (mut paths, mut labels) = (Vec::new(), Vec::new());
    for (label, class) in classes.iter().enumerate() {
        let files = image_files(&own.join(class))?;
        let label = u16::try_from(label)
            .map_err(|_| Error::bad_file(&own, format!("expected at most 65536 classes, found {}", classes.len())))?;
        labels.extend(std::iter::repeat_n(label, files.len()));
        paths.extend(files);
    }
    let fit = Fit::new(transform)?;
    let shape = match transform.crop {
        Some(side) => Shape { c: 3, h: side, w: side },
        None => decode(&paths[0], fit)?.1,
    };
    let bytes = paths.len().saturating_mul(shape.elements());
    let lazy = Images::in_files(paths, labels, classes, shape, fit)?;
    if bytes > kept_bytes { Ok(lazy) } else { keep(&lazy) }
}

/// The same images, decoded.
fn keep(lazy: &Images) -> Result<Images> {
    let length = lazy.shape().elements();
    let mut pixels = vec![0; lazy.len() * length];
    pixels.par_chunks_mut(length).enumerate().try_for_each(|(index, out)| {
        out.copy_from_slice(&lazy.pixels(index)?);
        Ok::<(), Error>(())
    })?;
    Images::new(pixels, lazy.labels().to_vec(), lazy.shape(), lazy.classes().to_vec())
}

/// Sorted names of the class folders in `folder`; hidden ones do not count.
fn class_names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for path in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        match path.file_name().and_then(|name| name.to_str()) {
            Some(name) if name.starts_with('.') => {}
            Some(name) => names.push(name.to_string()),
            None => return Err(Error::bad_file(path, "expected a class name in UTF-8")),
        }
    }
    if names.is_empty() {
        return Err(Error::bad_file(folder, "expected one folder of images a class, found no folder"));
    }
    Ok(names)
}

fn check_same(own: &Path, classes: &[String], other: &Path) -> Result<()> {
    let theirs = class_names(other)?;
    let lacking = |have: &[String], wanted: &[String]| wanted.iter().find(|name| !have.contains(name)).cloned();
    let missing = |folder: &Path, name: &str, holder: &Path| {
        Error::bad_file(folder, format!("expected the classes of `{}`, found no `{name}`", holder.display()))
    };
    match (lacking(classes, &theirs), lacking(&theirs, classes)) {
        (Some(name), _) => Err(missing(own, &name, other)),
        (None, Some(name)) => Err(missing(other, &name, own)),
        (None, None) => Ok(()),
    }
}

/// Sorted paths of the JPEG and PNG files in a class folder.
fn image_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_image = |path: &PathBuf| {
        let extension = path.extension().unwrap_or_default();
        path.is_file() && ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    };
    let files: Vec<PathBuf> = entries(folder)?.into_iter().filter(is_image).collect();
    if files.is_empty() {
        return Err(Error::bad_file(folder, "expected .jpg, .jpeg or .png files, found none"));
    }
    Ok(files)
}

/// Sorted paths in `folder`.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::io(folder, source);
    let listed: std::io::Result<Vec<PathBuf>> =
        fs::read_dir(folder).map_err(failed)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = listed.map_err(failed)?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    fn transform(resize: Option<usize>, crop: Option<usize>) -> Transform {
        Transform { resize, crop, ..Transform::plain(&[0.5; 3], &[0.5; 3]) }
    }

    /// Two classes with two images each, of one colour; `wide` pixels wide and 4 high.
    fn folder(wide: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for split in ["train", "val"] {
            for (class, red) in [("n01440764", 10), ("n01443537", 200)] {
                let at = folder.path().join(split).join(class);
                fs::create_dir_all(&at).unwrap();
                for (name, green) in [("b.PNG", 2), ("a.png", 1)] {
                    let image = RgbImage::from_pixel(wide, 4, Rgb([red, green, 3]));
                    image.save_with_format(at.join(name), image::ImageFormat::Png).unwrap();
                }
                fs::write(at.join("notes.txt"), "not an image").unwrap();
            }
        }
        folder
    }

    fn refusal(folder: &Path, split: Split) -> String {
        load(folder, split, &transform(None, None)).unwrap_err().to_string()
    }

    #[test]
    fn classes_and_files_come_sorted_and_planes_are_rgb() {
        let folder = folder(6);
        for kept_bytes in [KEPT_BYTES, 0] {
            let images = load_keeping(folder.path(), Split::Train, &transform(Some(8), Some(8)), kept_bytes).unwrap();
            assert_eq!(images.is_costly(), kept_bytes == 0);
            assert_eq!(images.classes(), ["n01440764", "n01443537"]);
            assert_eq!(images.labels(), [0, 0, 1, 1]);
            assert_eq!(images.shape(), Shape { c: 3, h: 8, w: 8 });
            let expected: Vec<u8> = [200, 1, 3].iter().flat_map(|&value| [value; 64]).collect();
            assert_eq!(*images.pixels(2).unwrap(), expected);
        }
    }

    #[test]
    fn validation_folder_alone_is_enough_to_evaluate() {
        let folder = folder(4);
        fs::remove_dir_all(folder.path().join("train")).unwrap();
        assert_eq!(load(folder.path(), Split::Test, &transform(None, None)).unwrap().len(), 4);
        let message = refusal(folder.path(), Split::Train);
        assert!(message.contains("train") && message.contains("missing"), "{message}");
    }

    #[test]
    fn splits_must_name_the_same_classes() {
        let folder = folder(4);
        fs::rename(folder.path().join("val/n01443537"), folder.path().join("val/n99")).unwrap();
        assert!(refusal(folder.path(), Split::Train).contains("no `n99`"));
        assert!(refusal(folder.path(), Split::Test).contains("no `n01443537`"));
        fs::remove_dir_all(folder.path().join("val/n99")).unwrap();
        let message = refusal(folder.path(), Split::Train);
        assert!(message.contains("val") && message.contains("no `n01443537`"), "{message}");
    }

    #[test]
    fn damaged_odd_sized_and_missing_images_are_named() {
        let folder = folder(4);
        let class = folder.path().join("train/n01443537");
        RgbImage::new(5, 4).save(class.join("a.png")).unwrap();
        let message = refusal(folder.path(), Split::Train);
        assert!(message.contains("a.png") && message.contains("found 4 x 5"), "{message}");
        fs::write(class.join("a.png"), b"nonsense").unwrap();
        let message = refusal(folder.path(), Split::Train);
        assert!(message.contains("a.png") && message.contains("JPEG or PNG"), "{message}");
        fs::remove_file(class.join("a.png")).unwrap();
        fs::remove_file(class.join("b.PNG")).unwrap();
        let message = refusal(folder.path(), Split::Train);
        assert!(message.contains("n01443537") && message.contains("found none"), "{message}");
    }

    #[test]
    fn image_smaller_than_the_crop_is_refused() {
        let folder = folder(6);
        let message = load(folder.path(), Split::Test, &transform(None, Some(5))).unwrap_err().to_string();
        assert!(message.contains("png") && message.contains("5 x 5"), "{message}");
    }
}
