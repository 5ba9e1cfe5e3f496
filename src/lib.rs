//! bitfront finds the best quantized network for a device.
//!
//! It trains one weight-sharing supernet whose layers run in sampled number formats, searches it
//! under hard cost limits and returns a Pareto front of quantized networks.
//!
//! Modules stand on floors; imports only point down (`tests/layering.rs` checks it):
//!
//! | floor | modules |
//! |---|---|
//! | 0 | [`error`], [`stats`], [`seed`] |
//! | 1 | [`formats`], [`pareto`], [`checkpoint`] |
//! | 2 | [`network`] |
//! | 3 | [`space`] |
//! | 4 | [`cost`], [`quant`], [`data`] |
//! | 5 | [`search`], [`layers`] |
//! | 6 | [`models`] |
//! | 7 | [`train`] |
//! | 8 | [`engine`], [`report`] |
//! | 9 | [`cli`] |

pub mod error;
pub mod formats;
pub mod network;
pub mod seed;
pub mod stats;
