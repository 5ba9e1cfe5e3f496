//! Weights as codes and scales.

use crate::formats::Format;
use crate::formats::Granularity;
use crate::formats::QuantSpec;
use crate::formats::Runs;
use crate::formats::ScaleKind;
use crate::formats::Scales;
use crate::formats::min_max_scales;
use crate::formats::round_to_grid;

/// Largest code of a bias: half of the 32-bit range, so that sums of products still fit beside it.
pub const LARGEST_BIAS: f32 = 1_073_741_824.0;

/// A weight tensor in its format.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredWeight {
    /// Format and granularity.
    pub spec: QuantSpec,
    /// `[c_out, ...]`.
    pub shape: Vec<usize>,
    /// Values of the format's grid, row-major; the weights themselves for formats that take no scale.
    pub grid: Vec<f32>,
    /// One scale for each run of elements; all 1 for formats that take none.
    pub scales: Scales,
}

impl StoredWeight {
    /// Quantizes `weights` after multiplying each output channel by its factor. The factor goes onto the channel's scale
    /// where that is exact (one float32 scale a channel, positive factor), else into the weights before they are quantized.
    ///
    /// # Panics
    /// When `weights` does not fill `shape`, or there is not one factor an output channel.
    pub fn quantize(mut weights: Vec<f32>, shape: &[usize], factors: Option<&[f32]>, spec: QuantSpec) -> Self {
        let channels = shape[0];
        let row = weights.len() / channels.max(1);
        let on_scale = |factor: f32| {
            let one_a_channel = spec.granularity == Granularity::Channel && spec.scale == ScaleKind::Float32;
            spec.format.takes_scale() && one_a_channel && factor > 0.0
        };
        if let Some(factors) = factors {
            assert_eq!(factors.len(), channels, "one factor an output channel");
            for (values, &factor) in
                weights.chunks_mut(row.max(1)).zip(factors).filter(|(_, factor)| !on_scale(**factor))
            {
                values.iter_mut().for_each(|value| *value *= factor);
            }
        }
        let scales = if spec.format.takes_scale() {
            min_max_scales(&weights, shape, &spec)
        } else {
            Scales { runs: vec![1.0; spec.granularity.scale_count(shape)], tensor: 1.0 }
        };
        let mut quantized = Self::under(weights, shape, spec, scales);
        if let Some(factors) = factors.filter(|_| spec.granularity == Granularity::Channel) {
            for (scale, &factor) in
                quantized.scales.runs.iter_mut().zip(factors).filter(|(_, factor)| on_scale(**factor))
            {
                *scale *= factor;
            }
        }
        quantized
    }

    /// Quantizes `weights` under given scales.
    ///
    /// # Panics
    /// When `weights` or `scales` does not fit `shape`.
    pub fn under(mut weights: Vec<f32>, shape: &[usize], spec: QuantSpec, scales: Scales) -> Self {
        assert_eq!(scales.runs.len(), spec.granularity.scale_count(shape), "one scale a run");
        let Runs { row, run } = spec.granularity.runs(shape);
        let runs = weights.chunks_mut(row).flat_map(|row| row.chunks_mut(run));
        for (values, &scale) in runs.zip(&scales.runs) {
            let scale = scale * scales.tensor;
            values.iter_mut().for_each(|value| *value /= scale);
            if spec.format != Format::Float32 {
                round_to_grid(spec.format, values);
            }
        }
        Self { spec, shape: shape.to_vec(), grid: weights, scales }
    }

