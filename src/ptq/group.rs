//! A tensor and the layers that read it, whose quantizers are found together by what those layers give.

use tch::Tensor;

use super::Calibrated;
use super::rows::Rows;
use crate::formats::{Granularity, QuantSpec, Runs, ScaleKind, Scales, absmax};
use crate::network::Point;
use crate::quant;
use crate::stored::StoredWeight;

/// Rounds over weights and tensor.
const ROUNDS: usize = 3;

/// Tenths of an octave below the largest magnitude that clips are tried at.
const TRIED: std::ops::RangeInclusive<i32> = -3..=30;

/// A clip that is tried for values that reach this far: so many tenths of an octave below, whatever their size.
fn clip(largest: f32, tenths: i32) -> f32 {
    largest * (-tenths as f32 / 10.0).exp2()
}

/// A layer that reads the tensor of a group.
pub(super) struct Reader {
    /// Its place among the network's layers.
    pub(super) index: usize,
    rows: Rows,
    /// The float weights.
    float: Vec<f32>,
    shape: Vec<usize>,
    /// Weights as they are now.
    pub(super) quantized: StoredWeight,
    /// Its rows as the tensor's quantizer gives them now.
    inputs: Tensor,
    /// Error of each output channel now.
    errors: Vec<f64>,
}

impl Reader {
    /// A layer in `spec`, its clips by the rule.
    pub(super) fn new(calibrated: &Calibrated, index: usize, spec: QuantSpec, rows: Rows) -> Self {
        let (float, shape) = match &calibrated.float().layers[index] {
            Some(own) => (own.weight.values(), own.weight.shape.clone()),
            None => (Vec::new(), vec![0]),
        };
        let quantized = calibrated.weight(index, spec).unwrap_or_else(|| min_max(&float, &shape, spec));
        let inputs = rows.inputs.shallow_clone();
        Self { index, rows, float, shape, quantized, inputs, errors: Vec::new() }
    }

    /// Error of its output now, as a share of the output.
    pub(super) fn error(&self) -> f64 {
        self.errors.iter().sum()
    }

    /// Takes other rows for the ones it reads.
    fn read(&mut self, inputs: Tensor) {
        self.errors = self.rows.errors(&inputs, &self.quantized);
        self.inputs = inputs;
    }

    /// Takes the weights in `specs` that give the smallest error, the ones that it has unless others give less.
    fn improve(&mut self, specs: &[QuantSpec]) {
        for &spec in specs {
            let Some((quantized, errors)) = self.best(spec) else { continue };
            if errors.iter().sum::<f64>() < self.error() {
                (self.quantized, self.errors) = (quantized, errors);
            }
        }
    }

    /// The weights in a format with the clips that give the smallest error; `None` where no clip can be chosen.
    fn best(&self, spec: QuantSpec) -> Option<(StoredWeight, Vec<f64>)> {
        let by_channel = match spec.granularity {
            Granularity::Channel => true,
            Granularity::Tensor => false,
            _ => return None,
        };
        if !spec.format.takes_scale() || matches!(spec.scale, ScaleKind::E8m0 | ScaleKind::E4m3) {
            return None;
        }
        let Runs { row, .. } = spec.granularity.runs(&self.shape);
        let largest: Vec<f32> = self.float.chunks(row).map(absmax).collect();
        let under =
            |runs: Vec<f32>| StoredWeight::under(self.float.clone(), &self.shape, spec, Scales { runs, tensor: 1.0 });
        let kept = (self.quantized.spec == spec).then(|| (self.quantized.scales.runs.clone(), self.errors.clone()));
        let (mut scales, mut errors) = kept.unwrap_or_else(|| {
            let channels = self.shape[0];
            (vec![1.0; largest.len()], vec![f64::INFINITY; channels])
        });
        for tenths in TRIED {
            let scale = |&top: &f32| spec.format.scale_for(clip(top, tenths), spec.scale);
            let tried: Vec<f32> = largest.iter().map(scale).collect();
            let found = self.rows.errors(&self.inputs, &under(tried.clone()));
            if by_channel {
                for (at, error) in found.into_iter().enumerate() {
                    if error < errors[at] {
                        (scales[at], errors[at]) = (tried[at], error);
                    }
                }
            } else if found.iter().sum::<f64>() < errors.iter().sum() {
                (scales, errors) = (tried, found);
            }
        }
        let best = under(scales);
        // As one product gives it, so that sums compare.
        let errors = self.rows.errors(&self.inputs, &best);
        Some((best, errors))
    }
}

