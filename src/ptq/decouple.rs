//! Codes and scales chosen by the error of each layer's output instead of by rounding (Guo et al. 2024, decoupleQ, arXiv
//! 2404.12759): layers in order, each on what the quantized layers in front of it give. `quadratic` does the sums.

use std::ops::Range;

use rayon::prelude::*;
use tch::{Device, Kind, Tensor, no_grad};

use super::Calibrated;
use super::descent::{Row, Rows};
use super::quadratic::Quadratic;
use super::reconstruct::in_parts;
use crate::error::Result;
use crate::formats::{Granularity, Runs, ScaleKind, Scales};
use crate::models::{Folded, Step, blocks, walk};
use crate::network::{LayerSpec, Op};
use crate::quant;
use crate::stored::{StoredNetwork, StoredWeight};

/// Windows of a layer's input that its form is made from, about.
const WINDOWS: i64 = 1 << 18;

/// Fewest images that it is made from, where there are so many.
const FEWEST: i64 = 64;

/// Numbers that unfolded windows may take at once.
const UNFOLDED: i64 = 1 << 24;

/// Images that run through a block at once.
const PASS: i64 = 128;

/// The network with codes and, where `free` says so and a row's scales may be any numbers, scales that bring each layer's
/// output nearer to what its float weights give for the same input. Activations keep their scales; biases become the float
/// network's. `step` is told after each layer whose weights have scales and may end it.
///
/// # Shapes
/// `images`: `[n, c, h, w]`, normalised.
///
/// # Errors
/// What `step` returns.
pub fn decoupled(
    calibrated: &Calibrated,
    mut stored: StoredNetwork,
    images: &Tensor,
    free: bool,
    step: &mut dyn FnMut() -> Result<()>,
) -> Result<StoredNetwork> {
    let device = images.device();
    let mut ready = Folded::from_stored(stored.clone(), device);
    let mut input = in_parts(images, &|x| ready.input(x));
    for block in blocks(&stored.network) {
        for index in block.clone() {
            if !decouples(&stored.network.layers[index]) {
                continue;
            }
            let forms = forms(&ready, block.start..index + 1, &input);
            if let (Some(own), Some(exact)) = (&mut stored.layers[index], &calibrated.float().layers[index]) {
                own.weight = solved(&forms, &exact.weight.values(), &own.weight, free);
                own.bias.clone_from(&exact.bias);
            }
            ready = Folded::from_stored(stored.clone(), device);
            step()?;
        }
        input = in_parts(&input, &|x| ready.part(block.clone(), x));
    }
    stored.round_biases();
    Ok(stored)
}

/// Whether a layer's codes and scales are chosen anew: it has weights in a format with scales.
pub fn decouples(layer: &LayerSpec) -> bool {
    layer.weight.is_some_and(|spec| spec.format.takes_scale())
}

/// A weight with better codes and scales; there is a form for each group of output channels.
fn solved(forms: &[Quadratic], exact: &[f32], weight: &StoredWeight, free: bool) -> StoredWeight {
    let (channels, spec) = (weight.shape[0], weight.spec);
    let columns = exact.len() / channels.max(1);
    let Runs { row, run } = spec.granularity.runs(&weight.shape);
    let shared = spec.granularity == Granularity::Tensor;
    let a_row = if shared { 1 } else { weight.scales.runs.len() / channels.max(1) };
    let free = free && !shared && spec.scale == ScaleKind::Float32;
    // Which of its row's scales a column has.
    let of_column = |at: usize| if shared { 0 } else { at / row * row.div_ceil(run) + at % row / run };
    let runs: Vec<usize> = (0..columns).map(of_column).collect();
    let found: Vec<Row> = (0..channels)
        .into_par_iter()
        .map(|channel| {
            let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
            let columns = channel * columns..(channel + 1) * columns;
            let first = if shared { 0 } else { channel * a_row };
            let scales: Vec<f64> = (weight.scales.runs[first..first + a_row].iter())
                .map(|&scale| f64::from(scale * weight.scales.tensor))
                .collect();
            let form = &forms[channel * forms.len() / channels];
            let rows = Rows::new(form, spec.format, &runs, free);
            rows.solved(&wide(&exact[columns.clone()]), &wide(&weight.grid[columns]), &scales)
        })
        .collect();
    let narrow = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
    let grid = found.iter().flat_map(|row| narrow(&row.codes)).collect();
    let scales = if free {
        Scales { runs: found.iter().flat_map(|row| narrow(&row.scales)).collect(), tensor: 1.0 }
    } else {
        weight.scales.clone()
    };
    StoredWeight { grid, scales, ..weight.clone() }
}

