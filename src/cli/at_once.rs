//! Trainings in processes of their own, several at once: small networks train faster side by side, on one thread each, than
//! one after the other on all threads.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::engine::Session;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::progress::Progress;

/// Time between two looks at the processes.
const PAUSE: Duration = Duration::from_millis(200);

/// Time that processes get to save their state at an interrupt.
const GRACE: Duration = Duration::from_secs(60);

/// One command line of bitfront.
pub(super) struct Job {
    /// What it is called in errors.
    pub(super) name: String,
    /// The verb and its options.
    pub(super) arguments: Vec<OsString>,
}

/// A job under way.
struct Running {
    at: usize,
    process: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Of a process that has ended both say so, which is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs the jobs quietly, `side_by_side` at a time, in their order; `finished` is told the place of each that has ended well.
///
/// # Errors
/// A job fails, and is named; what `finished` returns; an interrupt, after the jobs have saved their states.
pub(super) fn run_at_once(
    jobs: &[Job],
    side_by_side: usize,
    (label, session): (&str, &Session),
    finished: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<()> {
    let program = std::env::current_exe().map_err(|error| Error::Failed(format!("cannot find bitfront: {error}")))?;
    let mut waiting = jobs.iter().enumerate().peekable();
    let progress = Progress::new(label, jobs.len() as u64, session.quiet);
    let mut running: Vec<Running> = Vec::new();
    while waiting.peek().is_some() || !running.is_empty() {
        if interrupt::requested() {
            let began = Instant::now();
            while began.elapsed() < GRACE && !running.is_empty() {
                running.retain_mut(|own| matches!(own.process.try_wait(), Ok(None)));
                sleep(PAUSE);
            }
            return session.check_interrupt("the same command goes on");
        }
        while running.len() < side_by_side.max(1) {
            let Some((at, job)) = waiting.next() else { break };
            running.push(Running { at, process: started(&program, job)? });
        }
        sleep(PAUSE);
        let mut place = 0;
        while place < running.len() {
            let own = &mut running[place];
            match own.process.try_wait().map_err(|error| Error::Failed(error.to_string()))? {
                Some(status) if status.success() => {
                    finished(own.at)?;
                    running.swap_remove(place);
                    progress.step(1);
                }
                Some(status) if !interrupt::requested() => {
                    let name = &jobs[own.at].name;
                    return Err(Error::Failed(format!("{name} ended with {status}; its reason is above")));
                }
                _ => place += 1,
            }
        }
    }
    progress.finish();
    Ok(())
}

fn started(program: &Path, job: &Job) -> Result<Child> {
    let mut command = Command::new(program);
    command.args(&job.arguments).arg("--quiet").stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().map_err(|error| Error::Failed(format!("cannot start {}: {error}", program.display())))
}
