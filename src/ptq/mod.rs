//! Post-training quantization: a trained network, some images, no training run.
//!
//! [`Calibrated`] quantizes a float network into any formats; [`reconstruct`] refines what comes out, block by block.

mod adam;
mod calibrated;
mod clip;
mod correct;
mod decouple;
mod equalise;
mod finetune;
mod group;
mod joint;
mod lorc;
mod metric;
mod preshift;
mod quadratic;
mod reconstruct;
mod rounding;
mod rows;
mod scale_mode;
mod sensitivity;
mod trainable;

pub use calibrated::{Calibrated, Clips, in_float};
pub use clip::ClipRule;
pub use correct::{Correction, corrected};
pub use decouple::{decoupled, decouples};
pub use equalise::equalised;
pub use finetune::{Finetuning, finetune};
pub use joint::{Chosen, Joint, joint, joint_steps};
pub use lorc::{correctable, with_corrections};
pub use metric::Metric;
pub use preshift::{Shifted, preshifted};
pub use reconstruct::{Refinement, reconstruct};
pub use rounding::{Rounding, SoftWeight};
pub use scale_mode::ScaleMode;
pub use sensitivity::{Distance, Prober};