/// A tensor with the layers that read it.
pub(super) struct Group<'a> {
    calibrated: &'a Calibrated,
    /// The input at 0, a layer's result at its index plus one.
    pub(super) tensor: usize,
    /// Its quantizer now.
    pub(super) point: Point,
    /// `None` where the tensor has none: in float, or where each token has its own.
    pub(super) scale: Option<f32>,
    /// The layers.
    pub(super) readers: Vec<Reader>,
}

impl<'a> Group<'a> {
    /// As the clip rules have it.
    pub(super) fn new(calibrated: &'a Calibrated, tensor: usize, point: &Point, readers: Vec<Reader>) -> Self {
        let scale = point.has_scale().then(|| calibrated.scale(tensor, point.spec.format, point.spec.scale));
        let mut group = Self { calibrated, tensor, point: *point, scale, readers };
        group.take(*point, scale);
        group
    }

    fn error(&self) -> f64 {
        self.readers.iter().map(Reader::error).sum()
    }

    /// Sets the tensor's quantizer.
    fn take(&mut self, point: Point, scale: Option<f32>) {
        for reader in &mut self.readers {
            let inputs = rounded(&reader.rows.inputs, &point, scale);
            reader.read(inputs);
        }
        (self.point, self.scale) = (point, scale);
    }

    /// The rounds: first in the formats asked for, then, where they may change, in their flavours. Never ends worse than the
    /// clip rules or the largest magnitudes are.
    pub(super) fn descend(&mut self, flavours: bool) {
        self.start_from_the_better();
        self.rounds(false);
        if flavours {
            self.rounds(true);
        }
    }

    /// Where the largest magnitudes are better than the rules, those.
    fn start_from_the_better(&mut self) {
        let weights: Vec<StoredWeight> = self.readers.iter().map(|reader| reader.quantized.clone()).collect();
        let (error, scale, spec) = (self.error(), self.scale, self.point.spec);
        for reader in &mut self.readers {
            reader.quantized = min_max(&reader.float, &reader.shape, reader.quantized.spec);
        }
        let largest = absmax(self.calibrated.sample(self.tensor));
        self.take(self.point, scale.map(|_| spec.format.scale_for(largest, spec.scale)));
        if self.error() >= error {
            self.readers.iter_mut().zip(weights).for_each(|(reader, weight)| reader.quantized = weight);
            self.take(self.point, scale);
        }
    }

    fn rounds(&mut self, flavours: bool) {
        let of = |spec: QuantSpec| -> Vec<QuantSpec> {
            let formats = if flavours { spec.format.flavours() } else { vec![spec.format] };
            formats.into_iter().map(|format| QuantSpec { format, ..spec }).collect()
        };
        for _ in 0..ROUNDS {
            let before = self.error();
            for reader in &mut self.readers {
                reader.improve(&of(reader.quantized.spec));
            }
            self.improve_tensor(&of(self.point.spec));
            if self.error() >= before {
                break;
            }
        }
    }

