//! Post-training quantization: a trained network, some images, no training run.
//!
//! [`Calibrated`] quantizes a float network into any formats; [`reconstruct`] refines what comes out, block by block.

mod adam;
mod analytic;
mod calibrated;
mod clip;
mod curvature;
mod equalise;
mod finetune;
mod output_noise;
mod reasons;
mod reconstruct;
mod rounding;
mod sensitivity;
mod trainable;

pub use analytic::{analytic_noise, carrier};
pub use calibrated::{Calibrated, Clips, in_float};
pub use clip::ClipRule;
pub use curvature::{drawn_labels, fisher_traces};
pub use equalise::equalised;
pub use finetune::{Finetuning, finetune};
pub use output_noise::{OutputNoise, output_noise};
pub use reasons::{Measured, Noise, Reason, ToInt8};
pub use reconstruct::{Refinement, reconstruct};
pub use rounding::{Rounding, SoftWeight};
pub use sensitivity::{Distance, Prober};
