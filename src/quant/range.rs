//! What is recorded of a tensor, and the clip each format derives from it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use multiversion::multiversion;

use crate::formats::Density;
use crate::formats::Format;
use crate::formats::best_clip;

/// Optimal clip of a Gaussian in deviations, by format. Unsigned integers count as the signed format with the same
/// positive half: one bit more. Formats that are not listed represent the recorded maximum.
static GAUSSIAN_CLIP: LazyLock<BTreeMap<Format, f32>> = LazyLock::new(|| {
    let clip = |format: Format| {
        let signed = match format {
            Format::Uint(bits) => Format::Int(bits + 1),
            other => other,
        };
        (format.bits() < 8).then(|| best_clip(signed, Density::Normal)).flatten().map(|clip| (format, clip as f32))
    };
    Format::all().into_iter().filter_map(clip).collect()
});

/// Largest magnitude and root mean square of a tensor: all that formats share.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Range {
    /// Largest magnitude.
    pub max: f32,
    /// Root mean square.
    pub rms: f32,
}

impl Range {
    /// The range of some values, those below `floor` taken as that.
    pub fn of(values: &[f32], floor: f32) -> Self {
        let raised = |value: f32| if value < floor { floor } else { value };
        let (max, square, rest) = lanes(values, floor);
        let mut range = Self { max: 0.0, rms: square.iter().sum() };
        for magnitude in max.into_iter().chain(rest.iter().map(|&value| raised(value).abs())) {
            range.max = range.max.max(magnitude);
        }
        range.rms += rest.iter().map(|&value| raised(value).powi(2)).sum::<f32>();
        range.rms = (range.rms / values.len().max(1) as f32).sqrt();
        range
    }

    /// The range of a whole from the ranges of its consecutive chunks; all hold `chunk` values but the last.
    pub(super) fn merged(parts: &[Self], chunk: usize, total: usize) -> Self {
        let mut max = 0_f32;
        let mut square = 0_f64;
        for (index, part) in parts.iter().enumerate() {
            let count = chunk.min(total - index * chunk);
            max = max.max(part.max);
            square += f64::from(part.rms).powi(2) * count as f64;
        }
        Self { max, rms: (square / total.max(1) as f64).sqrt() as f32 }
    }

    /// Moves towards a new observation: `self + rate * (new - self)`; the first observation is taken whole.
    pub fn absorb(&mut self, new: Self, rate: f32) {
        if self.max > 0.0 {
            self.max += rate * (new.max - self.max);
            self.rms += rate * (new.rms - self.rms);
        } else {
            *self = new;
        }
    }

    /// Largest value the format shall represent: the recorded maximum, or in formats below 8 bits less, where clipping the
    /// tail costs less error than the wider step would. The bound is the optimal clip of a Gaussian of the same root mean
    /// square, widened for heavier tails (half a Gaussian for a nonnegative tensor, whose mean square counts the zeros in). 1 for an all-zero tensor.
    pub fn clip(self, format: Format, nonnegative: bool) -> f32 {
        let tail = if nonnegative { std::f32::consts::SQRT_2 } else { 1.0 };
        let bound = GAUSSIAN_CLIP.get(&format).map_or(f32::INFINITY, |clip| HEAVY_TAIL * clip * self.rms * tail);
        let clip = self.max.min(bound);
        if clip > 0.0 { clip } else { 1.0 }
    }
}

/// Largest magnitudes and sums of squares of every eighth value, and the last values that are fewer than eight. Eight lanes keep
/// the loop free of a serial dependency, so that it vectorises.
#[multiversion(targets("x86_64+avx2+avx512f+avx512vl", "x86_64+avx2"))]
fn lanes(values: &[f32], floor: f32) -> ([f32; 8], [f32; 8], &[f32]) {
    let (mut max, mut square) = ([0_f32; 8], [0_f32; 8]);
    let (lanes, rest) = values.as_chunks::<8>();
    for lane in lanes {
        for k in 0..8 {
            let raised = if lane[k] < floor { floor } else { lane[k] };
            let magnitude = raised.abs();
            max[k] = if magnitude > max[k] { magnitude } else { max[k] };
            square[k] += magnitude * magnitude;
        }
    }
    (max, square, rest)
}

/// Activations have heavier tails than a Gaussian. On ResNet-20 with CIFAR-10 (int4, e2m1 and int5 everywhere, per-channel
/// weights) 1.3 to 1.5 times the Gaussian's clip was best of 0.9 to 2.
const HEAVY_TAIL: f32 = 1.4;

/// Recorded ranges of the quantization points, by tensor name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranges(BTreeMap<String, Range>);

impl Ranges {
    /// The range recorded for a tensor; all zero when there is none yet.
    pub fn get(&self, tensor: &str) -> Range {
        self.0.get(tensor).copied().unwrap_or_default()
    }

    /// Absorbs an observation of a tensor, with [`Range::absorb`].
    pub fn absorb(&mut self, tensor: &str, new: Range, rate: f32) {
        match self.0.get_mut(tensor) {
            Some(range) => range.absorb(new, rate),
            None => {
                self.0.insert(tensor.to_owned(), new);
            }
        }
    }

    /// Takes the ranges of tensors that have none yet.
    pub fn fill(&mut self, others: &Self) {
        for (tensor, range) in &others.0 {
            self.0.entry(tensor.clone()).or_insert(*range);
        }
    }

    /// Widens a tensor's range to hold a new observation: the largest maximum, the mean of the mean squares over
    /// `seen` observations before this one.
    pub fn widen(&mut self, tensor: &str, new: Range, seen: usize) {
        let range = self.0.entry(tensor.to_owned()).or_default();
        let weight = 1.0 / (seen as f32 + 1.0);
        range.max = range.max.max(new.max);
        range.rms = (range.rms * range.rms * (1.0 - weight) + new.rms * new.rms * weight).sqrt();
    }

    /// All ranges in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Range)> {
        self.0.iter().map(|(name, range)| (name.as_str(), *range))
    }
}

impl FromIterator<(String, Range)> for Ranges {
    fn from_iter<T: IntoIterator<Item = (String, Range)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_of_a_short_row_by_hand() {
        let range = Range::of(&[3.0, -4.0], f32::NEG_INFINITY);
        assert!((range.max - 4.0).abs() < 1e-7 && (range.rms - 12.5_f32.sqrt()).abs() < 1e-6);
        let mut long = [-4.0; 11];
        (long[2], long[9]) = (3.0, 1.0);
        let range = Range::of(&long, 0.0);
        assert!((range.max - 3.0).abs() < 1e-7 && (range.rms - (10.0_f32 / 11.0).sqrt()).abs() < 1e-6);
    }

    #[test]
    fn chunks_merge_into_the_whole() {
        let values: Vec<f32> = (0..1000).map(|i| ((i * 37) % 101) as f32 - 50.0).collect();
        let parts: Vec<Range> = values.chunks(64).map(|part| Range::of(part, f32::NEG_INFINITY)).collect();
        let whole = Range::of(&values, f32::NEG_INFINITY);
        let merged = Range::merged(&parts, 64, values.len());
        assert!((whole.max - merged.max).abs() < 1e-6 && (whole.rms - merged.rms).abs() < 1e-3);
    }

    #[test]
    fn int8_keeps_the_maximum_and_int2_clips() {
        let range = Range { max: 3.0, rms: 1.0 };
        assert!((range.clip(Format::Int(8), false) - 3.0).abs() < 1e-6);
        assert!(range.clip(Format::Int(2), false) < 2.0);
    }
}
