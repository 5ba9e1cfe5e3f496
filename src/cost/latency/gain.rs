//! What a format gains over another on a device, by operator, width and map: which parts of a network are
//! quantization-friendly there.

use std::collections::BTreeMap;

use super::{Kernel, KernelOp, Target};
use crate::formats::Format;
use crate::network::Act;
use crate::stats::{median, quantile};

/// Operators as people tell them apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The operator.
    pub op: KernelOp,
    /// Its name: `conv 3x3`, `depthwise 5x5`, `hard_swish`.
    pub name: String,
}

impl Part {
    fn of(kernel: &Kernel) -> Self {
        let window = format!("{}x{}", kernel.kernel, kernel.kernel);
        let act = if kernel.act == Act::Gelu { "gelu" } else { kernel.act.name() };
        let name = match kernel.op {
            KernelOp::Conv if kernel.is_depthwise() => format!("depthwise {window}"),
            KernelOp::Conv if kernel.groups > 1 => format!("grouped {window}"),
            KernelOp::Conv => format!("conv {window}"),
            KernelOp::Activate => act.to_owned(),
            op => op.to_string(),
        };
        Self { op: kernel.op, name }
    }
}

/// Upper ends of the width classes; wider ones are a class too.
pub const WIDTHS: [usize; 5] = [16, 32, 64, 128, 256];

/// Upper ends of the classes of map sides.
pub const SIDES: [usize; 4] = [7, 14, 28, 56];

/// The class of a size among upper ends.
pub(super) fn class(size: usize, ends: &[usize]) -> usize {
    ends.iter().position(|end| size <= *end).unwrap_or(ends.len())
}

/// A class in words: `<=16`, `17-32`, `>256`.
pub fn class_name(at: usize, ends: &[usize]) -> String {
    match at {
        0 => format!("<={}", ends[0]),
        at if at == ends.len() => format!(">{}", ends[at - 1]),
        at => format!("{}-{}", ends[at - 1] + 1, ends[at]),
    }
}

/// How many times faster the narrow format is, over some kernels.
#[derive(Clone, Debug, PartialEq)]
pub struct Gain {
    /// Kernels measured in both formats.
    pub kernels: usize,
    /// Median of the time in the other format over that in the narrow one.
    pub median: f64,
    /// A tenth is below.
    pub p10: f64,
    /// A tenth is above.
    pub p90: f64,
    /// Share of the kernels that the narrow format makes slower.
    pub slower: f64,
}

impl Gain {
    fn of(ratios: &[f64]) -> Option<Self> {
        let slower = ratios.iter().filter(|ratio| **ratio < 1.0).count() as f64 / ratios.len() as f64;
        let at = |q| quantile(ratios, q);
        Some(Self { kernels: ratios.len(), median: median(ratios)?, p10: at(0.1)?, p90: at(0.9)?, slower })
    }
}

/// Gains on a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Gains {
    /// Over all kernels.
    pub all: Option<Gain>,
    /// By operator.
    pub parts: Vec<(Part, Gain)>,
    /// By operator, class of the narrower side's width and class of the map's side; convolutions and linear layers.
    pub cells: BTreeMap<(Part, usize, usize), Gain>,
}

/// Compares every kernel that the table has in both formats; those that take no time beside the noise are left out.
pub fn gains(target: &Target, narrow: Format, other: Format) -> Gains {
    let mut by_part: BTreeMap<Part, Vec<f64>> = BTreeMap::new();
    let mut by_cell: BTreeMap<(Part, usize, usize), Vec<f64>> = BTreeMap::new();
    let mut all = Vec::new();
    for (kernel, us) in target.measured() {
        let narrow_one = kernel.a_format == narrow && kernel.w_format == narrow;
        if !narrow_one || matches!(kernel.op, KernelOp::Transition | KernelOp::ConvDequantized) {
            continue;
        }
        let twin = Kernel { a_format: other, w_format: other, ..*kernel };
        let Ok((before, true)) = target.kernel_us(&twin) else { continue };
        if before.min(us) < NOISE_US && target.device.kind == super::Kind::Cpu {
            continue;
        }
        let (part, ratio) = (Part::of(kernel), before / us);
        let width = class(kernel.c_in.min(kernel.c_out), &WIDTHS);
        if matches!(kernel.op, KernelOp::Conv | KernelOp::Linear) {
            by_cell.entry((part.clone(), width, class(kernel.h, &SIDES))).or_default().push(ratio);
        }
        by_part.entry(part).or_default().push(ratio);
        all.push(ratio);
    }
    Gains {
        all: Gain::of(&all),
        parts: by_part.into_iter().filter_map(with_gain).collect(),
        cells: by_cell.into_iter().filter_map(with_gain).collect(),
    }
}

/// A key with the gain over its ratios.
fn with_gain<K>((key, ratios): (K, Vec<f64>)) -> Option<(K, Gain)> {
    Some((key, Gain::of(&ratios)?))
}

/// Shorter times are mostly the noise of a difference.
const NOISE_US: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::latency::{Device, Row};

    #[test]
    fn classes_cover_every_size() {
        let names: Vec<String> = (0..=5).map(|at| class_name(at, &WIDTHS)).collect();
        assert_eq!(names, ["<=16", "17-32", "33-64", "65-128", "129-256", ">256"]);
        assert_eq!([1, 16, 17, 256, 257].map(|size| class(size, &WIDTHS)), [0, 0, 1, 4, 5]);
    }

    #[test]
    fn ratios_are_those_of_the_same_kernel_in_both_formats() {
        let row = |c: usize, groups: usize, format: Format, us: f64| Row {
            kernel: Kernel {
                op: KernelOp::Conv,
                c_in: c,
                c_out: c,
                h: 14,
                w: 14,
                kernel: 3,
                stride: 1,
                groups,
                act: Act::Relu,
                w_format: format,
                a_format: format,
            },
            batch: 1,
            runs: 9,
            median_us: us,
            p10_us: us,
            p90_us: us,
            mad_us: 0.0,
        };
        let (int8, float) = (Format::Int(8), Format::Float32);
        let rows = [
            row(32, 1, float, 30.0),
            row(32, 1, int8, 10.0),
            row(16, 16, float, 5.0),
            row(16, 16, int8, 10.0),
            // Without a twin.
            row(64, 1, int8, 10.0),
        ];
        let gains = gains(&Target::new(Device::cpu_of_tests(), &rows), int8, float);
        let shown: Vec<(&str, f64, f64)> =
            gains.parts.iter().map(|(part, gain)| (part.name.as_str(), gain.median, gain.slower)).collect();
        assert_eq!(shown, [("conv 3x3", 3.0, 0.0), ("depthwise 3x3", 0.5, 1.0)]);
        assert_eq!((gains.all.unwrap().kernels, gains.cells.len()), (2, 2));
    }
}
