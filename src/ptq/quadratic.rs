//! The error that a layer's output makes when its weights are rounded, `J = (s q - w)' H (s q - w)` for each row of weights `w`
//! with codes `q` and scales `s`, and its descent: codes for given scales, then scales for given codes, in turns.
//!
//! Guo et al. 2024 (decoupleQ, arXiv 2404.12759, section 3). The step over codes is GPTQ's (Frantar et al. 2022, arXiv
//! 2210.17323), columns of large inputs first, and then single codes for as long as that helps (ours). Zero points are 0, so
//! the step over scales has one unknown a run: `s = q' H r / q' H q`, where `r` is what the row's other runs leave.

/// Share of the mean of H's diagonal that is added to the diagonal.
const DAMPING: f64 = 0.01;

/// A quadratic form over the inputs of a row, its columns in the order in which codes are chosen: largest diagonal first.
#[derive(Debug)]
pub(super) struct Quadratic {
    /// The column of each place.
    pub(super) order: Vec<usize>,
    /// H, row-major.
    pub(super) matrix: Vec<f64>,
    /// The lower triangle L with `H = L' L`, row-major.
    pub(super) factor: Vec<f64>,
}

impl Quadratic {
    /// The damped form of a symmetric matrix of non-negative diagonal, `size` x `size`, row-major.
    pub(super) fn new(matrix: &[f64], size: usize) -> Self {
        let mean = (0..size).map(|at| matrix[at * size + at]).sum::<f64>() / size.max(1) as f64;
        // Inputs that are all zero leave every code as good as another: then weights count alike.
        let damping = if mean > 0.0 { mean * DAMPING } else { 1.0 };
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by(|&a, &b| matrix[b * size + b].total_cmp(&matrix[a * size + a]));
        let mut ordered = vec![0.0; size * size];
        for (to, &row) in order.iter().enumerate() {
            for (at, &column) in order.iter().enumerate() {
                ordered[to * size + at] = matrix[row * size + column] + if row == column { damping } else { 0.0 };
            }
        }
        let factor = reversed_cholesky(&ordered, size, damping * 1e-9);
        Self { order, matrix: ordered, factor }
    }

    /// Number of columns.
    pub(super) fn size(&self) -> usize {
        self.order.len()
    }

    /// Values of the columns in the order of the places.
    pub(super) fn ordered<T: Copy>(&self, values: &[T]) -> Vec<T> {
        self.order.iter().map(|&column| values[column]).collect()
    }

    /// Values of the places in the order of the columns.
    pub(super) fn restored(&self, values: &[f64]) -> Vec<f64> {
        let mut restored = vec![0.0; values.len()];
        self.order.iter().zip(values).for_each(|(&column, &value)| restored[column] = value);
        restored
    }

    pub(super) fn row(&self, at: usize) -> &[f64] {
        &self.matrix[at * self.size()..][..self.size()]
    }

    /// `e' H e`.
    pub(super) fn of(&self, difference: &[f64]) -> f64 {
        let size = self.size();
        (0..size).map(|at| dot(&self.factor[at * size..][..=at], &difference[..=at]).powi(2)).sum()
    }

    /// `H e`.
    pub(super) fn times(&self, difference: &[f64]) -> Vec<f64> {
        (0..self.size()).map(|at| dot(self.row(at), difference)).collect()
    }
}

/// The lower triangle L with `H = L' L`: a Cholesky decomposition from the last column up. Pivots below `least` become it.
fn reversed_cholesky(matrix: &[f64], size: usize, least: f64) -> Vec<f64> {
    // In reversed order H = C C' as usual, so that L is C' reversed.
    let back = |at: usize| size - 1 - at;
    let mut lower = vec![0.0; size * size];
    for row in 0..size {
        for column in 0..=row {
            let (before, here) = lower.split_at(row * size);
            let own = &here[..column];
            let other = if column == row { own } else { &before[column * size..][..column] };
            let rest = matrix[back(row) * size + back(column)] - dot(own, other);
            lower[row * size + column] =
                if column == row { rest.max(least).sqrt() } else { rest / lower[column * size + column] };
        }
    }
    let mut factor = vec![0.0; size * size];
    for row in 0..size {
        for column in 0..=row {
            factor[row * size + column] = lower[back(column) * size + back(row)];
        }
    }
    factor
}

/// Eight partial sums, so that it vectorises.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (a_parts, b_parts) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a_parts.0.iter().zip(b_parts.0) {
        lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (a, b))| *lane += a * b);
    }
    let rest: f64 = a_parts.1.iter().zip(b_parts.1).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f64>() + rest
}
