//! Fake quantization of activations with a learned clip (LSQ, Esser et al. 2020, arXiv 1902.08153).

use tch::Tensor;

use super::fake::round_in_place;
use crate::formats::Format;
use crate::network::Point;

/// Fake-quantizes an activation whose clip is a trained parameter, shared by all formats: each derives its step,
/// `clip / max`. The gradient reaches `x` inside the clip, and the step by LSQ's rule (its equation 3), scaled by
/// `1 / sqrt(elements * max)`.
///
/// # Shapes
/// `x`: any; `clip`: `[1]`; the result has the shape of `x`.
pub fn learned_activation(x: &Tensor, point: &Point, clip: &Tensor) -> Tensor {
    let format = point.spec.format;
    if format == Format::Float32 || !format.takes_scale() {
        return if point.nonnegative { x.relu() } else { x.shallow_clone() };
    }
    let top = format.max();
    let share = 1.0 / (x.numel() as f64 * top).sqrt();
    // A clip that training has pushed to zero or below would have no grid; the least one keeps it alive.
    let step = clip.clamp_min(1e-4) / top;
    let step = &step * share + step.detach() * (1.0 - share);
    let low = if point.nonnegative { 0.0 } else { format.min() };
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
        let y = learned_activation(&x, &point, &clip);
        // Step 1: values clamp to [0, 3] and round.
        assert_eq!(y.detach(), Tensor::from_slice(&[0.0_f32, 0.0, 2.0, 3.0]));
        y.sum(Kind::Float).backward();
        assert_eq!(x.grad(), Tensor::from_slice(&[0.0_f32, 1.0, 1.0, 0.0]));
        // d y / d step: 0 below, round(v) - v inside (-0.4 and 0.3), 3 above; times 1 / sqrt(4 * 3), times d step / d clip.
        let expected = (-0.4 + 0.3 + 3.0) / 12_f64.sqrt() / 3.0;
        assert!((clip.grad().double_value(&[0]) - expected).abs() < 1e-6);
    }
}
