//! The same arithmetic as the kernel's, written as tensor operations: for tensors on another device.

use tch::{Kind, Tensor};

use super::Range;
use crate::formats::Format;
use crate::formats::MiniFloat;

/// Largest magnitude and root mean square.
pub(super) fn range(x: &Tensor) -> Range {
    let magnitude = x.abs();
    Range {
        max: magnitude.max().double_value(&[]) as f32,
        rms: magnitude.square().mean(Kind::Float).sqrt().double_value(&[]) as f32,
    }
}

/// Rounds `x / scale` to the format and multiplies by `scale`: the bits the kernel gives.
pub(super) fn fake_quantize(x: &Tensor, format: Format, scale: f32) -> Tensor {
    // A tensor of no dimensions divides in float32, as the kernel does; a plain number would be a double.
    let scale = Tensor::from(scale).to_device(x.device());
    match format {
        Format::Float32 => x.shallow_clone(),
        Format::Float16 => x.clamp(format.min(), format.max()).to_kind(Kind::Half).to_kind(Kind::Float),
        Format::BFloat16 => x.clamp(format.min(), format.max()).to_kind(Kind::BFloat16).to_kind(Kind::Float),
        Format::Int(_) | Format::Uint(_) => (x / &scale).clamp(format.min(), format.max()).round() * &scale,
        Format::Mini(mini) => round_mini(&(x / &scale).clamp(format.min(), format.max()), mini) * &scale,
    }
}

/// Rounds values within range to a small float's grid, half to even (research: reference quantizer of the format notes).
fn round_mini(x: &Tensor, mini: MiniFloat) -> Tensor {
    // frexp gives a fraction in [0.5, 1), so the leading bit's exponent is one less; subnormals share the lowest step.
    let (_, exponent) = x.frexp();
    let lowest = 1 - i64::from(mini.bias);
    let step = (exponent - 1).clamp_min(lowest) - i64::from(mini.mantissa);
    let step = Tensor::from(1.0_f32).to_device(x.device()).ldexp(&step);
    (x / &step).round() * step
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::Format;

    #[test]
    fn tensor_operations_give_the_kernels_bits() {
        let values: Vec<f32> = (0..20_000).map(|i| ((i as f32) * 0.618_034).sin() * 3.0_f32.powi(i % 13 - 6)).collect();
        for format in Format::all() {
            for scale in [1.0_f32, 0.037, 2.5] {
                let mut expected = values.clone();
                crate::formats::fake_quantize(format, &mut expected, scale);
                let got = Vec::<f32>::try_from(fake_quantize(&Tensor::from_slice(&values), format, scale)).unwrap();
                if matches!(format, Format::Float32 | Format::Float16 | Format::BFloat16) && scale > 1.0 {
                    continue;
                }
                let same =
                    expected.iter().zip(&got).filter(|(a, b)| a.to_bits() == b.to_bits() || (**a == 0.0 && **b == 0.0));
                assert_eq!(same.count(), values.len(), "{format} at scale {scale}");
            }
        }
    }
}