/// The second moments of what the last of `layers` reads, for each of its groups; `input` is what the first reads.
fn forms(ready: &Folded, layers: Range<usize>, input: &Tensor) -> Vec<Quadratic> {
    let last = &ready.stored().network.layers[layers.end - 1];
    let images = input.size()[0];
    let places = (last.output.h * last.output.w) as i64;
    let wanted = (WINDOWS / places.max(1)).max(FEWEST);
    let some = input.slice(0, 0, images, (images / wanted).max(1));
    let mut watched = Watched { ready, index: layers.end - 1, moments: None, windows: 0 };
    for part in some.split(PASS, 0) {
        let _unused = no_grad(|| walk(&ready.stored().network, layers.clone(), part, &mut watched));
    }
    let Some(moments) = watched.moments else { return Vec::new() };
    let (groups, size) = (moments.size()[0] as usize, moments.size()[1] as usize);
    let mean = (moments / watched.windows.max(1) as f64).to_device(Device::Cpu).contiguous().view([-1]);
    let values: Vec<f64> = Vec::try_from(mean).unwrap_or_default();
    (0..groups).map(|group| Quadratic::new(&values[group * size * size..][..size * size], size)).collect()
}

/// A walk that gathers what one layer reads.
struct Watched<'a> {
    ready: &'a Folded,
    index: usize,
    /// Sums of products, `[groups, columns, columns]`.
    moments: Option<Tensor>,
    windows: i64,
}

impl Watched<'_> {
    fn gather(&mut self, layer: &LayerSpec, x: &Tensor) {
        let columns = layer.op.weight_shape().map_or(1, |shape| shape[1..].iter().product::<usize>()) as i64;
        let groups = if let Op::Conv(conv) = layer.op { conv.groups as i64 } else { 1 };
        let places = (layer.output.h * layer.output.w) as i64;
        let at_once = (UNFOLDED / (groups * columns * places)).max(1);
        for part in x.split(at_once, 0) {
            let windows = windows(layer.op, &part);
            let count = windows.size()[0] * places;
            let windows = windows.view([-1, groups, columns, places]).permute([1, 2, 0, 3]);
            let windows = windows.reshape([groups, columns, count]);
            let own = windows.bmm(&windows.transpose(1, 2)).to_kind(Kind::Double);
            self.moments = Some(match self.moments.take() {
                Some(known) => known + own,
                None => own,
            });
            self.windows += count;
        }
    }
}

/// What each output place of a layer reads.
///
/// # Shapes
/// `x`: `[n, c, h, w]`; the result is `[n, c * k * k, places]`.
fn windows(op: Op, x: &Tensor) -> Tensor {
    let Op::Conv(conv) = op else { return x.contiguous().view([x.size()[0], x.size()[1], -1]) };
    let pair = |value: usize| [value as i64; 2];
    let (before, after) = (conv.padding as i64, (conv.padding + conv.extra_end) as i64);
    let padded = x.constant_pad_nd([before, after, before, after]).contiguous();
    padded.im2col(pair(conv.kernel), [1, 1], [0, 0], pair(conv.stride))
}

