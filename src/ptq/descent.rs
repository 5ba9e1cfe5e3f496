//! The descent of a row's quadratic error: codes for given scales, then scales for given codes, in turns.

use super::quadratic::{Quadratic, dot};
use crate::formats::Format;

/// Turns of the two steps at most.
const TURNS: usize = 4;

/// Sweeps over single codes at most.
const SWEEPS: usize = 4;

/// Clips that are tried first, as shares of the largest magnitude: 1 down to a fifth.
const CLIPS: usize = 41;

/// The codes of a row and the scale of each of its runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Values of the format's grid.
    pub(super) codes: Vec<f64>,
    /// One scale a run.
    pub(super) scales: Vec<f64>,
    /// J.
    loss: f64,
}

/// Rows of weights of one form and format.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    form: &'a Quadratic,
    format: Format,
    /// The run of each place.
    runs: Vec<usize>,
    /// Whether scales may be any positive number.
    free: bool,
}

impl<'a> Rows<'a> {
    /// `runs` names the run of each column; without `free`, scales stay as they are.
    pub(super) fn new(form: &'a Quadratic, format: Format, runs: &[usize], free: bool) -> Self {
        Self { form, format, runs: form.ordered(runs), free }
    }

    /// The best codes and scales found for `weights`, which have `codes` and `scales` so far: never a larger J than those.
    pub(super) fn solved(&self, weights: &[f64], codes: &[f64], scales: &[f64]) -> Row {
        let weights = self.form.ordered(weights);
        let mut row = self.with_loss(&weights, self.form.ordered(codes), scales.to_vec());
        if self.free {
            for clip in 0..CLIPS {
                let share = 1.0 - 0.8 * clip as f64 / (CLIPS - 1) as f64;
                let tried = self.greedy(&weights, &self.clipped(&weights, share, scales));
                row = better(row, tried);
            }
        }
        for _ in 0..TURNS {
            let before = row.loss;
            row = self.code_step(&weights, row);
            row = self.scale_step(&weights, row);
            if row.loss >= before {
                break;
            }
        }
        Row { codes: self.form.restored(&row.codes), ..row }
    }

    /// New codes for the scales of a row, if they are better.
    fn code_step(&self, weights: &[f64], row: Row) -> Row {
        let greedy = self.greedy(weights, &row.scales);
        self.swept(weights, better(row, greedy))
    }

    /// The best scale of each run in turn, codes and the other scales as they are.
    fn scale_step(&self, weights: &[f64], mut row: Row) -> Row {
        if !self.free {
            return row;
        }
        for run in 0..row.scales.len() {
            let (own, rest): (Vec<f64>, Vec<f64>) = (self.runs.iter().zip(&row.codes).zip(weights))
                .map(
                    |((&at, &code), weight)| {
                        if at == run { (code, *weight) } else { (0.0, weight - code * row.scales[at]) }
                    },
                )
                .unzip();
            let image = self.form.times(&own);
            // As it is stored.
            let scale = f64::from((dot(&image, &rest) / dot(&image, &own)) as f32);
            if scale.is_normal() && scale > 0.0 {
                let mut scales = row.scales.clone();
                scales[run] = scale;
                row = better(row.clone(), self.with_loss(weights, row.codes, scales));
            }
        }
        row
    }

    /// The scales that let each run reach this share of its largest magnitude; those of runs of zeros as they were.
    fn clipped(&self, weights: &[f64], share: f64, scales: &[f64]) -> Vec<f64> {
        let mut reach = vec![0.0_f64; scales.len()];
        self.runs.iter().zip(weights).for_each(|(&run, weight)| reach[run] = reach[run].max(weight.abs()));
        let scale = |reach: f64| f64::from((reach * share / self.format.max()) as f32);
        reach
            .iter()
            .zip(scales)
            .map(|(&reach, &old)| if scale(reach).is_normal() { scale(reach) } else { old })
            .collect()
    }

    /// GPTQ's codes: each column makes up for what the ones before it did, as far as it can.
    fn greedy(&self, weights: &[f64], scales: &[f64]) -> Row {
        let size = self.form.size();
        let (mut codes, mut difference, mut loss) = (Vec::with_capacity(size), vec![0.0; size], 0.0);
        for (at, (&run, weight)) in self.runs.iter().zip(weights).enumerate() {
            let factor = &self.form.factor[at * size..][..=at];
            let carried = dot(&factor[..at], &difference[..at]);
            let code = self.nearest((weight - carried / factor[at]) / scales[run]);
            difference[at] = code * scales[run] - weight;
            loss += (carried + factor[at] * difference[at]).powi(2);
            codes.push(code);
        }
        Row { codes, scales: scales.to_vec(), loss }
    }

