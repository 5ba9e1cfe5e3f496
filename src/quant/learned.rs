//! Fake quantization of activations with a learned clip (LSQ, Esser et al. 2020, arXiv 1902.08153).

use tch::Tensor;

use super::fake::{activation_in_place, round_in_place};
use super::kernel;
use crate::formats::{Format, fake_quantize};
use crate::network::Point;

/// Fake-quantizes an activation whose clip is a trained parameter, shared by all formats: each derives its step,
/// `clip / max`. The gradient reaches `x` inside the clip, and the step by LSQ's rule (its equation 3), scaled by
/// `1 / sqrt(elements * max)`.
///
/// `x` is a result as [`super::activation`] takes it: its memory is rewritten.
///
/// # Shapes
/// `x`: any; `clip`: `[1]`; the result has the shape of `x`.
pub fn learned_activation(mut x: Tensor, point: &Point, clip: &Tensor) -> Tensor {
    let format = point.spec.format;
    if format == Format::Float32 || !format.takes_scale() {
        return if point.nonnegative { x.relu() } else { x };
    }
    let top = format.max();
    let share = 1.0 / (x.numel() as f64 * top).sqrt();
    // A clip that training has pushed to zero or below would have no grid; the least one keeps it alive.
    let step = clip.clamp_min(1e-4) / top;
    let low = if point.nonnegative { 0.0 } else { format.min() };
    if !x.requires_grad() && !step.requires_grad() {
        return activation_in_place(x, point, Some(step.double_value(&[0]) as f32));
    }
    if x.requires_grad() && !x.is_leaf() && kernel::is_reachable(&x) {
        // As in `activation`; the step's gradient goes through a product that adds nothing to the values.
        let (mut y, mut slope) = (x.threshold(0.0, 0.0), x.detach().empty_like());
        let size = step.double_value(&[0]) as f32;
        kernel::scale_with_slope([&mut y, &mut slope, &mut x], size, (low as f32, top as f32), |codes| {
            fake_quantize(format, codes, 1.0);
        });
        return y.addcmul(&slope, &((&step - step.detach()) * share));
    }
    // The value is the step, the gradient a share of it.
    let step = step.detach() + (&step - step.detach()) * share;
    let mut code = (x / &step).clamp(low, top);
    // The clamp has saved its input and nothing has read the codes yet, so their memory may be rounded.
    round_in_place(&mut code, format, 1.0);
    code * step
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::formats::QuantSpec;

    #[test]
    fn gradients_follow_lsq_by_hand() {
        let point = Point { spec: QuantSpec::per_tensor(Format::Uint(2)), nonnegative: true, decided_by: 0 };
        let clip = Tensor::from_slice(&[3.0_f32]).set_requires_grad(true);
        let x = Tensor::from_slice(&[-1.0_f32, 0.4, 1.7, 9.0]).set_requires_grad(true);
        let y = learned_activation(x.shallow_clone(), &point, &clip);
        // Step 1: values clamp to [0, 3] and round.
        assert_eq!(y.detach(), Tensor::from_slice(&[0.0_f32, 0.0, 2.0, 3.0]));
        y.sum(Kind::Float).backward();
        assert_eq!(x.grad(), Tensor::from_slice(&[0.0_f32, 1.0, 1.0, 0.0]));
        // d y / d step: 0 below, round(v) - v inside (-0.4 and 0.3), 3 above; times 1 / sqrt(4 * 3), times d step / d clip.
        let expected = (-0.4 + 0.3 + 3.0) / 12_f64.sqrt() / 3.0;
        assert!((clip.grad().double_value(&[0]) - expected).abs() < 1e-6);
    }
    #[test]
    fn one_pass_gives_what_single_operations_give() {
        for (format, nonnegative) in [("uint4", true), ("int4", false), ("fp4", false), ("fp8", true)] {
            let format: Format = format.parse().unwrap();
            let point = Point { spec: QuantSpec::per_tensor(format), nonnegative, decided_by: 0 };
            tch::manual_seed(4);
            let leaf = (Tensor::randn([2, 5, 9, 400], (Kind::Float, tch::Device::Cpu)) * 2.0).set_requires_grad(true);
            let weight = Tensor::randn_like(&leaf);
            let run = |fused: bool| {
                let clip = Tensor::from_slice(&[2.5_f32]).set_requires_grad(true);
                let x = if fused { &leaf * 1.0 } else { leaf.shallow_clone() };
                let y = learned_activation(x, &point, &clip);
                (&y * &weight).sum(Kind::Float).backward();
                let found = (y.detach(), leaf.grad().copy(), clip.grad().double_value(&[0]));
                let _ = leaf.grad().zero_();
                found
            };
            let ((y, at_x, at_clip), (fused_y, fused_x, fused_clip)) = (run(false), run(true));
            assert_eq!(y, fused_y, "{format}");
            assert!(at_x.allclose(&fused_x, 1e-5, 1e-7, false), "{format}");
            assert!((at_clip - fused_clip).abs() < 1e-4 * at_clip.abs().max(1e-2), "{format}: {at_clip} {fused_clip}");
        }
    }
}
