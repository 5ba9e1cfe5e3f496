//! Post-training quantization: a trained network, some images, no training run.
//!
//! [`Calibrated`] quantizes a float network into any formats; [`reconstruct`] refines what comes out, block by block.

mod analytic;
mod calibrated;
mod clip;
mod correct;
mod curvature;
mod decouple;
mod descent;
mod equalise;
mod finetune;
mod group;
mod joint;
mod lorc;
mod metric;
mod output_noise;
mod preshift;
mod quadratic;
mod reasons;
mod reconstruct;
mod rounding;
mod rows;
mod scale_mode;
mod sensitivity;
mod student;
mod trainable;

pub use analytic::{analytic_noise, carrier};
pub use calibrated::{Calibrated, Clips};
pub use clip::ClipRule;
pub use correct::{Correction, corrected};
pub use curvature::{drawn_labels, fisher_traces};
pub use decouple::{decoupled, decouples};
pub use equalise::equalised;
pub use finetune::{Finetuning, finetune};
pub use joint::{Chosen, Joint, joint, joint_steps};
pub use lorc::{correctable, with_corrections};
pub use metric::Metric;
pub use output_noise::{OutputNoise, output_noise};
pub use preshift::{Shifted, preshifted};
pub use reasons::{Measured, Noise, Reason, ToInt8};
pub use reconstruct::{Refinement, reconstruct};
pub use rounding::{Rounding, SoftWeight};
pub use scale_mode::ScaleMode;
pub use sensitivity::{Distance, Prober};
pub use student::trains_codes;
