//! One split of a data set: labelled images, in memory or decoded on access.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::data::classes::ClassMap;
use crate::data::fit::{Fit, planes};
use crate::error::{Error, Result};
use crate::network::{Shape, Transform};

/// Where the pixels are.
#[derive(Debug)]
enum Store {
    /// One contiguous block `[n, c, h, w]`; `fit` is applied on access where the network's input has another size.
    Memory { pixels: Vec<u8>, shape: Shape, fit: Option<Fit> },
    /// JPEG and PNG files, decoded, resized and cropped on every access.
    Files { paths: Vec<PathBuf>, fit: Fit },
}

/// Labelled images of one size. In memory an image costs `c * h * w` bytes, whatever the network's resize.
#[derive(Debug)]
pub struct Images {
    store: Store,
    shape: Shape,
    labels: Vec<u16>,
    classes: Vec<String>,
}

impl Images {
    /// Images in memory: `pixels` is `[n, c, h, w]`, `labels` index `classes`.
    ///
    /// # Errors
    /// When there is no image, the lengths do not agree or a label is not below the number of classes.
    pub fn new(pixels: Vec<u8>, labels: Vec<u16>, shape: Shape, classes: Vec<String>) -> Result<Self> {
        let expected = labels.len() * shape.elements();
        if pixels.len() != expected || pixels.is_empty() {
            let found = pixels.len();
            return Err(Error::bad_value(
                "images",
                found,
                format!("expected {expected} pixel bytes, and at least one"),
            ));
        }
        let images = Self { store: Store::Memory { pixels, shape, fit: None }, shape, labels, classes };
        images.check_labels()?;
        Ok(images)
    }

    /// Images that stay in files until they are read; `shape` is what `fit` makes of each.
    pub(super) fn in_files(
        paths: Vec<PathBuf>,
        labels: Vec<u16>,
        classes: Vec<String>,
        shape: Shape,
        fit: Fit,
    ) -> Result<Self> {
        let images = Self { store: Store::Files { paths, fit }, shape, labels, classes };
        images.check_labels()?;
        Ok(images)
    }

    fn check_labels(&self) -> Result<()> {
        let classes = self.classes.len();
        match self.labels.iter().position(|&label| usize::from(label) >= classes) {
            None => Ok(()),
            Some(at) => {
                let expected = format!("expected a label below the {classes} classes");
                Err(Error::bad_value(format!("label of image {at}"), self.labels[at], expected))
            }
        }
    }

    /// The same images at the size that `transform` asks for. Images in memory are resized on access, so that their
    /// memory cost stays; images in files have been given their transform when they were listed.
    ///
    /// # Errors
    /// When the crop is larger than the images.
    pub(super) fn fitted(mut self, transform: &Transform) -> Result<Self> {
        let wanted = Fit::new(transform)?;
        if let Store::Memory { shape, fit, .. } = &mut self.store
            && !wanted.keeps(shape.h, shape.w)
        {
            let (h, w) = wanted
                .size(shape.h, shape.w)
                .map_err(|reason| Error::bad_value("crop", transform.crop.unwrap_or_default(), reason))?;
            *fit = Some(wanted);
            self.shape = Shape { c: shape.c, h, w };
        }
        Ok(self)
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image; never so for images that a reader returned.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Size of one image as the network gets it.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Class of each image, an index into [`Images::classes`].
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// Names of the classes; plain numbers where the format has no names (IDX).
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Pixels of image `index`, `[c, h, w]` of [`Images::shape`].
    ///
    /// # Errors
    /// When a file cannot be read or decoded, or does not give the expected size.
    ///
    /// # Panics
    /// When `index` is not below [`Images::len`].
    pub fn pixels(&self, index: usize) -> Result<Cow<'_, [u8]>> {
        match &self.store {
            Store::Memory { pixels, shape, fit } => {
                let length = shape.elements();
                let raw = &pixels[index * length..(index + 1) * length];
                let Some(fit) = fit else { return Ok(Cow::Borrowed(raw)) };
                let fitted = fit.apply(raw, *shape);
                fitted
                    .map(|(pixels, _)| Cow::Owned(pixels))
                    .map_err(|reason| Error::Failed(format!("image {index}: {reason}")))
            }
            Store::Files { paths, fit } => {
                let path = &paths[index];
                let (pixels, found) = decode(path, *fit)?;
                if found != self.shape {
                    let Shape { h, w, .. } = self.shape;
                    let what =
                        format!("expected {h} x {w} pixels as in the first image, found {} x {}", found.h, found.w);
                    return Err(Error::bad_file(path, what));
                }
                Ok(Cow::Owned(pixels))
            }
        }
    }

