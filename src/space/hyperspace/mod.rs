//! Hyperspaces: spaces of search spaces (SpaceEvo, Wang et al., arXiv 2303.08308).
//!
//! A space is a block type and a window of widths for every stage; a network of the space has blocks of those types and widths
//! out of those windows. A [`Hyperspace`] (RON) describes what a space may be, a [`SpaceCode`] is one space.

mod code;
mod file;
mod found;
mod members;
mod shipped;
mod sub_stage;

pub use code::{SpaceCode, children};
pub use file::{BlockChoice, FixedStage, HeadSizes, Hyperspace, Resolution, StageChoice, Stem};
pub use found::StagedSpace;
pub(in crate::space) use found::choose;
pub use sub_stage::SubStage;
