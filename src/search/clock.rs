//! Time as the loop sees it, so that a test can bring its own.

use std::time::Duration;
use std::time::Instant;

/// Tells how long a run has been going.
pub trait Clock {
    /// Time since the run began.
    fn elapsed(&self) -> Duration;
}

/// The system's steady clock, from a chosen start.
#[derive(Clone, Copy, Debug)]
pub struct WallClock(pub Instant);

impl WallClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for WallClock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