    /// The same weights with scales wide enough that each channel's bias fits 32 bits at `input_scale` times its scale. Only
    /// channels whose weights are negligible beside their bias change.
    #[must_use]
    pub fn with_room_for(&self, bias: &[f32], input_scale: f32) -> Self {
        let mut wider = self.clone();
        let count = wider.scales.runs.len();
        let row = self.grid.len() / count.max(1);
        // One scale for all channels must hold the largest bias.
        let needs = |run: usize| {
            let mine = bias.iter().enumerate().filter(|(channel, _)| channel % count == run);
            let largest = mine.map(|(_, bias)| bias.abs()).fold(0.0, f32::max);
            largest / input_scale / LARGEST_BIAS
        };
        for (run, values) in wider.grid.chunks_mut(row.max(1)).enumerate().take(count) {
            let have = self.scales.runs[run];
            let need = match self.spec.scale {
                // Ratios of scales that are powers of two stay so.
                ScaleKind::Float32 => have * (needs(run) / have).log2().ceil().exp2(),
                ScaleKind::PowerOfTwo | ScaleKind::E8m0 | ScaleKind::E4m3 => needs(run).log2().ceil().exp2(),
            };
            if need > have {
                values.iter_mut().for_each(|value| *value *= have / need);
                round_to_grid(self.spec.format, values);
                wider.scales.runs[run] = need;
            }
        }
        wider
    }

    /// The input's scale times the weight scale of each of `channels` output channels: what one step of an integer bias is.
    pub fn bias_steps(&self, channels: usize, input_scale: f32) -> Vec<f32> {
        (0..channels).map(|channel| input_scale * self.scales.runs[channel % self.scales.runs.len()]).collect()
    }

    /// The weights: grid values times scales, row-major.
    pub fn values(&self) -> Vec<f32> {
        let Runs { row, run } = self.spec.granularity.runs(&self.shape);
        let runs = self.grid.chunks(row).flat_map(|row| row.chunks(run));
        let scaled = runs.zip(&self.scales.runs).flat_map(|(values, &scale)| {
            let scale = scale * self.scales.tensor;
            values.iter().map(move |value| value * scale)
        });
        scaled.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTS: [f32; 4] = [3.0, -7.0, 0.5, 0.26];

    fn stored(factors: Option<&[f32]>, spec: QuantSpec) -> StoredWeight {
        StoredWeight::quantize(WEIGHTS.to_vec(), &[2, 2], factors, spec)
    }

    #[test]
    fn a_positive_factor_goes_onto_the_scale_a_negative_one_into_the_weights() {
        let int4 = QuantSpec::per_channel(Format::Int(4));
        let stored = stored(Some(&[2.0, -1.0]), int4);
        // Row 0: scale 7 / 7 = 1, then times 2. Row 1: weights -0.5, -0.26, scale 0.5 / 7, codes -7 and -3.64 -> -4.
        assert_eq!(stored.grid, [3.0, -7.0, -7.0, -4.0]);
        assert!((stored.scales.runs[0] - 2.0).abs() < 1e-7 && (stored.scales.runs[1] - 0.5 / 7.0).abs() < 1e-7);
        assert_eq!(stored.values()[..2], [6.0, -14.0]);
    }

    #[test]
    fn one_scale_a_tensor_takes_the_factor_before() {
        let stored = stored(Some(&[1.0, 2.0]), QuantSpec::per_tensor(Format::Int(8)));
        // Row 1 becomes 1, 0.52; the scale is 7 / 127 for all.
        assert_eq!(stored.grid, [54.0, -127.0, 18.0, 9.0]);
    }

    #[test]
    fn a_bias_beyond_32_bits_widens_its_channel_alone() {
        let int8 = stored(None, QuantSpec::per_channel(Format::Int(8)));
        assert_eq!(int8.with_room_for(&[100.0, 1.0], 1e-3), int8);
        let wider = int8.with_room_for(&[1e12, 1.0], 1e-3);
        assert!(wider.scales.runs[0] * 1e-3 * 2_147_483_000.0 > 1e12, "{:?}", wider.scales);
        assert_eq!((wider.grid[0], wider.scales.runs[1]), (0.0, int8.scales.runs[1]));
    }

    #[test]
    fn float32_keeps_every_bit() {
        let stored = stored(Some(&[1.0, 3.0]), QuantSpec::per_channel(Format::Float32));
        assert_eq!(stored.values(), [3.0, -7.0, 1.5, 0.26 * 3.0]);
    }
}
