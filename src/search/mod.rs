//! The search loop and the algorithms that propose genomes to it. Knows no tensors, and of
//! search spaces only what neighbours a space of a hyperspace has.
//!
//! The loop ([`run`]) owns budget, stop reason, cache and journal. An [`Algorithm`] only proposes (`ask`) and absorbs
//! (`tell`); an [`Evaluator`] says what a genome is worth. Everything an algorithm does follows from the seed and from
//! the outcomes, so an interrupted run is resumed by replaying its journal ([`Run::recorded`]).

mod algorithm;
mod baseline;
mod bench;
mod clock;
mod evolution;
mod fresh;
mod knapsack;
mod listed;
mod nsga2;
mod policy;
mod policy_gradient;
mod qt_columns;
mod qt_kernel;
mod qt_score;
mod qt_settings;
mod random;
mod record;
mod reward;
mod run;
mod schedule;
mod space_evolution;
mod space_search;
mod stop;
mod table;

pub use algorithm::{Algorithm, Evaluated, Proposal};
pub use baseline::Baseline;
pub use bench::{BenchResult, BenchRow, Measure, regret_bench};
pub use clock::{Clock, WallClock};
pub use evolution::Evolution;
pub use knapsack::{Kind, Knapsack, Limit, Reach, random_problem};
pub use listed::Listed;
pub use nsga2::Nsga2;
pub use policy::Policy;
pub use policy_gradient::{PolicyGradient, PolicySettings};
pub use qt_score::{BudgetScore, QtScore, QtScorer};
pub use qt_settings::QtSettings;
pub use random::RandomSearch;
pub use record::{Evaluator, Journal, Outcome, Record, front};
pub use reward::{Goal, Reward};
pub use run::{Finished, Run, run};
pub use schedule::{EntropySchedule, EntropyShape};
pub use space_evolution::SpaceEvolution;
pub use space_search::{FoundSpaces, SpaceSearch, evolve_spaces};
pub use stop::StopReason;
pub use table::{Table, TableEvaluator, load_table};
