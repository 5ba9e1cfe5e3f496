//! Expected quantization error of a grid under a density, in closed form, and the scale that makes it smallest.
//!
//! Kuzmin et al., FP8 versus INT8 for efficient deep learning inference, 2023 (arXiv 2303.17951), Figure 5 and the
//! authors' code. With partial moments m0, m1, m2 of the density over the interval that rounds to `g`, the interval
//! adds `m2 - 2 g m1 + g^2 m0`; the outermost intervals reach to infinity, so they hold the clipping error.

use super::{Density, Distribution, Format};

/// The cells of a grid under a scale: value, lower and upper end.
pub(super) fn cells(grid: &[f64], scale: f64) -> impl Iterator<Item = (f64, f64, f64)> + '_ {
    let between = move |at: usize| f64::midpoint(grid[at], grid[at + 1]) * scale;
    grid.iter().enumerate().map(move |(at, level)| {
        let low = if at == 0 { f64::NEG_INFINITY } else { between(at - 1) };
        (level * scale, low, if at + 1 == grid.len() { f64::INFINITY } else { between(at) })
    })
}

/// Expected squared error of rounding to `scale * grid`, the nearest value taken.
///
/// `grid` is ascending and not empty; `scale` is positive.
pub fn expected_mse(grid: &[f64], density: impl Distribution, scale: f64) -> f64 {
    let cell = |(g, low, high): (f64, f64, f64)| {
        let [m0, m1, m2] = density.moments(low, high);
        m2 - 2.0 * g * m1 + g * g * m0
    };
    cells(grid, scale).map(cell).sum()
}

/// Bits of accuracy, `log2(sigma / RMSE)`, at the scale with the smallest expected error.
pub fn bits_of_accuracy(grid: &[f64], density: impl Distribution) -> f64 {
    let mse = expected_mse(grid, density, best_scale(grid, density));
    (density.deviation() / mse.sqrt()).log2()
}

