//! Cutting validation images from the training images, class by class.

use std::fmt;
use std::str::FromStr;

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::data::images::Images;
use crate::error::{Error, Result};
use crate::seed::Seed;

/// How many training images to hold out for validation. Text form: `2000` images or `0.1` of all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Holdout {
    /// A number of images.
    Count(usize),
    /// A share of the training images, between 0 and 1.
    Fraction(f64),
}

impl fmt::Display for Holdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Fraction(fraction) => write!(f, "{fraction:?}"),
        }
    }
}

impl FromStr for Holdout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let count = text.parse().map(Self::Count).ok();
        let fraction = || text.parse().map(Self::Fraction).ok();
        count.or_else(fraction).ok_or_else(|| {
            Error::bad_value("--validation", text, "expected a number of images (`2000`) or a share (`0.1`)")
        })
    }
}

/// Indices into the training images, each list ascending; together they hold every image once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Images to learn from.
    pub train: Vec<usize>,
    /// Images to choose by.
    pub validation: Vec<usize>,
}

/// Holds out validation images drawn from `seed`, from each class its share (largest remainder, so that the total is
/// exact and no class is off by more than one image).
///
/// # Errors
/// When nothing would be held out, or nothing would be left to learn from.
pub fn split(images: &Images, validation: Holdout, seed: Seed) -> Result<Partition> {
    let total = images.len();
    let wanted = match validation {
        Holdout::Count(count) => count,
        Holdout::Fraction(fraction) if fraction > 0.0 && fraction < 1.0 => (fraction * total as f64).round() as usize,
        Holdout::Fraction(_) => 0,
    };
    if wanted == 0 || wanted >= total {
        let expected = format!("expected 1 to {} images, or a share between 0 and 1", total.saturating_sub(1));
        return Err(Error::bad_value("--validation", validation, expected));
    }
    let mut members = vec![Vec::new(); images.classes().len()];
    for (index, &label) in images.labels().iter().enumerate() {
        members[usize::from(label)].push(index);
    }
    let sizes: Vec<usize> = members.iter().map(Vec::len).collect();
    let (mut train, mut held) = (Vec::new(), Vec::new());
    for (class, (mut indices, share)) in members.into_iter().zip(shares(&sizes, wanted)).enumerate() {
        indices.shuffle(&mut seed.at(class as u64).rng());
        train.extend_from_slice(&indices[share..]);
        held.extend_from_slice(&indices[..share]);
    }
    train.sort_unstable();
    held.sort_unstable();
    Ok(Partition { train, validation: held })
}

/// Divides `wanted` in proportion to `sizes` by largest remainder; ties go to the earlier class.
fn shares(sizes: &[usize], wanted: usize) -> Vec<usize> {
    let total: u128 = sizes.iter().map(|&size| size as u128).sum();
    let scaled: Vec<u128> = sizes.iter().map(|&size| size as u128 * wanted as u128).collect();
    let mut shares: Vec<usize> = scaled.iter().map(|&share| (share / total) as usize).collect();
    let missing = wanted - shares.iter().sum::<usize>();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&class| std::cmp::Reverse(scaled[class] % total));
    for &class in &order[..missing] {
        shares[class] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Shape;

    /// 60 images of class 0, 30 of class 1, 10 of class 2, mixed.
    fn images() -> Images {
        let labels: Vec<u16> = (0..100).map(|i| [0, 0, 1, 0, 1, 0, 0, 1, 0, 2][i % 10]).collect();
        let names = ["a", "b", "c"].map(str::to_string).to_vec();
        Images::new(vec![0; 100], labels, Shape { c: 1, h: 1, w: 1 }, names).unwrap()
    }

    #[test]
    fn parts_are_disjoint_whole_and_stratified() {
        let images = images();
        let parts = split(&images, Holdout::Fraction(0.2), Seed::new(1)).unwrap();
        let mut all = [parts.train.clone(), parts.validation.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        let count = |class| parts.validation.iter().filter(|&&index| images.labels()[index] == class).count();
        assert_eq!([count(0), count(1), count(2)], [12, 6, 2]);
    }

    #[test]
    fn largest_remainder_reaches_the_exact_total() {
        // 7 of 60:30:10 are 4.2, 2.1, 0.7; the seventh goes to the last class.
        assert_eq!(shares(&[60, 30, 10], 7), [4, 2, 1]);
        assert_eq!(shares(&[5, 5, 5], 4), [2, 1, 1]);
        assert_eq!(shares(&[0, 3], 2), [0, 2]);
        assert_eq!(split(&images(), Holdout::Count(99), Seed::new(0)).unwrap().train.len(), 1);
    }

    #[test]
    fn seed_decides_the_parts() {
        let draw = |seed| split(&images(), Holdout::Count(20), Seed::new(seed)).unwrap();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn empty_parts_are_refused() {
        for bad in [Holdout::Count(0), Holdout::Count(100), Holdout::Fraction(0.0), Holdout::Fraction(1.0)] {
            assert!(split(&images(), bad, Seed::new(0)).unwrap_err().to_string().contains("1 to 99"));
        }
        assert!(split(&images(), Holdout::Fraction(f64::NAN), Seed::new(0)).is_err());
    }

    #[test]
    fn text_is_a_count_or_a_share() {
        assert_eq!("2000".parse::<Holdout>().unwrap(), Holdout::Count(2000));
        assert_eq!("0.1".parse::<Holdout>().unwrap(), Holdout::Fraction(0.1));
        assert_eq!(Holdout::Fraction(1.0).to_string(), "1.0");
        assert!("a tenth".parse::<Holdout>().is_err());
    }
}
