//! Times of kernels that were not measured: a linear model of their work, corrected by the nearest measured ones.

use super::Kernel;

/// Numbers that a kernel's time is linear in: one for the call, then its work.
const TERMS: usize = 5;

/// Measured neighbours that correct the linear model.
const NEIGHBOURS: usize = 4;

/// Sweeps of coordinate descent; five numbers settle in far fewer.
const SWEEPS: usize = 2_000;

/// The x that makes `rows x` nearest to `targets` in the least squares sense, none of it below 0: coordinate descent on the
/// normal equations, which is exact in the limit (the problem is convex).
pub(super) fn nonnegative_least_squares<const N: usize>(rows: &[[f64; N]], targets: &[f64]) -> [f64; N] {
    let mut gram = [[0.0; N]; N];
    let mut right = [0.0; N];
    for (row, target) in rows.iter().zip(targets) {
        for i in 0..N {
            right[i] += row[i] * target;
            for j in 0..N {
                gram[i][j] += row[i] * row[j];
            }
        }
    }
    let mut x = [0.0; N];
    for _ in 0..SWEEPS {
        for i in 0..N {
            if gram[i][i] > 0.0 {
                let others: f64 = (0..N).filter(|&j| j != i).map(|j| gram[i][j] * x[j]).sum();
                x[i] = ((right[i] - others) / gram[i][i]).max(0.0);
            }
        }
    }
    x
}

/// A model of the times of one operator in one format.
#[derive(Clone, Debug)]
pub(super) struct Regression {
    coefficients: [f64; TERMS],
    measured: Vec<(Kernel, f64)>,
}

fn terms(kernel: &Kernel) -> [f64; TERMS] {
    let [macs, read, written, weights] = kernel.work();
    [1.0, macs, read, written, weights]
}

/// How unlike two kernels are: squared distances of the logarithms of their sizes.
fn distance(a: &Kernel, b: &Kernel) -> f64 {
    let sizes = |kernel: &Kernel| {
        [kernel.c_in, kernel.c_out, kernel.h * kernel.w, kernel.kernel, kernel.stride, kernel.groups.min(2)]
            .map(|size| (size.max(1) as f64).ln())
    };
    let squares = sizes(a).into_iter().zip(sizes(b)).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    squares + if a.act == b.act { 0.0 } else { 0.5 }
}

impl Regression {
    /// Fits the model by relative errors; `measured` has one kernel or more.
    pub(super) fn fit(measured: Vec<(Kernel, f64)>) -> Self {
        let relative = |(kernel, us): &(Kernel, f64)| terms(kernel).map(|term| term / us.max(1e-3));
        let rows: Vec<[f64; TERMS]> = measured.iter().map(relative).collect();
        // Each term by its largest share, so that descent sees numbers of one size.
        let mut largest = [f64::MIN_POSITIVE; TERMS];
        for row in &rows {
            largest.iter_mut().zip(row).for_each(|(most, term)| *most = most.max(*term));
        }
        let scaled: Vec<[f64; TERMS]> =
            rows.iter().map(|row| std::array::from_fn(|term| row[term] / largest[term])).collect();
        let found = nonnegative_least_squares(&scaled, &vec![1.0; scaled.len()]);
        Self { coefficients: std::array::from_fn(|term| found[term] / largest[term]), measured }
    }

    /// Time of a kernel in microseconds, leaving out the measured one of that very size if `but` says so.
    fn estimate(&self, kernel: &Kernel, but: Option<usize>) -> f64 {
        let base = |kernel: &Kernel| -> f64 {
            let sum: f64 = terms(kernel).iter().zip(self.coefficients).map(|(term, factor)| term * factor).sum();
            sum.max(1e-3)
        };
        let others = self.measured.iter().enumerate().filter(|(at, _)| Some(*at) != but);
        let mut near: Vec<(f64, f64)> =
            others.map(|(_, (other, us))| (distance(kernel, other), us / base(other))).collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        near.truncate(NEIGHBOURS);
        // The log of the ratio, weighed by nearness.
        let weighed = near.iter().map(|(distance, ratio)| (1.0 / (distance + 1e-2), ratio.max(1e-6).ln()));
        let (weights, logs) =
            weighed.fold((0.0, 0.0), |(sum, logs), (weight, log)| (sum + weight, logs + weight * log));
        base(kernel) * if weights > 0.0 { (logs / weights).exp() } else { 1.0 }
    }

    /// Time of a kernel in microseconds.
    pub(super) fn of(&self, kernel: &Kernel) -> f64 {
        self.estimate(kernel, None)
    }

    /// Relative errors of estimating each measured kernel from the others; none where so few are measured that the model goes
    /// through them all.
    pub(super) fn errors(&self) -> Vec<f64> {
        if self.measured.len() <= TERMS {
            return Vec::new();
        }
        let error = |(at, (kernel, us)): (usize, &(Kernel, f64))| self.estimate(kernel, Some(at)) / us - 1.0;
        self.measured.iter().enumerate().map(error).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::latency::KernelOp;
    use crate::formats::Format;
    use crate::network::Act;

    fn conv(c: usize, side: usize) -> Kernel {
        let format = Format::Float32;
        Kernel {
            op: KernelOp::Conv,
            c_in: c,
            c_out: c,
            h: side,
            w: side,
            kernel: 3,
            stride: 1,
            groups: 1,
            act: Act::Relu,
            w_format: format,
            a_format: format,
        }
    }

    #[test]
    fn least_squares_by_hand_and_with_a_bound_that_binds() {
        // y = 2 a + 3 b exactly.
        let rows = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]];
        let found = nonnegative_least_squares(&rows, &[2.0, 3.0, 5.0]);
        assert!((found[0] - 2.0).abs() < 1e-9 && (found[1] - 3.0).abs() < 1e-9, "{found:?}");
        // Free, b would be -1; bound at 0, a is the mean that fits best: (1*1 + 1*0) / 2.
        let found = nonnegative_least_squares(&[[1.0, 0.0], [1.0, 1.0]], &[1.0, 0.0]);
        assert!((found[0] - 0.5).abs() < 1e-9 && found[1].abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn a_linear_device_is_recovered_between_and_beyond_its_measurements() {
        let time = |kernel: &Kernel| {
            let [macs, read, written, weights] = kernel.work();
            3.0 + macs / 2e4 + (read + written) / 1e3 + weights / 1e3
        };
        let sizes = [(8, 28), (16, 28), (16, 14), (32, 14), (64, 7), (32, 7), (64, 14)];
        let measured = sizes.map(|(c, side)| (conv(c, side), time(&conv(c, side)))).into();
        let model = Regression::fit(measured);
        for kernel in [conv(24, 14), conv(48, 28), conv(8, 7)] {
            let error = model.of(&kernel) / time(&kernel) - 1.0;
            assert!(error.abs() < 0.02, "{kernel}: {error}");
        }
        assert!(model.errors().iter().all(|error| error.abs() < 0.05), "{:?}", model.errors());
    }
}
