//! Learned rounding: each weight goes to the grid value below or above it, and which one is trained.
//!
//! Nagel et al. 2020 (AdaRound, arXiv 2004.10568) for integers; the same gate between any two neighbours of a grid serves
//! small floats (arXiv 2408.06995), where [`Rounding::ScaleAware`] makes the gate's update independent of their distance
//! (FP4DiT, arXiv 2503.15465, equation 8).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::formats::Runs;
use crate::models::tensor;
use crate::stored::StoredWeight;

/// How weights are rounded in a refinement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rounding {
    /// To the nearest, not trained.
    Nearest,
    /// A gate a weight.
    #[default]
    Learned,
    /// A gate a weight, in units of the distance between its neighbours.
    ScaleAware,
}

const NAMES: [(Rounding, &str); 3] =
    [(Rounding::Nearest, "nearest"), (Rounding::Learned, "learned"), (Rounding::ScaleAware, "scale-aware")];

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(NAMES.iter().find(|(rounding, _)| rounding == self).map_or("", |(_, name)| name))
    }
}

impl FromStr for Rounding {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = NAMES.iter().find(|(_, name)| *name == text).map(|(rounding, _)| *rounding);
        found.ok_or_else(|| Error::unknown_name("--rounding", text, NAMES.iter().map(|(_, name)| *name)))
    }
}

/// The gate's stretch (Louizos et al. 2018): it reaches 0 and 1 at finite arguments.
const STRETCH: [f64; 2] = [-0.1, 1.1];

/// The weights of a layer, each between two neighbours on its grid.
#[derive(Debug)]
pub struct SoftWeight {
    /// The lower neighbour, in weight units.
    below: Tensor,
    /// Distance to the upper one, in weight units; 0 where the grid ends.
    step: Tensor,
    /// What the gate's argument is divided by.
    unit: Option<Tensor>,
    /// The gate's argument, trained.
    gate: Tensor,
}

impl SoftWeight {
    /// Neighbours of `values` (the float weights, row-major) on the grid of `quantized`, gates where they reproduce the
    /// values.
    pub fn new(values: &[f32], quantized: &StoredWeight, rounding: Rounding, device: Device) -> Self {
        let grid: Vec<f32> = quantized.spec.format.grid().into_iter().map(|value| value as f32).collect();
        let (mut below, mut step, mut gate) = (Vec::new(), Vec::new(), Vec::new());
        for (values, scale) in runs(values, quantized) {
            for &value in values {
                let at = grid.partition_point(|&level| level * scale <= value).clamp(1, grid.len());
                let low = grid[at - 1] * scale;
                let gap = grid.get(at).map_or(0.0, |&above| above * scale - low);
                let rest = if gap > 0.0 { ((value - low) / gap).clamp(0.0, 1.0) } else { 0.0 };
                below.push(low);
                step.push(gap);
                gate.push(argument(f64::from(rest)) as f32);
            }
        }
        let make = |values: &[f32]| tensor(values, &quantized.shape, device);
        let (below, step, mut gate) = (make(&below), make(&step), make(&gate));
        let unit = (rounding == Rounding::ScaleAware).then(|| step.clamp_min(f64::from(f32::MIN_POSITIVE)));
        if let Some(unit) = &unit {
            gate *= unit;
        }
        Self { below, step, unit, gate: gate.set_requires_grad(true) }
    }

    /// The trained gates.
    pub fn gate(&self) -> &Tensor {
        &self.gate
    }

    fn opened(&self) -> Tensor {
        let argument = match &self.unit {
            Some(unit) => &self.gate / unit,
            None => self.gate.shallow_clone(),
        };
        (argument.sigmoid() * (STRETCH[1] - STRETCH[0]) + STRETCH[0]).clamp(0.0, 1.0)
    }

    /// The weights with gates as they are, between the neighbours.
    pub fn soft(&self) -> Tensor {
        &self.below + &self.step * self.opened()
    }

    /// What keeps gates from staying between: the sum of `1 - |2 h - 1|^beta`.
    pub fn undecided(&self, beta: f64) -> Tensor {
        let distance = (self.opened() * 2.0 - 1.0).abs();
        let open = self.step.gt(0.0).to_kind(Kind::Float);
        ((distance.pow_tensor_scalar(beta).neg() + 1.0) * open).sum(Kind::Float)
    }

