//! Microscaling: short blocks of a row with a narrow scale each.
//!
//! MX (OCP Microscaling Formats 1.0): blocks of 32, scale a power of two in float8_e8m0fnu. NVFP4: blocks of 16, scale
//! a float8_e4m3fn under one float32 for the tensor. The last block of a row may be short.

use super::fake_quantize::{absmax, fake_quantize};
use super::{BlockScaleRule, Format};

/// Quantizes and dequantizes a row in blocks, each with a power of two chosen by `rule`, in place.
///
/// # Panics
/// When `block` is 0.
pub fn fake_quantize_mx(row: &mut [f32], format: Format, block: usize, rule: BlockScaleRule) {
    for values in row.chunks_mut(block) {
        let scale = rule.scale(format, absmax(values));
        fake_quantize(format, values, scale);
    }
}

/// Quantizes and dequantizes a row in blocks, each with a float8_e4m3fn scale under `tensor_scale`
/// ([`Format::tensor_scale`] of the whole tensor's absmax), in place.
///
/// # Panics
/// When `block` is 0.
pub fn fake_quantize_nv(row: &mut [f32], format: Format, block: usize, tensor_scale: f32) {
    for values in row.chunks_mut(block) {
        let scale = format.e4m3_scale(absmax(values), tensor_scale);
        fake_quantize(format, values, scale * tensor_scale);
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "rounding is exact, so the values are too")]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::formats::MiniFloat;
    use crate::seed::Seed;

    const FP4: Format = Format::Mini(MiniFloat::E2M1FN);

    /// 2^20 samples of N(0,1) (Box-Muller); with `tails`, of Student-t with 3 degrees of freedom.
    fn samples(tails: bool) -> Vec<f32> {
        let mut rng = Seed::new(7).rng();
        let mut normal = || {
            let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
            radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
        };
        (0..1 << 20)
            .map(|_| {
                let x = normal();
                let chi: f64 = (0..3).map(|_| normal().powi(2)).sum();
                (if tails { x / (chi / 3.0).sqrt() } else { x }) as f32
            })
            .collect()
    }

    /// Signal over quantization noise in dB.
    fn sqnr(values: &[f32], quantize: impl Fn(&mut [f32])) -> f64 {
        let mut rounded = values.to_vec();
        quantize(&mut rounded);
        let power = |x: f64| x * x;
        let signal: f64 = values.iter().map(|&x| power(f64::from(x))).sum();
        let noise: f64 = values.iter().zip(&rounded).map(|(&x, &q)| power(f64::from(x) - f64::from(q))).sum();
        10.0 * (signal / noise).log10()
    }

    fn mx(rule: BlockScaleRule) -> impl Fn(&mut [f32]) {
        move |row| fake_quantize_mx(row, FP4, 32, rule)
    }

    fn nv(row: &mut [f32]) {
        fake_quantize_nv(row, FP4, 16, FP4.tensor_scale(absmax(row)));
    }

    fn absmax_runs(name: &str, run: usize) -> impl Fn(&mut [f32]) {
        let format: Format = name.parse().unwrap();
        move |row| {
            for values in row.chunks_mut(run) {
                fake_quantize(format, values, format.scale_for(absmax(values), crate::formats::ScaleKind::Float32));
            }
        }
    }

    #[test]
    fn the_worked_check_holds() {
        let quantized = |rule| {
            let mut row = [0.0_f32; 32];
            row[..2].copy_from_slice(&[7.0, 1.3]);
            fake_quantize_mx(&mut row, FP4, 32, rule);
            assert!(row[2..].iter().all(|&x| x == 0.0));
            [row[0], row[1]]
        };
        assert_eq!(quantized(BlockScaleRule::Floor), [6.0, 1.5]);
        assert_eq!(quantized(BlockScaleRule::Even), [8.0, 1.0]);
        assert_eq!(quantized(BlockScaleRule::Rceil), [8.0, 1.0]);
    }

    #[test]
    fn zero_blocks_and_a_short_last_block_are_fine() {
        let mut row = [0.0_f32; 40];
        row[35] = 12.0;
        let expected = row;
        fake_quantize_mx(&mut row, FP4, 32, BlockScaleRule::Floor);
        assert_eq!(row, expected);
        nv(&mut row);
        assert_eq!(row, expected);
        let mut zeros = [0.0_f32; 5];
        nv(&mut zeros);
        assert_eq!(zeros, [0.0; 5]);
    }

    #[test]
    fn an_element_that_is_not_finite_spoils_its_own_block_only() {
        let mut row = [1.0_f32; 64];
        row[3] = f32::INFINITY;
        fake_quantize_mx(&mut row, FP4, 32, BlockScaleRule::Floor);
        assert!(row[..32].iter().all(|x| x.is_nan()) && row[32..].iter().all(|&x| x == 1.0));
    }

    #[test]
    fn noise_on_normal_data_matches_the_table() {
        let values = samples(false);
        let close = |what: &str, got: f64, expected: f64| {
            assert!((got - expected).abs() < 0.1, "{what}: {got:.2} dB, table {expected}");
        };
        close("mxfp4 floor", sqnr(&values, mx(BlockScaleRule::Floor)), 18.78);
        close("mxfp4 even", sqnr(&values, mx(BlockScaleRule::Even)), 19.02);
        close("mxfp4 rceil", sqnr(&values, mx(BlockScaleRule::Rceil)), 18.75);
        close("nvfp4", sqnr(&values, nv), 20.44);
        let runs = [
            ("int4", 32, 20.26),
            ("int4", 16, 21.40),
            ("e2m1", 512, 18.91),
            ("int4", 512, 17.40),
            ("int8", 512, 42.57),
            ("e4m3", 512, 31.60),
            ("e5m2", 512, 25.61),
            ("e3m4", 512, 37.66),
        ];
        for (name, run, expected) in runs {
            close(&format!("{name} {run}"), sqnr(&values, absmax_runs(name, run)), expected);
        }
    }

    #[test]
    fn heavy_tails_order_the_formats_as_the_table_does() {
        let values = samples(true);
        let int4_rows = sqnr(&values, absmax_runs("int4", 512));
        let fp4_rows = sqnr(&values, absmax_runs("e2m1", 512));
        let int4_blocks = sqnr(&values, absmax_runs("int4", 32));
        let mxfp4 = sqnr(&values, mx(BlockScaleRule::Floor));
        let nvfp4 = sqnr(&values, nv);
        assert!(int4_rows < fp4_rows && fp4_rows < int4_blocks && int4_blocks < nvfp4 && mxfp4 < nvfp4);
        let eight: Vec<f64> =
            ["e5m2", "e4m3", "int8", "e3m4"].iter().map(|n| sqnr(&values, absmax_runs(n, 512))).collect();
        assert!(eight[0] < eight[1] && eight[1] < eight[3] && eight[2] < eight[3], "{eight:?}");
    }
}
