//! Hyperspaces: spaces of search spaces (SpaceEvo, Wang et al., arXiv 2303.08308).
//!
//! A space is a block type and a window of widths for every stage; a network of the space has blocks of those types and widths
//! out of those windows. A [`Hyperspace`] (RON) describes what a space may be, a [`SpaceCode`] is one space.

mod code;
mod file;
mod members;
mod shipped;

pub use code::{SpaceCode, children};
pub use file::{BlockChoice, FirstStage, HeadSizes, Hyperspace, Resolution, StageChoice, Stem};