    /// The quantized weights with each gate decided.
    pub fn decided(&self, quantized: &StoredWeight) -> StoredWeight {
        let chosen = tch::no_grad(|| &self.below + &self.step * self.opened().ge(0.5).to_kind(Kind::Float));
        let chosen: Vec<f32> = Vec::try_from(chosen.to_device(Device::Cpu).contiguous().view([-1])).unwrap_or_default();
        StoredWeight::under(chosen, &quantized.shape, quantized.spec, quantized.scales.clone())
    }
}

/// The gate's argument at which it opens so far: the inverse of the stretched sigmoid.
fn argument(opened: f64) -> f64 {
    let share = (opened - STRETCH[0]) / (STRETCH[1] - STRETCH[0]);
    -(1.0 / share - 1.0).ln()
}

/// The runs of a weight tensor with their scales.
fn runs<'a>(values: &'a [f32], quantized: &'a StoredWeight) -> impl Iterator<Item = (&'a [f32], f32)> {
    let Runs { row, run } = quantized.spec.granularity.runs(&quantized.shape);
    let parts = values.chunks(row).flat_map(move |row| row.chunks(run));
    parts.zip(quantized.scales.runs.iter().map(|scale| scale * quantized.scales.tensor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{Format, QuantSpec};

    fn values() -> Vec<f32> {
        (0..240).map(|at| ((at * 37 % 101) as f32 - 50.0) / 23.0).collect()
    }

    fn quantized(format: &str) -> StoredWeight {
        let spec = QuantSpec::per_channel(format.parse::<Format>().unwrap());
        StoredWeight::quantize(values(), &[4, 60], None, spec)
    }

    fn floats(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.detach().contiguous().view([-1])).unwrap()
    }

    #[test]
    fn gates_begin_where_they_reproduce_the_weights() {
        for format in ["int4", "int2", "fp4", "e1m2", "e3m0", "fp8", "int8"] {
            for rounding in [Rounding::Learned, Rounding::ScaleAware] {
                let soft = SoftWeight::new(&values(), &quantized(format), rounding, Device::Cpu);
                let far = floats(&soft.soft()).iter().zip(values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far < 2e-6, "{format} {rounding}: {far}");
            }
        }
    }

    #[test]
    fn decided_gates_take_a_neighbour_on_the_grid() {
        for format in ["int4", "fp4", "e3m0"] {
            let nearest = quantized(format);
            let soft = SoftWeight::new(&values(), &nearest, Rounding::Learned, Device::Cpu);
            // Gates at rest decide as rounding to the nearest does, but for ties.
            let decided = soft.decided(&nearest);
            let near =
                |a: &StoredWeight| a.values().iter().zip(values()).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>();
            assert!((near(&decided) - near(&nearest)).abs() < 1e-4, "{format}");
            let _ = tch::no_grad(|| soft.gate.shallow_clone().fill_(9.0));
            let up = soft.decided(&nearest);
            let grid: Vec<f32> = nearest.spec.format.grid().iter().map(|&value| value as f32).collect();
            assert!(up.grid.iter().all(|value| grid.contains(value)), "{format}");
            assert!(up.values().iter().zip(values()).all(|(up, value)| *up >= value - 1e-6), "{format}");
        }
    }

    #[test]
    fn a_scale_aware_gate_moves_a_weight_alike_in_every_binade() {
        // One scale for all rows, weights halfway between neighbours of different distance.
        let values: Vec<f32> = vec![0.25, 2.5, 5.0, 6.0];
        let spec = QuantSpec::per_tensor("fp4".parse::<Format>().unwrap());
        let quantized = StoredWeight::quantize(values.clone(), &[4, 1], None, spec);
        let gradients = |rounding| {
            let soft = SoftWeight::new(&values, &quantized, rounding, Device::Cpu);
            soft.soft().sum(Kind::Float).backward();
            floats(&soft.gate().grad())
        };
        let plain = gradients(Rounding::Learned);
        let aware = gradients(Rounding::ScaleAware);
        assert!((plain[1] / plain[0] - 2.0).abs() < 1e-4 && (plain[2] / plain[0] - 4.0).abs() < 1e-4, "{plain:?}");
        assert!((aware[1] / aware[0] - 1.0).abs() < 1e-4 && (aware[2] / aware[0] - 1.0).abs() < 1e-4, "{aware:?}");
    }

    /// Correlated inputs `[512, 72]` and weights `[16, 72]` of many binades.
    fn layer() -> (Tensor, Vec<f32>) {
        use rand_distr::{Distribution, StandardNormal, StudentT};
        let mut rng = crate::seed::Seed::new(12).rng();
        let base: Vec<f32> = StandardNormal.sample_iter(&mut rng).take(512 * 12).collect();
        let mixed: Vec<f32> = StandardNormal.sample_iter(&mut rng).take(12 * 72).collect();
        let own: Vec<f32> = StandardNormal.sample_iter(&mut rng).take(512 * 72).collect();
        let tails: StudentT<f64> = StudentT::new(4.0).unwrap();
        let weights = tails.sample_iter(&mut rng).take(16 * 72).map(|x| x as f32 * 0.1).collect();
        let x = Tensor::from_slice(&base).view([512, 12]).matmul(&Tensor::from_slice(&mixed).view([12, 72]));
        (x + Tensor::from_slice(&own).view([512, 72]) * 0.3, weights)
    }

    /// Squared error of the layer's output.
    fn output_error(x: &Tensor, weights: &[f32], quantized: &StoredWeight) -> f64 {
        let off: Vec<f32> = quantized.values().iter().zip(weights).map(|(q, w)| q - w).collect();
        let off = Tensor::from_slice(&off).view([16, 72]);
        x.matmul(&off.transpose(0, 1)).square().sum(Kind::Double).double_value(&[]) / 512.0
    }

    /// The layer in fp4, its gates trained for so many steps by AdaRound's objective.
    fn trained(rounding: Rounding, steps: usize) -> StoredWeight {
        let (x, weights) = layer();
        let spec = QuantSpec::per_channel("fp4".parse::<Format>().unwrap());
        let nearest = StoredWeight::quantize(weights.clone(), &[16, 72], None, spec);
        let soft = SoftWeight::new(&weights, &nearest, rounding, Device::Cpu);
        let exact = Tensor::from_slice(&weights).view([16, 72]);
        let mut adam = crate::optim::Adam::default();
        adam.add(soft.gate(), 1e-1);
        for at in 0..steps {
            let done = at as f64 / steps as f64;
            let off = soft.soft() - &exact;
            let mut loss = x.matmul(&off.transpose(0, 1)).square().sum(Kind::Float) / 512.0;
            if done >= 0.2 {
                loss += soft.undecided(20.0 - 18.0 * (done - 0.2) / 0.8) * 0.01;
            }
            loss.backward();
            adam.step(1.0);
        }
        soft.decided(&nearest)
    }

    #[test]
    fn learned_gates_of_fp4_beat_the_nearest_and_stay_within_a_step() {
        let (x, weights) = layer();
        let nearest = trained(Rounding::Nearest, 0);
        let learned = trained(Rounding::Learned, 200);
        let (before, after) = (output_error(&x, &weights, &nearest), output_error(&x, &weights, &learned));
        assert!(after < 0.8 * before, "{before} {after}");
        let grid: Vec<f32> = learned.spec.format.grid().iter().map(|&value| value as f32).collect();
        assert!(learned.grid.iter().all(|value| grid.contains(value)));
        // At most one place on the grid away from the nearest value.
        let place = |value: &f32| grid.partition_point(|level| level < value);
        let moved = learned.grid.iter().zip(&nearest.grid).map(|(a, b)| place(a).abs_diff(place(b)));
        assert_eq!(moved.max(), Some(1));
    }

    #[test]
    fn scale_aware_gates_reach_the_plain_ones_error_in_half_the_steps() {
        // At equal learning rate. Given 200 steps and more the plain ones end lower: 0.96 against 1.04.
        let (x, weights) = layer();
        let error = |rounding, steps| output_error(&x, &weights, &trained(rounding, steps));
        for steps in [25, 50] {
            let (plain, aware) = (error(Rounding::Learned, 2 * steps), error(Rounding::ScaleAware, steps));
            assert!(aware < plain, "{steps} steps: {aware}, plain in {}: {plain}", 2 * steps);
        }
    }
}
