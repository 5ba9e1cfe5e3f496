//! Bits a network takes in the packed file: codes, scales, biases.

use crate::formats::Format;
use crate::formats::Granularity;
use crate::formats::QuantSpec;
use crate::formats::ScaleKind;
use crate::network::LayerSpec;
use crate::network::Network;
use crate::network::Point;
use crate::network::Shape;

/// Bits of one layer's weight codes, weight scales and bias, or of its float parameters. Each output channel's codes start on a byte; formats above
/// 8 bits have no scales; a convolution with batch normalisation has a float32 bias after folding.
pub fn weight_bits(layer: &LayerSpec) -> u64 {
    let Some((shape, spec)) = layer.stored_weight() else { return 0 };
    let rows = shape[0] as u64;
    let row: u64 = shape[1..].iter().map(|&length| length as u64).product();
    let codes = rows * (row * u64::from(spec.format.bits())).div_ceil(8) * 8;
    let bias = 32 * layer.stored_bias().unwrap_or(0) as u64;
    codes + scale_bits(spec, scale_count(spec.granularity, rows, row, shape[shape.len() - 1] as u64)) + bias
}

/// The weights' codes alone, without scales and biases, in MiB: the sizes that HAWQ-V3 prints as MB (Yao et al. 2021, table 1).
pub fn codes_mib(network: &Network) -> f64 {
    let bits = |layer: &LayerSpec| Some(layer.op.weight_shape()?.iter().product::<usize>() as f64 * code_bits(layer));
    network.layers.iter().filter_map(bits).sum::<f64>() / 8.0 / f64::from(1 << 20)
}

fn code_bits(layer: &LayerSpec) -> f64 {
    f64::from(layer.weight.map_or(32, |spec| spec.format.bits()))
}

/// Bits of the activation scales, one quantizer a tensor. Zero points are 0 by construction and take none; scales a
/// token, group or block are computed while running and are not stored.
pub fn activation_scale_bits(network: &Network) -> u64 {
    let bits = |(point, shape): (&Point, Shape)| match point.spec.granularity {
        Granularity::Tensor => scale_bits(point.spec, 1),
        Granularity::Channel => scale_bits(point.spec, shape.c as u64),
        Granularity::Token | Granularity::Group(_) | Granularity::Block(_) => 0,
    };
    let points = network.layers.iter().filter_map(|layer| layer.point.as_ref().map(|point| (point, layer.output)));
    std::iter::once((&network.input_point, network.input)).chain(points).map(bits).sum()
}

/// Number of scales of a weight with this many rows (output channels) of `row` elements, `last` of them in the last
/// dimension.
fn scale_count(granularity: Granularity, rows: u64, row: u64, last: u64) -> u64 {
    match granularity {
        Granularity::Tensor => 1,
        Granularity::Channel => rows,
        Granularity::Token => rows * row / last,
        Granularity::Group(length) => rows * row.div_ceil(u64::from(length.max(1))),
        Granularity::Block(length) => rows * row / last * last.div_ceil(u64::from(length.max(1))),
    }
}

fn scale_bits(spec: QuantSpec, count: u64) -> u64 {
    if matches!(spec.format, Format::Float32 | Format::Float16 | Format::BFloat16) {
        return 0;
    }
    match spec.scale {
        ScaleKind::Float32 | ScaleKind::PowerOfTwo => 32 * count,
        ScaleKind::E8m0 => 8 * count,
        ScaleKind::E4m3 => 8 * count + 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::ModelSpec;
    use crate::network::build;

    /// The projection-free second layer of ResNet-8: weight `[16, 16, 3, 3]`, batch normalisation behind it.
    fn bits(format: &str, granularity: Granularity, scale: ScaleKind) -> u64 {
        let mut layer = build(&ModelSpec::new("resnet8".parse().unwrap())).unwrap().layers[1].clone();
        layer.weight = Some(QuantSpec { format: format.parse().unwrap(), granularity, scale });
        weight_bits(&layer) - 16 * 32
    }

    #[test]
    fn scales_by_hand_for_each_granularity() {
        // 16 rows of 144 weights: at 4 bits 72 bytes a row.
        let codes = 16 * 72 * 8;
        let float32 = ScaleKind::Float32;
        assert_eq!(bits("int4", Granularity::Tensor, float32), codes + 32);
        assert_eq!(bits("int4", Granularity::Channel, float32), codes + 16 * 32);
        assert_eq!(bits("int4", Granularity::Token, float32), codes + 16 * 16 * 3 * 32);
        assert_eq!(bits("int4", Granularity::Group(128), ScaleKind::E8m0), codes + 16 * 2 * 8);
        assert_eq!(bits("fp4", Granularity::Block(16), ScaleKind::E4m3), codes + 16 * 16 * 3 * 8 + 32);
        assert_eq!(bits("float32", Granularity::Channel, float32), 16 * 144 * 32);
    }

    #[test]
    fn rows_start_on_a_byte() {
        let mut layer = build(&ModelSpec::new("resnet8".parse().unwrap())).unwrap().layers[0].clone();
        layer.weight = Some(QuantSpec::per_tensor(Format::Int(3)));
        // 16 rows of 27 weights: 81 bits, stored in 11 bytes.
        assert_eq!(weight_bits(&layer), 16 * 11 * 8 + 32 + 16 * 32);
    }
}