impl Step for Watched<'_> {
    fn operate(&mut self, index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor {
        if index == self.index {
            self.gather(layer, x);
            // Nobody reads on.
            return Tensor::from(0.0_f32).to_device(x.device());
        }
        self.ready.operate(index, layer, x, second)
    }

    fn quantize(&mut self, index: usize, x: Tensor) -> Tensor {
        let stored = self.ready.stored();
        match &stored.network.layers[index].point {
            Some(point) if index != self.index => quant::activation_in_place(x, point, stored.scales[index]),
            _ => x,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{Format, QuantSpec};
    use crate::models::Weights;
    use crate::network::{ModelSpec, Network, build};
    use crate::ptq::Clips;
    use crate::seed::Seed;

    fn network(model: &str, weights: &str) -> Network {
        let width = if model == "vit_tiny" { 0.125 } else { 0.25 };
        let spec =
            ModelSpec { width, resolution: Some(16), classes: Some(10), ..ModelSpec::new(model.parse().unwrap()) };
        let mut network = build(&spec).unwrap();
        let count = network.weighted().len();
        let weights: QuantSpec = weights.parse().unwrap();
        network.assign(&vec![weights; count], &vec![QuantSpec::per_tensor(Format::Int(8)); count]);
        network
    }

    /// Squared distance of a layer's output from that of its float weights, over all images, for two networks that agree in
    /// what stands in front of the layer.
    fn output_error(stored: &StoredNetwork, exact: &StoredNetwork, index: usize, x: &Tensor) -> f64 {
        let with = |layer: &StoredNetwork| {
            let mut network = stored.clone();
            network.layers[index] = layer.layers[index].clone();
            if let (Some(own), Some(exact)) = (&mut network.layers[index], &exact.layers[index]) {
                own.bias.clone_from(&exact.bias);
            }
            let ready = Folded::from_stored(network, Device::Cpu);
            let mut seen = Output { ready: &ready, index, y: None };
            let layers = &ready.stored().network;
            let _logits = no_grad(|| walk(layers, 0..layers.layers.len(), ready.input(x), &mut seen));
            seen.y.unwrap()
        };
        (with(stored) - with(exact)).square().sum(Kind::Double).double_value(&[])
    }

    struct Output<'a> {
        ready: &'a Folded,
        index: usize,
        y: Option<Tensor>,
    }

    impl Step for Output<'_> {
        fn operate(&mut self, index: usize, layer: &LayerSpec, x: &Tensor, second: Option<&Tensor>) -> Tensor {
            let y = self.ready.operate(index, layer, x, second);
            if index == self.index {
                self.y = Some(y.copy());
            }
            y
        }

        fn quantize(&mut self, index: usize, x: Tensor) -> Tensor {
            let stored = self.ready.stored();
            let point = stored.network.layers[index].point.as_ref().unwrap();
            quant::activation_in_place(x, point, stored.scales[index])
        }
    }

    #[test]
    fn every_kind_of_layer_comes_nearer_to_its_float_output() {
        let cases = [("resnet8", "int3/channel"), ("mobilenet_v2", "fp4/channel"), ("vit_tiny", "int3/group8")];
        for (model, weights) in cases {
            let network = network(model, weights);
            let x = Tensor::randn([24, 3, 16, 16], (Kind::Float, Device::Cpu));
            let own = Weights::initialised(&network, Seed::new(3), Device::Cpu);
            let calibrated = Calibrated::new(&network, &own, &[&x], Clips::default());
            let plain = calibrated.quantized(&network);
            let mut layers = 0;
            let mut step = || {
                layers += 1;
                Ok(())
            };
            let found = decoupled(&calibrated, plain.clone(), &x, true, &mut step).unwrap();
            assert_eq!(layers, network.weighted().len(), "{model}");
            let mut total = [0.0, 0.0];
            for index in network.weighted() {
                // The rounded weight behind the same front.
                let mut rounded = found.clone();
                rounded.layers[index] = plain.layers[index].clone();
                let errors = [&rounded, &found].map(|stored| output_error(stored, calibrated.float(), index, &x));
                assert!(errors[1] <= errors[0] * 1.02, "{model} {}: {errors:?}", network.layers[index].name);
                total = [0, 1].map(|at| total[at] + errors[at] / errors[0].max(1e-9));
            }
            assert!(total[1] < 0.6 * total[0], "{model}: {total:?}");
            let grid = network.layers[network.weighted()[0]].weight.unwrap().format.grid();
            let on_grid = |value: &f32| grid.iter().any(|level| (*level - f64::from(*value)).abs() < 1e-9);
            assert!(
                found.layers.iter().flatten().filter(|own| own.weight.spec.format.takes_scale()).all(|own| own
                    .weight
                    .grid
                    .iter()
                    .all(on_grid)),
                "{model}"
            );
        }
    }

    #[test]
    fn scales_that_may_not_move_stay() {
        for (weights, free) in [("int3/tensor", true), ("int3/channel:pow2", true), ("int3/channel", false)] {
            let network = network("resnet8", weights);
            let x = Tensor::randn([16, 3, 16, 16], (Kind::Float, Device::Cpu));
            let own = Weights::initialised(&network, Seed::new(3), Device::Cpu);
            let calibrated = Calibrated::new(&network, &own, &[&x], Clips::default());
            let plain = calibrated.quantized(&network);
            let found = decoupled(&calibrated, plain.clone(), &x, free, &mut || Ok(())).unwrap();
            for (own, old) in found.layers.iter().zip(&plain.layers) {
                let (own, old) = (own.as_ref().map(|own| &own.weight), old.as_ref().map(|old| &old.weight));
                assert_eq!(own.map(|own| &own.scales), old.map(|old| &old.scales), "{weights}");
            }
            assert_ne!(found, plain, "{weights}");
        }
    }
}
