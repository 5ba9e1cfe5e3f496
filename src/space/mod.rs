//! Search spaces: which layers may take which formats and operators, and the genome that picks one network out of them.
//!
//! A [`SpaceFile`] (RON) describes a space; [`Space`] lists its decisions and turns a genome, one option number a
//! decision, into a [`Network`](crate::network::Network). A [`NetworkFile`] is one network that was picked.

mod decisions;
mod elastic;
mod extremes;
mod file;
mod hyperspace;
mod network_file;
mod operators;
mod overrides;
mod pattern;
mod search_space;

pub use decisions::{Choice, Decision, DecisionKind, Sets};
pub use elastic::{Elastic, Knob};
pub use file::{Activations, Ends, Grouping, SpaceFile};
pub use hyperspace::{
    BlockChoice, FixedStage, HeadSizes, Hyperspace, Resolution, SpaceCode, StageChoice, StagedSpace, Stem, SubStage,
    children,
};
pub use network_file::{Exported, LayerFormats, NetworkFile};
pub use overrides::Overrides;
pub use search_space::Space;
