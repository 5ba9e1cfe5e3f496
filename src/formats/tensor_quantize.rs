//! Min-max fake quantization of a whole tensor at every granularity: the reference the tensor library is checked by.

use super::fake_quantize::{absmax, fake_quantize};
use super::{Format, Granularity, QuantSpec, ScaleKind};

/// How a tensor in row-major order falls into runs of elements that share a scale: rows first, then runs along each
/// row, the last of which may be short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    /// Elements of a row; runs do not cross rows.
    pub row: usize,
    /// Elements of a run.
    pub run: usize,
}

impl Granularity {
    /// The runs of a tensor of this shape.
    pub fn runs(self, shape: &[usize]) -> Runs {
        let elements: usize = shape.iter().product();
        let channel = shape.iter().skip(1).product::<usize>();
        let last = shape.last().copied().unwrap_or(1);
        let (row, run) = match self {
            Self::Tensor => (elements, elements),
            Self::Channel => (channel, channel),
            Self::Token => (last, last),
            Self::Group(size) => (channel, size as usize),
            Self::Block(size) => (last, size as usize),
        };
        // A run of at least one element keeps empty tensors and a group of 0 harmless.
        Runs { row: row.max(1), run: run.max(1) }
    }

    /// How many scales a tensor of this shape has.
    pub fn scale_count(self, shape: &[usize]) -> usize {
        let Runs { row, run } = self.runs(shape);
        shape.iter().product::<usize>() / row * row.div_ceil(run)
    }
}

/// The scales of a quantized tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    /// One for each run, in the order of the elements.
    pub runs: Vec<f32>,
    /// The factor over all of them: NVFP4's tensor scale, 1 for every other kind.
    pub tensor: f32,
}

/// The scales that map each run's largest magnitude to the largest value of the format.
///
/// # Panics
/// When `values` does not have the number of elements of `shape`.
pub fn min_max_scales(values: &[f32], shape: &[usize], spec: &QuantSpec) -> Scales {
    check(values, shape);
    let tensor = match spec.scale {
        ScaleKind::E4m3 => spec.format.tensor_scale(absmax(values)),
        ScaleKind::Float32 | ScaleKind::PowerOfTwo | ScaleKind::E8m0 => 1.0,
    };
    let scale_of = |run: &[f32]| match spec.scale {
        ScaleKind::E4m3 => spec.format.e4m3_scale(absmax(run), tensor),
        kind => spec.format.scale_for(absmax(run), kind),
    };
    let Runs { row, run } = spec.granularity.runs(shape);
    Scales { runs: values.chunks(row).flat_map(|row| row.chunks(run)).map(scale_of).collect(), tensor }
}

/// Rounds every element to the grid under the scale of its run, in place.
///
/// # Panics
/// When `values` or `scales` does not fit `shape`.
pub fn fake_quantize_with(values: &mut [f32], shape: &[usize], spec: &QuantSpec, scales: &Scales) {
    check(values, shape);
    assert_eq!(scales.runs.len(), spec.granularity.scale_count(shape), "one scale a run");
    let Runs { row, run } = spec.granularity.runs(shape);
    let runs = values.chunks_mut(row).flat_map(|row| row.chunks_mut(run));
    for (values, &scale) in runs.zip(&scales.runs) {
        fake_quantize(spec.format, values, scale * scales.tensor);
    }
}

/// Min-max fake quantization of a tensor in row-major order, in place: what `spec` says, with zero point 0.
/// `float32` is left alone, `float16` and `bfloat16` are rounded without a scale.
///
/// # Panics
/// When `values` does not have the number of elements of `shape`.
pub fn fake_quantize_tensor(values: &mut [f32], shape: &[usize], spec: &QuantSpec) {
    check(values, shape);
    if spec.format.takes_scale() {
        let scales = min_max_scales(values, shape, spec);
        fake_quantize_with(values, shape, spec, &scales);
    } else {
        fake_quantize(spec.format, values, 1.0);
    }
}

/// The bit patterns of a tensor under its scales, one a value.
///
/// # Panics
/// When `values` or `scales` does not fit `shape`.
pub fn codes(values: &[f32], shape: &[usize], spec: &QuantSpec, scales: &Scales) -> Vec<u32> {
    check(values, shape);
    assert_eq!(scales.runs.len(), spec.granularity.scale_count(shape), "one scale a run");
    let Runs { row, run } = spec.granularity.runs(shape);
    let runs = values.chunks(row).flat_map(|row| row.chunks(run));
    let code = |format: Format, x: f32, scale: f32| format.encode(x / scale);
    runs.zip(&scales.runs)
        .flat_map(|(values, &scale)| values.iter().map(move |&x| code(spec.format, x, scale * scales.tensor)))
        .collect()
}

fn check(values: &[f32], shape: &[usize]) {
    assert_eq!(values.len(), shape.iter().product::<usize>(), "values do not fill shape {shape:?}");
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "rounding is exact, so the values are too")]
mod tests {
    use super::*;
    use crate::formats::{BlockScaleRule, fake_quantize_mx, fake_quantize_nv};

