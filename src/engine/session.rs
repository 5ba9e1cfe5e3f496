//! What every verb that runs networks needs from its surroundings: device, threads, progress, a way to stop.

use std::time::Instant;

use tch::{Cuda, Device};

use crate::error::{Error, Result};
use crate::interrupt;
use crate::progress;

/// Surroundings of a running verb.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// Where tensors live.
    pub device: Device,
    /// No progress on stderr.
    pub quiet: bool,
    /// When the verb began.
    pub started: Instant,
    /// Seconds from `started` after which training and search stop.
    pub time_budget_s: Option<f64>,
}

impl Session {
    /// Whether the user or the clock wants the work to stop.
    pub fn should_stop(&self) -> bool {
        interrupt::requested() || self.time_budget_s.is_some_and(|budget| self.started.elapsed().as_secs_f64() > budget)
    }

    /// An error when the user asked to stop; `how` says how to go on.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn check_interrupt(&self, how: &str) -> Result<()> {
        if interrupt::requested() { Err(Error::Interrupted(format!(": {how}"))) } else { Ok(()) }
    }

    /// A line on stderr, unless quiet.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            progress::say(line);
        }
    }
}

/// The device of `--device`.
///
/// # Errors
/// An unknown name, or a CUDA device that this libtorch does not have.
pub fn device(name: &str) -> Result<Device> {
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let wanted = "cpu, or cuda:N with a libtorch built for CUDA";
    let number = name.strip_prefix("cuda:").or((name == "cuda").then_some("0"));
    let index: usize =
        number.and_then(|number| number.parse().ok()).ok_or_else(|| Error::bad_value("--device", name, wanted))?;
    let present = usize::try_from(Cuda::device_count()).unwrap_or(0);
    if index < present {
        Ok(Device::Cuda(index))
    } else {
        Err(Error::bad_value(
            "--device",
            name,
            format!("this libtorch sees {present} CUDA devices; `bitfront doctor` says more"),
        ))
    }
}

/// Gives libtorch and our own kernels the same number of threads; they never work at the same time.
///
/// # Errors
/// The thread pool of the kernels cannot be made.
pub fn set_threads(threads: usize) -> Result<()> {
    tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
    // A second call in one process (tests) finds the pool made already; that one then stays.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    Ok(())
}
