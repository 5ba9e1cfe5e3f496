//! Fake quantization with the straight-through gradient, for activations and weights.

use tch::{Device, Tensor, no_grad};

use super::Range;
use super::kernel;
use super::operations;
use crate::formats::Format;
use crate::formats::Granularity;
use crate::formats::QuantSpec;
use crate::formats::absmax;
use crate::formats::fake_quantize;
use crate::formats::fake_quantize_tensor;
use crate::network::Point;

/// Range of a tensor, whatever its layout and device; of its positive part where a ReLU follows.
pub fn observe(x: &Tensor, nonnegative: bool) -> Range {
    if kernel::is_reachable(x) {
        return kernel::range(x, if nonnegative { 0.0 } else { f32::NEG_INFINITY });
    }
    let x = if nonnegative { x.detach().relu() } else { x.detach() };
    operations::range(&x)
}

/// Fake-quantizes an activation by its point and recorded range.
///
/// Clamps to what the format can represent, which is also the ReLU of a nonnegative tensor, then rounds. The gradient
/// is that of the clamp: straight through inside, zero outside. A float32 point only applies the ReLU.
///
/// `x` is an operator's result that nobody else reads and that the operator's own backward does not read either: its memory
/// is rewritten.
///
/// # Shapes
/// `x`: any; the result has the same shape and layout.
pub fn activation(mut x: Tensor, point: &Point, range: Range) -> Tensor {
    let format = point.spec.format;
    if format == Format::Float32 {
        return if point.nonnegative { x.relu() } else { x };
    }
    if point.is_by_token() {
        // As with weights below: a product with a constant saves nothing for its backward.
        return by_token(x * 1.0, point);
    }
    let scale = point_scale(point, range).unwrap_or(1.0);
    if !x.requires_grad() {
        return activation_in_place(x, point, Some(scale));
    }
    let low = if point.nonnegative { 0.0 } else { f64::from(scale) * format.min() };
    let high = f64::from(scale) * format.max();
    if x.requires_grad() && !x.is_leaf() && kernel::is_reachable(&x) {
        // The backward of `threshold` is one pass where that of `clamp` is four. It lets the gradient through where the
        // tensor that it has saved, `x`, is positive, so `x` becomes the mask of the clamp.
        let mut y = x.threshold(0.0, 0.0);
        kernel::clip_with_mask(&mut y, &mut x, low as f32, high as f32, |part| fake_quantize(format, part, scale));
        return y;
    }
    let mut y = x.clamp(low, high);
    round_in_place(&mut y, format, scale);
    y
}

/// The same for a result that nobody else holds and no gradient flows through: rewritten where it lies, in one pass
/// (rounding clamps to the format's values, and those of a nonnegative tensor's unsigned integers begin at 0).
///
/// # Shapes
/// `x`: any; the result is `x`.
pub fn activation_in_place(mut x: Tensor, point: &Point, scale: Option<f32>) -> Tensor {
    let format = point.spec.format;
    if point.is_by_token() && format != Format::Float32 {
        return by_token(x, point);
    }
    if point.nonnegative && !matches!(format, Format::Uint(_)) {
        let _ = x.relu_();
    }
    if let Some(scale) = scale {
        round_in_place(&mut x, format, scale);
    }
    x
}

/// Rounds every token to its own scale, which its largest magnitude sets, so that nothing clips and the gradient passes
/// straight through everywhere.
///
/// # Shapes
/// `x`: `[n, features, tokens, 1]`, fastest with the features of a token side by side; the result is `x`.
fn by_token(mut x: Tensor, point: &Point) -> Tensor {
    let (size, spec) = (x.size(), point.spec);
    let tokens = usize::try_from(x.numel() as i64 / size[1].max(1)).unwrap_or(1);
    let round = |token: &mut [f32]| fake_quantize(spec.format, token, scale_of(absmax(token), spec));
    if kernel::is_reachable(&x) && (x.stride()[1] == 1 || tokens == 1) {
        kernel::rewrite_rows(&mut x, tokens, |_, token| round(token));
        return x;
    }
    let here = x.detach().to_device(Device::Cpu).permute([0, 2, 3, 1]).contiguous();
    let mut rows = here.view([-1]);
    kernel::rewrite_rows(&mut rows, tokens, |_, token| round(token));
    no_grad(|| x.detach().copy_(&here.permute([0, 3, 1, 2])));
    x
}

/// The scale of a quantization point under its recorded range; `None` for float32 and where each token has its own, 1 for
/// the 16-bit floats.
pub fn point_scale(point: &Point, range: Range) -> Option<f32> {
    let format = point.spec.format;
    point.has_scale().then(|| scale_of(range.clip(format, point.nonnegative), point.spec))
}

/// Scale for a clip: `clip / max`, 1 for the 16-bit floats, which need none.
fn scale_of(clip: f32, spec: QuantSpec) -> f32 {
    if spec.format.takes_scale() { spec.format.scale_for(clip, spec.scale) } else { 1.0 }
}

pub(crate) fn round_in_place(y: &mut Tensor, format: Format, scale: f32) {
    if kernel::is_reachable(y) {
        kernel::rewrite(y, |values| fake_quantize(format, values, scale));
    } else {
        no_grad(|| {
            let rounded = operations::fake_quantize(&y.detach(), format, scale);
            y.detach().copy_(&rounded);
        });
    }
}