    fn spec(text: &str) -> QuantSpec {
        text.parse().unwrap()
    }

    /// A `[2, 2, 3]` tensor whose runs have different largest magnitudes.
    const VALUES: [f32; 12] = [7.0, 3.3, -1.2, 0.7, 0.34, 0.0, -14.0, 5.1, 2.9, 70.0, 31.0, -34.0];
    const SHAPE: [usize; 3] = [2, 2, 3];

    fn scales(text: &str) -> Vec<f32> {
        min_max_scales(&VALUES, &SHAPE, &spec(text)).runs
    }

    #[test]
    fn scales_follow_the_granularity() {
        // int4 maps absmax to 7.
        assert_eq!(scales("int4"), [10.0]);
        assert_eq!(scales("int4/channel"), [1.0, 10.0]);
        let near = |got: Vec<f32>, expected: &[f32]| {
            assert_eq!(got.len(), expected.len());
            assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}");
        };
        near(scales("int4/token"), &[1.0, 0.1, 2.0, 10.0]);
        // Rows of 6 in groups of 4: 4 + 2 elements. The last group of row 1 is [31, -34].
        near(scales("int4/group4"), &[1.0, 0.34 / 7.0, 10.0, 34.0 / 7.0]);
        // Rows of 3 in blocks of 2: an all-zero block gets scale 1.
        near(scales("int4/block2"), &[1.0, 1.2 / 7.0, 0.1, 1.0, 2.0, 2.9 / 7.0, 10.0, 34.0 / 7.0]);
    }

    #[test]
    fn scale_counts_match_the_scales_made() {
        for text in ["int4", "int4/channel", "int4/token", "int4/group4", "int4/block2", "nvfp4", "mxfp4"] {
            let spec = spec(text);
            assert_eq!(
                spec.granularity.scale_count(&SHAPE),
                min_max_scales(&VALUES, &SHAPE, &spec).runs.len(),
                "{text}"
            );
        }
        assert_eq!(Granularity::Channel.scale_count(&[0, 4]), 0);
        assert_eq!(Granularity::Block(32).scale_count(&[]), 1);
    }

    #[test]
    fn each_channel_is_rounded_under_its_own_scale() {
        let mut values = VALUES;
        fake_quantize_tensor(&mut values, &SHAPE, &spec("int4/channel"));
        assert_eq!(values, [7.0, 3.0, -1.0, 1.0, 0.0, 0.0, -10.0, 10.0, 0.0, 70.0, 30.0, -30.0]);
    }

    #[test]
    fn block_presets_equal_the_row_kernels() {
        let shape = [3, 50];
        let data: Vec<f32> = (0..150).map(|i| ((i * 37) % 101) as f32 / 7.0 - 6.0).collect();
        let mut tensor = data.clone();
        fake_quantize_tensor(&mut tensor, &shape, &spec("mxfp4"));
        let mut rows = data.clone();
        rows.chunks_mut(50).for_each(|row| fake_quantize_mx(row, spec("mxfp4").format, 32, BlockScaleRule::Floor));
        assert_eq!(tensor, rows);
        let nv = spec("nvfp4");
        let mut tensor = data.clone();
        fake_quantize_tensor(&mut tensor, &shape, &nv);
        let mut rows = data.clone();
        let over_all = nv.format.tensor_scale(absmax(&data));
        rows.chunks_mut(50).for_each(|row| fake_quantize_nv(row, nv.format, 16, over_all));
        assert_eq!(tensor, rows);
    }

    #[test]
    fn codes_decode_to_the_fake_quantized_values() {
        for text in ["int4/channel", "uint3", "e4m3/token", "mxfp6", "nvfp4", "int8/group4:pow2"] {
            let spec = spec(text);
            let values = VALUES.map(f32::abs);
            let scales = min_max_scales(&values, &SHAPE, &spec);
            let mut expected = values;
            fake_quantize_with(&mut expected, &SHAPE, &spec, &scales);
            let Runs { row, run } = spec.granularity.runs(&SHAPE);
            let of_element = |i: usize| scales.runs[(i / row) * row.div_ceil(run) + i % row / run] * scales.tensor;
            let decoded: Vec<f32> = codes(&values, &SHAPE, &spec, &scales)
                .iter()
                .enumerate()
                .map(|(i, &code)| spec.format.decode(code) as f32 * of_element(i))
                .collect();
            assert_eq!(decoded, expected, "{text}");
        }
    }

    #[test]
    fn wide_floats_take_no_scale() {
        let mut values = [1.0_f32 / 3.0, 1e6];
        fake_quantize_tensor(&mut values, &[2], &spec("float16"));
        assert_eq!(values, [half::f16::from_f32(1.0 / 3.0).to_f32(), 65504.0]);
    }
}