    /// Single codes changed for the better until none is left, within a few sweeps.
    fn swept(&self, weights: &[f64], mut row: Row) -> Row {
        let mut gradient = self.form.times(&self.difference(weights, &row));
        for _ in 0..SWEEPS {
            let mut changed = false;
            for (at, (&run, weight)) in self.runs.iter().zip(weights).enumerate() {
                let (scale, column) = (row.scales[run], self.form.row(at));
                let wanted = row.codes[at] * scale - gradient[at] / column[at];
                let code = self.nearest(wanted / scale);
                let step = (code - row.codes[at]) * scale;
                let gain = step * (2.0 * gradient[at] + step * column[at]);
                // Codes that are equally good may not take turns.
                if gain < -1e-12 * (weight * weight * column[at]) {
                    row.codes[at] = code;
                    gradient.iter_mut().zip(column).for_each(|(slope, own)| *slope += step * own);
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        self.with_loss(weights, row.codes, row.scales)
    }

    fn nearest(&self, value: f64) -> f64 {
        f64::from(self.format.cast(value as f32))
    }

    fn difference(&self, weights: &[f64], row: &Row) -> Vec<f64> {
        let values = row.codes.iter().zip(&self.runs).map(|(code, &run)| code * row.scales[run]);
        values.zip(weights).map(|(value, weight)| value - weight).collect()
    }

    fn with_loss(&self, weights: &[f64], codes: Vec<f64>, scales: Vec<f64>) -> Row {
        let row = Row { codes, scales, loss: 0.0 };
        Row { loss: self.form.of(&self.difference(weights, &row)), ..row }
    }
}

fn better(old: Row, new: Row) -> Row {
    if new.loss < old.loss { new } else { old }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::seed::Seed;

    /// A row of normal weights and the Gram matrix of correlated inputs.
    fn problem(size: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
        let mut rng = Seed::new(seed).rng();
        let mut normal = || -> f64 { StandardNormal.sample(&mut rng) };
        let weights: Vec<f64> = (0..size).map(|_| normal()).collect();
        let samples = 4 * size;
        let mut matrix = vec![0.0; size * size];
        for _ in 0..samples {
            let common = normal();
            let x: Vec<f64> = (0..size).map(|_| normal() + common).collect();
            for (row, &a) in matrix.chunks_mut(size).zip(&x) {
                row.iter_mut().zip(&x).for_each(|(sum, b)| *sum += a * b / samples as f64);
            }
        }
        (weights, matrix)
    }

    fn start(weights: &[f64], format: Format) -> (Vec<f64>, Vec<f64>) {
        let reach = weights.iter().fold(0.0, |top: f64, weight| top.max(weight.abs()));
        let scale = reach / format.max();
        (weights.iter().map(|weight| f64::from(format.cast((weight / scale) as f32))).collect(), vec![scale])
    }

    fn format(name: &str) -> Format {
        name.parse().unwrap()
    }

    #[test]
    fn the_factor_gives_the_form_back() {
        let (_, matrix) = problem(13, 1);
        let form = Quadratic::new(&matrix, 13);
        for row in 0..13 {
            for column in 0..13 {
                let product: f64 = (0..13).map(|at| form.factor[at * 13 + row] * form.factor[at * 13 + column]).sum();
                assert!((product - form.matrix[row * 13 + column]).abs() < 1e-10);
            }
        }
        assert!((1..13).all(|at| form.matrix[at * 14] <= form.matrix[(at - 1) * 14]), "largest inputs first");
        let e: Vec<f64> = (0..13).map(|at| f64::from(at) - 5.5).collect();
        assert!((form.of(&e) - dot(&form.times(&e), &e)).abs() < 1e-9 * form.of(&e));
    }

    #[test]
    fn no_half_step_makes_it_worse() {
        for (seed, name) in ["int2", "int3", "int4", "fp4", "int8"].into_iter().cycle().take(40).enumerate() {
            let (size, format) = (24, format(name));
            let (weights, matrix) = problem(size, seed as u64);
            let form = Quadratic::new(&matrix, size);
            // One scale a row, or three.
            let runs: Vec<usize> = (0..size).map(|at| if seed % 2 == 0 { 0 } else { at / 8 }).collect();
            let rows = Rows::new(&form, format, &runs, true);
            let (codes, scales) = start(&weights, format);
            let scales = vec![scales[0]; 1 + runs[size - 1]];
            let weights = form.ordered(&weights);
            let mut row = rows.with_loss(&weights, form.ordered(&codes), scales);
            for _ in 0..6 {
                for step in [Rows::code_step, Rows::scale_step] {
                    let next = step(&rows, &weights, row.clone());
                    assert!(next.loss <= row.loss, "{name} {seed}: {} -> {}", row.loss, next.loss);
                    let again = rows.with_loss(&weights, next.codes.clone(), next.scales.clone());
                    assert!((again.loss - next.loss).abs() < 1e-9 * next.loss.max(1e-9), "J is what it says");
                    row = next;
                }
            }
            assert!(row.codes.iter().all(|&code| f64::from(format.cast(code as f32)).total_cmp(&code).is_eq()));
        }
    }

    #[test]
    fn equal_uncorrelated_inputs_make_the_scale_the_least_squares_slope() {
        let size = 32;
        let (weights, _) = problem(size, 3);
        let identity: Vec<f64> = (0..size * size).map(|at| if at % (size + 1) == 0 { 1.0 } else { 0.0 }).collect();
        let form = Quadratic::new(&identity, size);
        let rows = Rows::new(&form, format("int4"), &vec![0; size], true);
        let (codes, scales) = start(&weights, format("int4"));
        let slope = dot(&weights, &codes) / dot(&codes, &codes);
        let row = rows.with_loss(&form.ordered(&weights), form.ordered(&codes), scales);
        let row = rows.scale_step(&form.ordered(&weights), row);
        assert!((row.scales[0] - slope).abs() < 1e-6, "{} {slope}", row.scales[0]);
    }

    /// The least J over all codes, each with its best positive scale.
    fn optimum(form: &Quadratic, weights: &[f64], format: Format) -> f64 {
        let grid = format.grid();
        let weights = form.ordered(weights);
        let none = form.of(&weights);
        let mut best = none;
        let mut digits = vec![0; weights.len()];
        loop {
            let codes: Vec<f64> = digits.iter().map(|&digit| grid[digit]).collect();
            let image = form.times(&codes);
            let (along, own) = (dot(&image, &weights), dot(&image, &codes));
            if along > 0.0 {
                best = best.min(none - along * along / own);
            }
            let Some(open) = digits.iter().position(|&digit| digit + 1 < grid.len()) else { return best };
            digits[..open].fill(0);
            digits[open] += 1;
        }
    }

    #[test]
    fn short_rows_come_near_the_best_of_all_codes() {
        for (size, name) in [(6, "int2"), (5, "int2"), (5, "int3")] {
            let ratio = |seed| {
                let (weights, matrix) = problem(size, 100_u64 + seed);
                let form = Quadratic::new(&matrix, size);
                let (codes, scales) = start(&weights, format(name));
                let found = Rows::new(&form, format(name), &vec![0; size], true).solved(&weights, &codes, &scales);
                let best = optimum(&form, &weights, format(name));
                assert!(found.loss >= best * (1.0 - 1e-5) - 1e-9, "{name} {seed}: {} below {best}", found.loss);
                found.loss / best
            };
            let ratios: Vec<f64> = (0..60).map(ratio).collect();
            let near = ratios.iter().filter(|ratio| **ratio < 1.05).count();
            let worst = ratios.iter().copied().fold(0.0, f64::max);
            assert!(near >= 50 && worst < 2.5, "{name} of {size}: {near} of 60, at most {worst} times");
        }
    }

    #[test]
    fn a_row_of_two_bits_falls_far() {
        let mut rng = Seed::new(5).rng();
        let mut total = [0.0, 0.0];
        for _ in 0..20 {
            let (weights, matrix) = problem(24, rng.random_range(0..1_000_000));
            let form = Quadratic::new(&matrix, 24);
            let rows = Rows::new(&form, format("int2"), &[0; 24], true);
            let (codes, scales) = start(&weights, format("int2"));
            total[0] += rows.with_loss(&form.ordered(&weights), form.ordered(&codes), scales.clone()).loss;
            total[1] += rows.solved(&weights, &codes, &scales).loss;
        }
        assert!(total[1] < 0.3 * total[0], "{total:?}");
    }

    #[test]
    fn fixed_scales_stay_and_dead_inputs_do_no_harm() {
        let (weights, matrix) = problem(12, 9);
        let form = Quadratic::new(&matrix, 12);
        let (codes, scales) = start(&weights, format("int3"));
        let fixed = Rows::new(&form, format("int3"), &[0; 12], false).solved(&weights, &codes, &scales);
        assert_eq!(fixed.scales, scales);
        assert_ne!(fixed.codes, codes);
        let dead = Quadratic::new(&[0.0; 144], 12);
        let row = Rows::new(&dead, format("int3"), &[0; 12], true).solved(&weights, &codes, &scales);
        assert!(row.loss.is_finite() && row.scales[0] > 0.0);
    }
}
