//! The search loop and the algorithms that propose genomes to it. Knows no tensors and no search space.
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
mod random;
mod record;
mod reward;
mod run;
mod schedule;
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
pub use random::RandomSearch;
pub use record::{Evaluator, Journal, Outcome, Record, front};
pub use reward::{Goal, Reward};
pub use run::{Finished, Run, run};
pub use schedule::{EntropySchedule, EntropyShape};
pub use stop::StopReason;
pub use table::{Table, TableEvaluator, load_table};