/// The scale with the smallest expected squared error: a search over clip values `scale * max` of `2^-2` to `2^18`
/// deviations in steps of 1/16 octave, refined by golden section to 1e-9 octaves.
pub fn best_scale(grid: &[f64], density: impl Distribution) -> f64 {
    let top = grid.iter().fold(0_f64, |top, level| top.max(level.abs()));
    let unit = density.deviation() / top;
    let mse = |octave: f64| expected_mse(grid, density, unit * octave.exp2());
    let coarse = (-32..=288).map(|step| f64::from(step) / 16.0);
    let start =
        coarse.map(|octave| (mse(octave), octave)).fold((f64::INFINITY, 0.0), |a, b| if b.0 < a.0 { b } else { a }).1;
    let ratio = (5_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (start - 1.0 / 16.0, start + 1.0 / 16.0);
    while high - low > 1e-9 {
        let (left, right) = (high - ratio * (high - low), low + ratio * (high - low));
        if mse(left) < mse(right) {
            high = right;
        } else {
            low = left;
        }
    }
    unit * f64::midpoint(low, high).exp2()
}

/// The clip value (the largest value times the scale), in deviations, with the smallest expected squared error.
/// For an unsigned format the negative half adds a constant, so this is the clip of the positive half (behind a ReLU).
/// `None` for `float32`, `float16` and `bfloat16`, which take no scale.
pub fn best_clip(format: Format, density: Density) -> Option<f64> {
    let scale = |grid: &[f64]| best_scale(grid, density) / density.deviation();
    format.takes_scale().then(|| format.max() * scale(&format.grid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENSITIES: [Density; 3] = [Density::Uniform, Density::Normal, Density::StudentT3];

    fn bits(name: &str) -> [f64; 3] {
        let grid = name.parse::<Format>().unwrap().grid();
        DENSITIES.map(|density| bits_of_accuracy(&grid, density))
    }

    fn integers(low: f64, count: usize) -> Vec<f64> {
        (0..count).map(|step| low + step as f64).collect()
    }

    #[test]
    fn the_papers_figure_is_reproduced() {
        // Uniform, normal, t(3): quantizers table 2.1 (c), computed apart from this code.
        let table = [
            ("float8_e2m5", [7.390, 7.087, 3.209]),
            ("e3m4_allfinite", [6.421, 6.239, 4.189]),
            ("e4m3_allfinite", [5.437, 5.241, 5.164]),
            ("e5m2_allfinite", [4.470, 4.249, 4.246]),
            ("float8_e4m3fn", [f64::NAN, 5.241, 5.160]),
            ("float4_e2m1fn", [3.475, 3.150, 1.725]),
            ("float4_e1m2", [3.907, 3.139, 1.491]),
            ("float4_e3m0", [2.653, 2.364, 2.050]),
        ];
        for (name, expected) in table {
            let got = bits(name);
            let far = got.iter().zip(expected).any(|(a, b)| (a - b).abs() > 0.02);
            assert!(!far, "{name}: {got:.3?}, table {expected:?}");
        }
        let int8 = DENSITIES.map(|density| bits_of_accuracy(&integers(-127.5, 256), density));
        assert!(int8.iter().zip([8.0, 6.739, 2.882]).all(|(a, b)| (a - b).abs() < 0.02), "{int8:.3?}");
    }

    #[test]
    fn centred_levels_lose_nothing_on_a_uniform_density() {
        // 256 cells of width 2/256 on [-1, 1]: RMSE = width / sqrt 12, so sigma / RMSE = 256.
        assert!((bits_of_accuracy(&integers(-127.5, 256), Density::Uniform) - 8.0).abs() < 1e-9);
        assert!((bits_of_accuracy(&integers(-127.0, 255), Density::Uniform) - 255_f64.log2()).abs() < 1e-9);
    }

    #[test]
    fn e1m2_is_int4_with_fifteen_levels() {
        for density in DENSITIES {
            let e1m2 = bits_of_accuracy(&"e1m2".parse::<Format>().unwrap().grid(), density);
            // The same grid at half the step, so the same number to its last digit.
            assert_eq!(e1m2.to_bits(), bits_of_accuracy(&integers(-7.0, 15), density).to_bits());
        }
    }

    #[test]
    fn floats_on_a_gaussian_gain_their_mantissa_plus_a_constant() {
        // With fine steps 2^(floor(log2|x|) - M) the error is E[4^floor(log2|x|)] 4^-M / 12, and the expectation is
        // 0.542859 for a Gaussian: bits = M + 2.233. float16 has M = 10.
        let rms = expected_mse(&Format::Float16.grid(), Density::Normal, 1.0).sqrt();
        assert!((-rms.log2() - 12.233).abs() < 0.001, "{}", -rms.log2());
    }

    #[test]
    fn the_expected_error_is_what_rounding_samples_gives() {
        let int4 = Format::Int(4);
        let scale = 0.35;
        // Midpoint sum over the normal density as an independent integral.
        let (steps, reach) = (400_000, 9.0);
        let width = 2.0 * reach / f64::from(steps);
        let sum: f64 = (0..steps)
            .map(|i| {
                let x = -reach + (f64::from(i) + 0.5) * width;
                let error = x - f64::from(int4.cast((x / scale) as f32)) * scale;
                error * error * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt() * width
            })
            .sum();
        let closed = expected_mse(&int4.grid(), Density::Normal, scale);
        assert!((closed - sum).abs() < 1e-5 * closed, "{closed} {sum}");
    }

    #[test]
    fn wider_integers_clip_later() {
        let clips: Vec<f64> =
            (2..=8).map(|bits| best_clip(Format::Int(bits), Density::Normal)).collect::<Option<_>>().unwrap();
        assert!(clips.is_sorted() && clips[2] > 2.0 && clips[2] < 3.0 && clips[6] > 3.5 && clips[6] < 4.5, "{clips:?}");
        assert_eq!(best_clip(Format::Float16, Density::Normal), None);
    }
}
