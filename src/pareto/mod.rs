//! Pareto dominance and what follows from it: sorting into fronts, crowding, hypervolume, the front of a search.
//!
//! Every objective is minimised; a quality that grows (top-1) enters negated or as its distance to 100.
//!
//! Reference: Deb, Pratap, Agarwal, Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II",
//! IEEE Transactions on Evolutionary Computation 6(2), 2002.

mod crowding;
mod dominance;
mod front;
mod hypervolume;
mod sort;

pub use crowding::crowding;
pub use dominance::{Scored, dominates};
pub use front::{TOP1_REFERENCE, front, front_hypervolume, knee};
pub use hypervolume::hypervolume;
pub use sort::fronts;
