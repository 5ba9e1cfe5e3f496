//! Independent jobs on several threads at once, libtorch on one thread in each.
//!
//! A network of this size keeps one core busier than it keeps two (scoring: 1.2 to 1.3 times the networks a second), and
//! what one thread computes does not depend on how many there are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use tch::Device;

use crate::error::{Error, Result};

/// Runs `work` on every job and hands the results to `keep` in the order of the jobs, each as soon as those before it are
/// there. `worker` makes what a thread works with. Where `go_on` says no, no further job starts; those begun are kept.
///
/// # Errors
/// The first that `keep` returns; threads that cannot be made.
pub fn in_order<J: Sync, W: Send, R: Send>(
    threads: usize,
    jobs: &[J],
    worker: impl Fn() -> W,
    work: impl Fn(&W, &J) -> R + Sync,
    go_on: &(dyn Fn() -> bool + Sync),
    mut keep: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (results, arrived) = mpsc::channel();
        for _ in 0..threads.min(jobs.len()) {
            let pool = single_thread()?;
            let (worker, results, work, next) = (worker(), results.clone(), &work, &next);
            let all = move || {
                while go_on()
                    && let Some((index, job)) = taken(next, jobs)
                    && results.send((index, work(&worker, job))).is_ok()
                {}
            };
            scope.spawn(move || pool.install(all));
        }
        drop(results);
        let (mut early, mut due) = (BTreeMap::new(), 0);
        for (index, result) in arrived {
            early.insert(index, result);
            while let Some(result) = early.remove(&due) {
                keep(result)?;
                due += 1;
            }
        }
        Ok(())
    })
}

/// Runs `work` as a worker would, so that it computes the same bits.
///
/// # Errors
/// The thread cannot be made.
pub(super) fn on_one_thread<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R> {
    Ok(single_thread()?.install(work))
}

/// Candidates scored at the same time: one a thread, on another device one.
pub(super) fn scoring_threads(threads: usize, device: Device) -> usize {
    if device == Device::Cpu { threads } else { 1 }
}

/// The next job that nobody has taken.
fn taken<'a, J>(next: &AtomicUsize, jobs: &'a [J]) -> Option<(usize, &'a J)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    Some((index, jobs.get(index)?))
}

/// A pool of one thread, in which our kernels and libtorch stay on that thread.
fn single_thread() -> Result<rayon::ThreadPool> {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(1).start_handler(|_| tch::set_num_threads(1));
    builder.build().map_err(|error| Error::Failed(format!("no further thread: {error}")))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;

    /// Jobs that take the longer the earlier they come.
    fn slowest_first(job: u64) -> u64 {
        thread::sleep(Duration::from_millis(20 - 2 * job));
        job
    }

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let jobs: Vec<u64> = (0..10).collect();
        for threads in [1, 3, 20] {
            let mut kept = Vec::new();
            let keep = |job| {
                kept.push(job);
                Ok(())
            };
            in_order(threads, &jobs, || (), |(), &job| slowest_first(job), &|| true, keep).unwrap();
            assert_eq!(kept, jobs, "{threads} threads");
        }
    }

    #[test]
    fn after_a_stop_the_jobs_begun_are_kept_without_a_gap() {
        let jobs: Vec<u64> = (0..10).collect();
        let stopped = AtomicBool::new(false);
        let mut kept = Vec::new();
        let work = |(): &(), &job: &u64| {
            if job == 3 {
                stopped.store(true, Ordering::SeqCst);
            }
            slowest_first(job)
        };
        let keep = |job| {
            kept.push(job);
            Ok(())
        };
        in_order(2, &jobs, || (), work, &|| !stopped.load(Ordering::SeqCst), keep).unwrap();
        assert!(kept.len() < 6, "{kept:?}");
        assert_eq!(kept, jobs[..kept.len()]);
    }

    #[test]
    fn an_error_of_the_keeper_ends_the_work() {
        let jobs: Vec<u64> = (0..10).collect();
        let fails = |job| if job == 2 { Err(Error::Failed("the disk is full".into())) } else { Ok(()) };
        let error = in_order(2, &jobs, || (), |(), &job| slowest_first(job), &|| true, fails).unwrap_err();
        assert!(error.to_string().contains("disk"), "{error}");
    }

    #[test]
    fn libtorch_and_our_kernels_have_one_thread_in_a_worker() {
        let threads = |(): &(), _: &()| (tch::get_num_threads(), rayon::current_num_threads());
        in_order(
            2,
            &[(), ()],
            || (),
            threads,
            &|| true,
            |seen| {
                assert_eq!(seen, (1, 1));
                Ok(())
            },
        )
        .unwrap();
    }
}