    /// Takes the quantizer of the tensor with the smallest sum of errors, the present one unless another gives less.
    fn improve_tensor(&mut self, specs: &[QuantSpec]) {
        let largest = absmax(self.calibrated.sample(self.tensor));
        let mut best = (self.error(), self.point, self.scale);
        for &spec in specs {
            let point = Point { spec, ..self.point };
            let scale = |tenths| spec.format.scale_for(clip(largest, tenths), spec.scale);
            let scales: Vec<Option<f32>> = match self.scale {
                Some(_) if spec.format.takes_scale() => TRIED.map(|tenths| Some(scale(tenths))).collect(),
                kept => vec![kept],
            };
            for scale in scales {
                let error: f64 = (self.readers.iter())
                    .map(|reader| reader.rows.error(&rounded(&reader.rows.inputs, &point, scale), &reader.quantized))
                    .sum();
                if error < best.0 {
                    best = (error, point, scale);
                }
            }
        }
        let (_, point, scale) = best;
        self.take(point, scale);
    }
}

fn min_max(values: &[f32], shape: &[usize], spec: QuantSpec) -> StoredWeight {
    StoredWeight::quantize(values.to_vec(), shape, None, spec)
}

/// Rows as a tensor's quantizer gives them.
pub(super) fn rounded(rows: &Tensor, point: &Point, scale: Option<f32>) -> Tensor {
    if point.is_by_token() {
        // A row is a token.
        return quant::weight(rows, point.spec);
    }
    quant::activation_in_place(rows.copy(), point, scale)
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, StandardNormal};
    use tch::{Device, Kind};

    use super::*;
    use crate::formats::Format;
    use crate::seed::Seed;

    /// One layer of 8 outputs that reads 32 values.
    fn layer(weights: Vec<f32>) -> (Reader, Tensor) {
        let spec = QuantSpec::per_channel("fp4".parse().unwrap());
        let shape = vec![8, 32];
        tch::manual_seed(3);
        let inputs = Tensor::randn([1, 512, 32], (Kind::Float, Device::Cpu));
        let float = StoredWeight::quantize(weights.clone(), &shape, None, QuantSpec::per_tensor(Format::Float32));
        let rows = Rows::new(inputs.shallow_clone(), &float, None);
        let quantized = min_max(&weights, &shape, spec);
        (Reader { index: 0, rows, float: weights, shape, quantized, inputs: inputs.copy(), errors: Vec::new() }, inputs)
    }

    #[test]
    fn e3m0_comes_with_a_wide_spread_of_magnitudes_and_not_with_gaussian_weights() {
        let gaussian: Vec<f32> = StandardNormal.sample_iter(Seed::new(5).rng()).take(256).collect();
        // Signed powers of two over seven binades: e3m0's own grid.
        let spread: Vec<f32> = (0..256).map(|at| [1.0, -1.0][at / 7 % 2] * 2_f32.powi(-(at as i32 % 7))).collect();
        for (weights, expected) in [(gaussian, "float4_e2m1fn"), (spread, "float4_e3m0")] {
            let (mut reader, inputs) = layer(weights);
            reader.read(inputs);
            let before = reader.error();
            let flavours = reader.quantized.spec.format.flavours();
            let specs: Vec<QuantSpec> = flavours.into_iter().map(QuantSpec::per_channel).collect();
            reader.improve(&specs);
            assert!(reader.quantized.spec.format.name() == expected || expected != "float4_e3m0");
            assert!(reader.quantized.spec.format.name() != "float4_e3m0" || expected == "float4_e3m0");
            assert!(reader.error() < before);
        }
    }

    #[test]
    fn clips_differ_at_any_size_where_factors_of_the_bias_do_not() {
        let Format::Mini(fp4) = "fp4".parse::<Format>().unwrap() else { panic!("a small float") };
        for largest in [12.0_f32, 1e-3, 1.0, 4096.0] {
            let tried: Vec<f32> = TRIED.map(|tenths| clip(largest, tenths)).collect();
            assert!(tried.windows(2).all(|pair| pair[1] < pair[0] && pair[0] / pair[1] < 1.08), "{largest}");
            assert!(tried.contains(&largest));
        }
        // The paper's candidates, factors of 0.01 to 1.2 of the bias, are one and the same where the bias is 0.
        assert!(fp4.bias_for(12.0).abs() < 1e-12);
    }
}
