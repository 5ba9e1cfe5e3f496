//! CIFAR-10: the images, and the accuracy of a public checkpoint on them.

use super::shared;
use bitfront::data::{DataSource, Holdout, Images, Loader, Split, split};
use bitfront::seed::Seed;
use std::sync::Arc;

fn load(part: Split) -> Option<(DataSource, Images)> {
    let source = DataSource::Cifar10(shared("cifar10")?);
    let images = source.load(part, &source.transform()).unwrap();
    Some((source, images))
}

fn counts(images: &Images, indices: &[usize]) -> Vec<usize> {
    let mut counts = vec![0; images.classes().len()];
    indices.iter().for_each(|&index| counts[usize::from(images.labels()[index])] += 1);
    counts
}

#[test]
fn both_splits_are_whole_and_balanced() {
    for (part, each) in [(Split::Train, 5000), (Split::Test, 1000)] {
        let Some((_, images)) = load(part) else { return };
        assert_eq!(counts(&images, &(0..images.len()).collect::<Vec<_>>()), [each; 10]);
    }
}

#[test]
fn normalised_training_images_have_mean_zero_and_deviation_one() {
    let Some((source, images)) = load(Split::Train) else { return };
    let count = images.len();
    let loader = Loader::new(Arc::new(images), (0..count).collect(), &source.transform(), 1000).unwrap();
    let (mut sums, mut squares) = ([0.0_f64; 3], [0.0_f64; 3]);
    for step in 0..loader.steps() {
        for (plane, values) in loader.batch(0, step).unwrap().pixels.chunks(1024).enumerate() {
            sums[plane % 3] += values.iter().map(|&v| f64::from(v)).sum::<f64>();
            squares[plane % 3] += values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        }
    }
    let total = (count * 1024) as f64;
    for channel in 0..3 {
        // The published constants have eight digits; float32 leaves about 1e-7 a value.
        let mean = sums[channel] / total;
        let deviation = (squares[channel] / total - mean * mean).sqrt();
        assert!(mean.abs() < 1e-5 && (deviation - 1.0).abs() < 1e-5, "{channel}: {mean} {deviation}");
    }
}

#[test]
fn validation_takes_the_same_share_of_each_class() {
    let Some((_, images)) = load(Split::Train) else { return };
    let parts = split(&images, Holdout::Count(5000), Seed::new(0)).unwrap();
    assert_eq!(counts(&images, &parts.validation), [500; 10]);
    assert_eq!(counts(&images, &parts.train), [4500; 10]);
}
