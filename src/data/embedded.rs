//! The default data, part of the program: a real subset of Fashion-MNIST (Xiao, Rasul, Vollgraf 2017,
//! <https://arxiv.org/abs/1708.07747>, MIT), the first 1,200 training images of each class and all 10,000 test images.
//! `data/make_fashion_mnist_mini.py` made the files.

use std::path::Path;

use crate::data::idx;
use crate::data::images::Images;
use crate::data::packed;
use crate::data::source::Split;
use crate::error::Result;

/// The classes in label order, as in the data set's own table.
const CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

/// Reads one split of the embedded data.
///
/// # Errors
/// Never, unless the embedded files were built wrong.
pub(super) fn load(split: Split) -> Result<Images> {
    let (images, labels): (&[u8], &[u8]) = match split {
        Split::Train => (
            include_bytes!("../../data/fashion-mnist-mini/train-images-idx3-ubyte.gz"),
            include_bytes!("../../data/fashion-mnist-mini/train-labels-idx1-ubyte.gz"),
        ),
        Split::Test => (
            include_bytes!("../../data/fashion-mnist-mini/t10k-images-idx3-ubyte.gz"),
            include_bytes!("../../data/fashion-mnist-mini/t10k-labels-idx1-ubyte.gz"),
        ),
    };
    let path = Path::new("fashion-mnist-mini");
    let labels = idx::parse_labels(path, &packed::unpack(path, labels)?)?;
    idx::assemble(path, &packed::unpack(path, images)?, labels, CLASSES.map(str::to_string).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Shape;

    #[test]
    fn every_class_has_1200_training_and_1000_test_images() {
        for (split, each) in [(Split::Train, 1200), (Split::Test, 1000)] {
            let images = load(split).unwrap();
            assert_eq!(images.shape(), Shape { c: 1, h: 28, w: 28 });
            let mut counts = [0; 10];
            images.labels().iter().for_each(|&label| counts[usize::from(label)] += 1);
            assert_eq!(counts, [each; 10]);
        }
    }

    #[test]
    fn first_labels_are_those_of_fashion_mnist() {
        // First labels of the published files: ankle boot, T-shirt, ... and ankle boot, pullover, trouser, ...
        assert_eq!(load(Split::Train).unwrap().labels()[..10], [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]);
        assert_eq!(load(Split::Test).unwrap().labels()[..10], [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]);
    }

    #[test]
    fn subset_has_the_mean_and_deviation_of_the_whole() {
        // Published for the 60,000 training images: 0.2860 and 0.3530. The standard error of the mean over 12,000 images
        // is below 0.002 (the deviation of an image's mean is about 0.17).
        let images = load(Split::Train).unwrap();
        let values: Vec<f64> = (0..images.len())
            .flat_map(|index| images.pixels(index).unwrap().iter().map(|&p| f64::from(p) / 255.0).collect::<Vec<_>>())
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((mean - 0.2860).abs() < 0.006, "{mean}");
        assert!((variance.sqrt() - 0.3530).abs() < 0.006, "{}", variance.sqrt());
    }
}
