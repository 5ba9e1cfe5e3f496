//! Analytic targets: what a multiply-accumulate costs in silicon.

use serde::Serialize;

use super::{Convention, LayerCost, TrainingStep};
use crate::formats::{Format, MiniFloat};
use crate::network::Network;

/// What sums up the products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulator {
    /// A fixed-point register of the product's width and 12 bits more.
    Fixed,
    /// Binary16.
    Float16,
    /// Binary32.
    Float32,
}

/// Two-input gates of one multiply-accumulate with both operands in `format` (van Baalen et al. 2023, "FP8 versus INT8 for
/// efficient deep learning inference", figure 3); `None` for formats that the figure does not have.
pub fn gates_per_mac(format: Format, accumulator: Accumulator) -> Option<f64> {
    let row = match format {
        Format::Int(8) | Format::Uint(8) => [721.0, 1394.0, 2335.0],
        Format::Mini(mini) => match (mini.exponent, mini.mantissa) {
            (2, 5) => [874.0, 1271.0, 2213.0],
            (3, 4) => [899.0, 1180.0, 2121.0],
            (4, 3) => [1064.0, 1106.0, 2042.0],
            (5, 2) => [1510.0, 1051.0, 1980.0],
            _ => return None,
        },
        _ => return None,
    };
    Some(row[accumulator as usize])
}

/// Area in square micrometres of one multiply-accumulate unit in TSMC's 40 nm at 0.5 GHz (Liu et al. 2023, "LLM-FP4", table 6);
/// `None` for pairs that the table does not have.
pub fn mac_area_um2(weight: Format, activation: Format) -> Option<f64> {
    let kind = |format: Format| match format {
        Format::Int(bits) | Format::Uint(bits) => (false, bits, 0),
        Format::Mini(MiniFloat { exponent, mantissa, .. }) => (true, exponent, mantissa),
        _ => (false, 0, 0),
    };
    Some(match (kind(weight), kind(activation)) {
        ((false, 4, _), (false, 4, _)) => 410.0,
        ((false, 6, _), (false, 6, _)) => 529.0,
        ((true, 2, 1), (true, 2, 1)) => 443.0,
        ((true, 2, 1), (true, 1, 2)) | ((true, 1, 2), (true, 2, 1)) => 432.0,
        ((true, 3, 2), (true, 3, 2)) => 498.0,
        _ => return None,
    })
}

/// Analytic costs of a network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Hardware {
    /// Gates of its multiply-accumulates over those in int8, fixed-point sums; `None` where a layer's format has no figure.
    pub gates_over_int8: Option<f64>,
    /// Mean area of its multiply-accumulate units in square micrometres, weighed by MACs; `None` likewise.
    pub mac_area_um2: Option<f64>,
    /// Cycles in 1e6 of one binary16 training step on one image on the microcontroller.
    pub train_mcycles: f64,
    /// Activations in 1e3 bytes that this step keeps, in binary16.
    pub train_kb: f64,
}

impl Hardware {
    /// The analytic costs of a network.
    pub fn of(network: &Network) -> Self {
        let rows = LayerCost::rows(network, Convention::Full);
        let total: f64 = rows.iter().map(|row| row.macs as f64).sum();
        let mean = |each: &dyn Fn(&LayerCost) -> Option<f64>| {
            let sum: Option<f64> =
                rows.iter().filter(|row| row.macs > 0).map(|row| Some(each(row)? * row.macs as f64)).sum();
            sum.map(|sum| sum / total.max(1.0))
        };
        let gates = |row: &LayerCost| {
            let of = |format| gates_per_mac(format, Accumulator::Fixed);
            Some(of(row.weight)?.max(of(row.activation)?) / of(Format::Int(8))?)
        };
        let step = TrainingStep::of(network);
        Self {
            gates_over_int8: mean(&gates),
            mac_area_um2: mean(&|row| mac_area_um2(row.weight, row.activation)),
            train_mcycles: step.mcycles,
            train_kb: step.saved_bytes as f64 / 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::QuantSpec;
    use crate::network::{ModelSpec, build};

    fn hardware(model: &str, format: &str) -> Hardware {
        let mut network = build(&ModelSpec::new(model.parse().unwrap())).unwrap();
        let (count, format) = (network.weighted().len(), format.parse().unwrap());
        network.assign(&vec![QuantSpec::per_channel(format); count], &vec![QuantSpec::per_tensor(format); count]);
        Hardware::of(&network)
    }

    #[test]
    fn the_published_ratios_come_out() {
        let e4m3: Format = "float8_e4m3fn".parse().unwrap();
        let int8 = gates_per_mac(Format::Int(8), Accumulator::Fixed).unwrap();
        let fixed = |format| gates_per_mac(format, Accumulator::Fixed).unwrap() / int8;
        assert!((fixed(Format::Int(8)) - 1.0).abs() < 1e-12 && (fixed(e4m3) - 1.48).abs() < 0.005);
        // 53 % and 183 % more, as the paper's text says.
        for (accumulator, ratio) in [(Accumulator::Float16, 1.53), (Accumulator::Float32, 2.83)] {
            assert!((gates_per_mac(e4m3, accumulator).unwrap() / int8 - ratio).abs() < 0.005);
        }
        let area = |name: &str| mac_area_um2(name.parse().unwrap(), name.parse().unwrap()).unwrap();
        assert!((area("fp4") / area("int4") - 1.08).abs() < 0.001);
        let mixed = mac_area_um2("fp4".parse().unwrap(), "e1m2".parse().unwrap()).unwrap();
        assert!((mixed / area("int4") - 1.054).abs() < 0.001);
        assert!((area("float6_e3m2fn") / area("int6") - 0.941).abs() < 0.001);
    }

    #[test]
    fn uniform_networks_cost_what_one_unit_does() {
        assert_eq!(hardware("resnet8", "int8").gates_over_int8, Some(1.0));
        assert_eq!(hardware("resnet8", "int4").mac_area_um2, Some(410.0));
        assert_eq!(hardware("resnet8", "int4").gates_over_int8, None);
        let fp8 = hardware("resnet8", "fp8").gates_over_int8.unwrap();
        assert!((fp8 - 1064.0 / 721.0).abs() < 1e-9);
    }
}
