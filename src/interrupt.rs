//! Ctrl-C: the first one asks the run to save its state and stop, the second one stops it at once.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Exit code of an interrupted run.
const INTERRUPTED: i32 = 130;

/// Whether Ctrl-C was pressed. The crate's one global: a signal belongs to the process, not to a value.
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Starts listening for Ctrl-C; without it Ctrl-C ends the process with nothing saved. Repeating it does nothing.
///
/// # Errors
/// [`Error::Failed`] when the system refuses the handler.
pub fn install() -> Result<()> {
    let pressed = || {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            process::exit(INTERRUPTED);
        }
    };
    match ctrlc::set_handler(pressed) {
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        Err(refused) => Err(Error::Failed(format!("cannot listen for Ctrl-C: {refused}"))),
    }
}

/// Whether the run should save its state and stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}
