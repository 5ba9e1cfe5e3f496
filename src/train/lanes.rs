//! Jobs of one training step at the same time, each on its share of the threads.

use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

/// Thread pools that share this thread's threads.
#[derive(Debug)]
pub(super) struct Lanes(Vec<ThreadPool>);

impl Lanes {
    /// Lanes for so many jobs, at most one a thread.
    ///
    /// # Errors
    /// Threads that cannot be made.
    pub(super) fn new(jobs: usize) -> Result<Self> {
        let threads = rayon::current_num_threads();
        let lanes = jobs.min(threads);
        let each = threads / lanes.max(1);
        let pool = |_| {
            let libtorch = move |_| tch::set_num_threads(i32::try_from(each).unwrap_or(1));
            let builder = ThreadPoolBuilder::new().num_threads(each).start_handler(libtorch);
            builder.build().map_err(|error| Error::Failed(format!("no further thread: {error}")))
        };
        (0..lanes).map(pool).collect::<Result<_>>().map(Self)
    }

    /// What `work` makes of every job, in their order.
    pub(super) fn run<J: Send, R: Send>(&self, jobs: Vec<J>, work: impl Fn(J) -> R + Sync) -> Vec<R> {
        let work = &work;
        thread::scope(|scope| {
            let all: Vec<_> = jobs
                .into_iter()
                .zip(self.0.iter().cycle())
                .map(|(job, lane)| scope.spawn(move || lane.install(|| work(job))))
                .collect();
            let joined = |one: thread::ScopedJoinHandle<'_, R>| {
                one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            all.into_iter().map(joined).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs_and_threads_are_shared_out() {
        let four = ThreadPoolBuilder::new().num_threads(4).build().unwrap();
        four.install(|| {
            let lanes = Lanes::new(2).unwrap();
            let seen = lanes.run(vec![0, 1, 2], |job| (job, rayon::current_num_threads(), tch::get_num_threads()));
            assert_eq!(seen, [(0, 2, 2), (1, 2, 2), (2, 2, 2)]);
        });
    }
}
