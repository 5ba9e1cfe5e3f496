//! One test program: libtorch is linked once. A file of this folder that is not listed here never runs.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails its test by panicking")]

/// Checkpoint files of every kind, whole and damaged.
mod checkpoint;
/// Supernets of elastic operators.
mod elastic;
/// What evaluation and training compute.
mod evaluation;
/// Search spaces that evolve.
mod evolve_space;
/// What a user reads of a post-training result.
mod explain;
/// Exported files in ONNX Runtime.
mod export;
/// Every format against ml_dtypes.
mod formats_conformance;
/// Ctrl-C as a real signal.
mod interrupt;
/// Exported files in Python.
mod latency;
/// Imports point down the floors.
mod layering;
/// Packed weights and descriptions.
mod packed;
/// Post-training quantization.
mod ptq;
mod python;
/// The experiments behind published claims.
mod reproduce;
/// A search as a user runs it.
mod run_directory;
/// The search loop through its public face.
mod search_loop;
/// Real data that may not go into the repository.
mod shared_data;
