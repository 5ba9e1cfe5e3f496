//! bitfront finds the best quantized network for a device.
//!
//! It trains one weight-sharing supernet whose layers run in sampled number formats, searches it
//! under hard cost limits and returns a Pareto front of quantized networks.
//!
//! Modules stand on floors; imports only point down (`tests/layering.rs` checks it):
//!
//! | floor | modules |
//! |---|---|
//! | 0 | [`atomic`], [`error`], [`genome`], [`interrupt`], [`progress`], [`ron_text`], [`seed`], [`stats`] |
//! | 1 | [`checkpoint`], [`formats`], [`pareto`] |
//! | 2 | [`network`] |
//! | 3 | [`space`] |
//! | 4 | [`cost`], [`data`], [`quant`], [`stored`] |
//! | 5 | [`layers`], [`onnx`], [`optim`], [`search`] |
//! | 6 | [`models`], [`profile`] |
//! | 7 | [`ptq`], [`train`] |
//! | 8 | [`engine`], [`export`], [`report`], [`reproduce`] |
//! | 9 | [`cli`] |

pub mod atomic;
pub mod checkpoint;
pub mod cli;
pub mod cost;
pub mod data;

pub mod engine;
pub mod error;
pub mod export;
pub mod formats;
pub mod genome;
pub mod interrupt;
pub mod layers;
pub mod models;
pub mod network;
pub mod onnx;
pub mod optim;
pub mod pareto;
pub mod profile;
pub mod progress;
pub mod ptq;
pub mod quant;

pub mod report;
pub mod reproduce;
pub mod ron_text;
pub mod search;
pub mod seed;
pub mod space;
pub mod stats;
pub mod stored;
pub mod train;
