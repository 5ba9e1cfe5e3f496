//! Searches in processes of their own, several at once: small networks train faster side by side, on one thread each, than one
//! after the other on all threads.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::engine::{RunDirectory, Session};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::progress::Progress;

/// Time between two looks at the processes.
const PAUSE: Duration = Duration::from_millis(200);

/// Time that processes get to save their state at an interrupt.
const GRACE: Duration = Duration::from_secs(60);

/// A search under way.
struct Running<'a> {
    folder: &'a RunDirectory,
    process: Child,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Of a process that has ended both say so, which is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Finishes the runs of these folders, `jobs` at a time.
///
/// # Errors
/// A search fails, and is named; an interrupt, after the searches have saved their states.
pub(super) fn finish_at_once(folders: &[RunDirectory], jobs: usize, session: &Session) -> Result<()> {
    let program = std::env::current_exe().map_err(|error| Error::Failed(format!("cannot find bitfront: {error}")))?;
    let mut waiting = folders.iter().filter(|folder| !folder.pareto().exists()).peekable();
    let progress = Progress::new("searches", waiting.clone().count() as u64, session.quiet);
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
        while running.len() < jobs.max(1) {
            let Some(folder) = waiting.next() else { break };
            running.push(Running { folder, process: started(&program, folder)? });
        }
        sleep(PAUSE);
        let mut at = 0;
        while at < running.len() {
            let status = running[at].process.try_wait().map_err(|error| Error::Failed(error.to_string()))?;
            match status {
                None => at += 1,
                Some(status) if status.success() => {
                    running.swap_remove(at);
                    progress.step(1);
                }
                Some(_) if interrupt::requested() => at += 1,
                Some(status) => {
                    let place = running[at].folder.folder().display();
                    return Err(Error::Failed(format!(
                        "the search in {place} ended with {status}; its reason is above"
                    )));
                }
            }
        }
    }
    progress.finish();
    Ok(())
}

fn started(program: &Path, folder: &RunDirectory) -> Result<Child> {
    let mut command = Command::new(program);
    command.arg("resume").arg(folder.folder()).arg("--quiet").stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().map_err(|error| Error::Failed(format!("cannot start {}: {error}", program.display())))
}