    /// Whether reading an image costs a decode or a resize, so that a batch is worth several threads.
    pub(super) fn is_costly(&self) -> bool {
        !matches!(self.store, Store::Memory { fit: None, .. })
    }

    /// Gives the images a model's class numbers and names.
    ///
    /// # Panics
    /// When `map` was made for another list of classes.
    #[must_use]
    pub fn relabelled(mut self, map: &ClassMap) -> Self {
        for label in &mut self.labels {
            *label = map.model_class(*label);
        }
        self.classes = map.names().to_vec();
        self
    }
}

/// Reads a JPEG or PNG file (known by content, not by name) as RGB planes, resized and cropped by `fit`.
///
/// # Errors
/// When the file cannot be read or decoded, or the crop does not fit.
pub(super) fn decode(path: &Path, fit: Fit) -> Result<(Vec<u8>, Shape)> {
    let reader = image::ImageReader::open(path)
        .and_then(image::ImageReader::with_guessed_format)
        .map_err(|source| Error::io(path, source))?;
    let image = reader
        .decode()
        .map_err(|source| Error::bad_file(path, format!("expected a JPEG or PNG image, found: {source}")))?;
    let shape = Shape { c: 3, h: image.height() as usize, w: image.width() as usize };
    let fitted = fit.apply(&planes(image), shape);
    fitted.map_err(|reason| Error::bad_file(path, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { c: 1, h: 2, w: 3 };

    fn transform(crop: Option<usize>) -> Transform {
        Transform { crop, ..Transform::plain(&[0.5], &[0.5]) }
    }

    #[test]
    fn lengths_and_labels_are_checked() {
        let names = vec!["a".to_string(), "b".to_string()];
        assert!(Images::new(vec![0; 12], vec![0, 1], SHAPE, names.clone()).is_ok());
        assert!(Images::new(vec![0; 11], vec![0, 1], SHAPE, names.clone()).is_err());
        assert!(Images::new(vec![], vec![], SHAPE, names.clone()).is_err());
        let message = Images::new(vec![0; 12], vec![0, 2], SHAPE, names).unwrap_err().to_string();
        assert!(message.contains("image 1") && message.contains("2 classes"), "{message}");
    }

    #[test]
    fn images_in_memory_are_cropped_on_access() {
        let names = vec!["a".to_string()];
        let images = Images::new((0..12).collect(), vec![0, 0], SHAPE, names).unwrap();
        let images = images.fitted(&transform(Some(2))).unwrap();
        assert_eq!(images.shape(), Shape { c: 1, h: 2, w: 2 });
        assert!(images.is_costly());
        // Column offset round(0.5) = 0 (half to even).
        assert_eq!(*images.pixels(1).unwrap(), [6, 7, 9, 10]);
        let message = images.fitted(&transform(Some(5))).unwrap_err().to_string();
        assert!(message.contains("5 x 5"), "{message}");
    }

    #[test]
    fn jpeg_is_known_by_content_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grey.png");
        let grey = image::RgbImage::from_pixel(16, 8, image::Rgb([128, 128, 128]));
        grey.save_with_format(&path, image::ImageFormat::Jpeg).unwrap();
        let (pixels, shape) = decode(&path, Fit::new(&transform(Some(8))).unwrap()).unwrap();
        assert_eq!(shape, Shape { c: 3, h: 8, w: 8 });
        // A constant block has only its mean coefficient, which grey 128 puts at zero: exact but for rounding.
        assert!(pixels.len() == 192 && pixels.iter().all(|&pixel| pixel.abs_diff(128) <= 1));
    }
}
