//! Why a search stopped.

use std::fmt;

/// The reason a search stopped, in the order in which the loop looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The budget of evaluations is spent.
    EvaluationsSpent,
    /// The user asked to stop.
    Interrupted,
    /// The deadline has passed.
    TimeUp,
    /// The algorithm has nothing new to propose: every genome it can reach was evaluated.
    SpaceExhausted,
    /// The algorithm kept proposing known genomes for too many generations.
    Stalled,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::EvaluationsSpent => "budget of evaluations spent",
            Self::Interrupted => "interrupted",
            Self::TimeUp => "time is up",
            Self::SpaceExhausted => "every reachable candidate evaluated",
            Self::Stalled => "no new candidate for many generations",
        })
    }
}