/// Fake-quantizes a weight tensor; the elements that share a scale span it with their largest magnitude. The gradient
/// passes straight through everywhere.
///
/// # Shapes
/// `w`: `[c_out, ...]`, row-major; the result has the same shape.
pub fn weight(w: &Tensor, spec: QuantSpec) -> Tensor {
    if spec.format == Format::Float32 {
        return w.shallow_clone();
    }
    // A product with a constant saves no tensor for its backward, so its memory may be rewritten.
    let mut y = w * 1.0;
    if kernel::is_reachable(&y) {
        round_weight_in_place(&mut y, spec);
    } else {
        // Weights are small beside activations: another device's are rounded in main memory.
        let here = weight(&w.detach().to_device(Device::Cpu).contiguous(), spec);
        no_grad(|| y.detach().copy_(&here));
    }
    y
}

/// Rounds a dense tensor in main memory as [`weight`] does, where it lies.
///
/// # Shapes
/// `y`: `[c_out, ...]`, row-major.
pub(crate) fn round_weight_in_place(y: &mut Tensor, spec: QuantSpec) {
    let shape: Vec<usize> = y.size().iter().map(|&size| usize::try_from(size).unwrap_or(1)).collect();
    match spec.granularity {
        Granularity::Tensor => {
            let scale = scale_of(kernel::range(y, f32::NEG_INFINITY).max, spec);
            kernel::rewrite(y, |values| fake_quantize(spec.format, values, scale));
        }
        Granularity::Channel => kernel::rewrite_rows(y, shape[0], |_, row| {
            let scale = scale_of(absmax(row), spec);
            fake_quantize(spec.format, row, scale);
        }),
        Granularity::Token | Granularity::Group(_) | Granularity::Block(_) => {
            kernel::rewrite_whole(y, |values| fake_quantize_tensor(values, &shape, &spec));
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    fn token_point(format: Format, nonnegative: bool) -> Point {
        let spec = QuantSpec { granularity: Granularity::Token, ..QuantSpec::per_tensor(format) };
        Point { spec, nonnegative, decided_by: 0 }
    }

    #[test]
    fn a_token_is_rounded_by_its_own_values_alone_in_any_order_of_memory() {
        let options = (Kind::Float, Device::Cpu);
        tch::manual_seed(9);
        let rows = Tensor::randn([2, 5, 1, 12], options);
        for format in ["int4", "int8", "fp4", "fp8"] {
            let point = token_point(format.parse().unwrap(), false);
            let round = |rows: &Tensor| activation_in_place(rows.copy().permute([0, 3, 1, 2]), &point, None);
            let before = round(&rows);
            assert_eq!(before, activation_in_place(rows.permute([0, 3, 1, 2]).contiguous(), &point, None), "{format}");
            let changed = rows.copy();
            let _ = changed.get(1).get(3).fill_(1e4);
            let after = round(&changed);
            let differ = (&before - &after).abs().amax([1_i64, 3].as_slice(), false).gt(0.0);
            let mut expected = vec![false; 10];
            expected[5 + 3] = true;
            assert_eq!(Vec::<bool>::try_from(differ.flatten(0, -1)).unwrap(), expected, "{format}");
            // The largest magnitude of a token is kept.
            let kept = before.abs().amax([1_i64, 3].as_slice(), false) - rows.abs().amax([2_i64, 3].as_slice(), false);
            assert!(kept.abs().max().double_value(&[]) < 1e-6, "{format}");
        }
    }

    #[test]
    fn values_are_the_same_with_and_without_gradients() {
        tch::manual_seed(2);
        for shape in [[2, 3, 5, 7], [8, 16, 12, 12]] {
            let leaf = (Tensor::randn(shape, (Kind::Float, Device::Cpu)) * 2.0).set_requires_grad(true);
            for format in Format::all().into_iter().filter(|format| *format != Format::Float32) {
                for nonnegative in [false, true] {
                    let point = Point { spec: QuantSpec::per_tensor(format), nonnegative, decided_by: 0 };
                    let range = observe(&leaf, nonnegative);
                    let with = activation(&leaf * 1.0, &point, range).detach();
                    let without = activation(leaf.detach() * 1.0, &point, range);
                    let far = (&with - &without).abs().max().double_value(&[]);
                    assert!(with == without, "{format}, {nonnegative}: {far}");
                }
            }
        }
    }

    #[test]
    fn a_sign_that_is_not_needed_is_worth_a_bit_behind_a_relu() {
        let options = (Kind::Float, Device::Cpu);
        tch::manual_seed(1);
        let x = Tensor::randn([1, 2048, 1, 768], options).relu().permute([0, 3, 1, 2]);
        let decibels = |format: Format| {
            let y = activation_in_place(x.copy(), &token_point(format, true), None);
            let power = |x: Tensor| x.square().mean(Kind::Double).double_value(&[]);
            10.0 * (power(x.shallow_clone()) / power(y - &x)).log10()
        };
        let (signed, unsigned) = (decibels(Format::Int(4)), decibels(Format::Int(4).for_nonnegative()));
        // Computed apart from this code (Wu et al. 2023, arXiv 2301.12017, per-token int4): 17.57 and 24.19.
        assert!((signed - 17.57).abs() < 0.3 && (unsigned - signed - 6.6).abs() < 0.3, "{signed} {unsigned}");
    }
}
