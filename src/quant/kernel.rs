//! The only unsafe code of the crate: element-wise passes over a tensor's own memory.
//!
//! libtorch offers no custom rounding, and copying out and in would cost two more passes. A tensor that autograd has
//! saved must never be rewritten; callers hand over a result that its own backward does not read (`clamp` saves its
//! input, a product with a constant saves nothing).
#![allow(unsafe_code, reason = "a tensor's memory can only be reached through its raw pointer")]

use multiversion::multiversion;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::Range;

/// Elements a task works on: 64 KiB, half of a usual first-level plus second-level cache share.
const CHUNK: usize = 16 * 1024;

/// Whether one thread does it sooner than several: little work, or a pool of one thread.
fn is_small(elements: usize) -> bool {
    elements <= CHUNK || rayon::current_num_threads() == 1
}

/// Whether the passes below can work on this tensor: float32 in main memory, without holes.
pub(crate) fn is_reachable(tensor: &Tensor) -> bool {
    tensor.device() == Device::Cpu && tensor.kind() == Kind::Float && is_dense(tensor)
}

/// Whether the elements fill a block of memory, in row-major or channels-last order.
fn is_dense(tensor: &Tensor) -> bool {
    tensor.is_contiguous() || (tensor.dim() == 4 && tensor.permute([0, 2, 3, 1]).is_contiguous())
}

/// The elements in memory order.
///
/// # Panics
/// When [`is_reachable`] does not hold.
fn elements(tensor: &Tensor) -> &[f32] {
    assert!(is_reachable(tensor), "the kernel needs a dense float32 tensor in main memory");
    // SAFETY: the tensor is dense float32 on the CPU (asserted), so `numel` floats lie at `data_ptr`, and the borrow of
    // the tensor keeps its storage alive. Nobody writes it meanwhile: libtorch runs only when called.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<f32>(), tensor.numel()) }
}

/// The elements in memory order, for writing.
///
/// # Panics
/// When [`is_reachable`] does not hold.
fn elements_mut(tensor: &mut Tensor) -> &mut [f32] {
    assert!(is_reachable(tensor), "the kernel needs a dense float32 tensor in main memory");
    // SAFETY: as in `elements`; the exclusive borrow keeps other Rust code from this handle, and callers own the only
    // handle to a result they have just made.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<f32>(), tensor.numel()) }
}

/// Applies `pass` to every chunk of the tensor, in parallel.
pub(super) fn rewrite(tensor: &mut Tensor, pass: impl Fn(&mut [f32]) + Sync + Send) {
    let values = elements_mut(tensor);
    if is_small(values.len()) {
        pass(values);
    } else {
        values.par_chunks_mut(CHUNK).for_each(pass);
    }
}

/// Writes `x` clipped to `low..=high` and changed by `pass` into `y`, and into `x` where it lay: 1 inside, -1 outside (NaN
/// is outside). In parallel.
///
/// # Panics
/// When the two differ in shape or layout.
pub(super) fn clip_with_mask(
    y: &mut Tensor,
    x: &mut Tensor,
    low: f32,
    high: f32,
    pass: impl Fn(&mut [f32]) + Sync + Send,
) {
    assert_eq!((y.size(), y.stride()), (x.size(), x.stride()), "two tensors of one layout");
    let chunk = |(y, x): (&mut [f32], &mut [f32])| {
        clip(y, x, low, high);
        pass(y);
    };
    let (y, x) = (elements_mut(y), elements_mut(x));
    if is_small(y.len()) {
        chunk((y, x));
    } else {
        y.par_chunks_mut(CHUNK).zip(x.par_chunks_mut(CHUNK)).for_each(chunk);
    }
}

#[multiversion(targets("x86_64+avx2+avx512f+avx512vl", "x86_64+avx2"))]
fn clip(y: &mut [f32], x: &mut [f32], low: f32, high: f32) {
    for (y, x) in y.iter_mut().zip(x) {
        let value = *x;
        // Written as comparisons, which let NaN pass.
        let raised = if value < low { low } else { value };
        *y = if raised > high { high } else { raised };
        *x = if value >= low && value <= high { 1.0 } else { -1.0 };
    }
}

/// Writes into `y` what `round` makes of `x / step` clipped to `low..=high`, times `step`; into `slope` how that changes with the
/// step; and into `x` where it lay: 1 inside, -1 outside (NaN is outside). In parallel.
///
/// # Panics
/// When the three differ in shape or layout.
pub(super) fn scale_with_slope(
    [y, slope, x]: [&mut Tensor; 3],
    step: f32,
    (low, high): (f32, f32),
    round: impl Fn(&mut [f32]) + Sync + Send,
) {
    for other in [&*y, &*slope] {
        assert_eq!((other.size(), other.stride()), (x.size(), x.stride()), "three tensors of one layout");
    }
    let chunk = |((y, slope), x): ((&mut [f32], &mut [f32]), &mut [f32])| {
        x.iter_mut().for_each(|value| *value /= step);
        slope.copy_from_slice(x);
        clip(y, x, low, high);
        round(y);
        follow(y, slope, x, step);
    };
    let (y, slope, x) = (elements_mut(y), elements_mut(slope), elements_mut(x));
    if is_small(y.len()) {
        chunk(((y, slope), x));
    } else {
        let parts = y.par_chunks_mut(CHUNK).zip(slope.par_chunks_mut(CHUNK)).zip(x.par_chunks_mut(CHUNK));
        parts.for_each(chunk);
    }
}

/// From codes and the unrounded ones: the values, and `code - unrounded` inside the clip, `code` outside.
#[multiversion(targets("x86_64+avx2+avx512f+avx512vl", "x86_64+avx2"))]
fn follow(y: &mut [f32], slope: &mut [f32], mask: &[f32], step: f32) {
    for ((y, slope), mask) in y.iter_mut().zip(slope).zip(mask) {
        *slope = if *mask > 0.0 { *y - *slope } else { *y };
        *y *= step;
    }
}

/// What `read` makes of all elements.
pub(crate) fn read_whole<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> R) -> R {
    read(elements(tensor))
}

/// Applies `pass` to all elements at once.
pub(super) fn rewrite_whole(tensor: &mut Tensor, pass: impl FnOnce(&mut [f32])) {
    pass(elements_mut(tensor));
}

/// Applies `pass(row, elements)` to every row of a row-major tensor split into `rows` equal parts, in parallel.
pub(super) fn rewrite_rows(tensor: &mut Tensor, rows: usize, pass: impl Fn(usize, &mut [f32]) + Sync) {
    let values = elements_mut(tensor);
    let length = values.len() / rows.max(1);
    if is_small(values.len()) {
        values.chunks_mut(length.max(1)).enumerate().for_each(|(row, part)| pass(row, part));
    } else {
        values.par_chunks_mut(length.max(1)).enumerate().for_each(|(row, part)| pass(row, part));
    }
}

/// Largest magnitude and root mean square of values that are raised to `floor`, in one parallel pass. The sum runs over
/// fixed chunks in a fixed order, so it does not depend on the number of threads.
pub(super) fn range(tensor: &Tensor, floor: f32) -> Range {
    let values = elements(tensor);
    let of = |part: &[f32]| Range::of(part, floor);
    let partial: Vec<Range> = if is_small(values.len()) {
        values.chunks(CHUNK).map(of).collect()
    } else {
        values.par_chunks(CHUNK).map(of).collect()
    };
    Range::merged(&partial, CHUNK, values.len())
}
