//! How far a long step is, on stderr: a bar with the time left on a terminal, else a line now and then.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shortest time between two lines of a log.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress of one step of `total` units. Shared by threads.
///
/// Nothing is shown when quiet; plain lines replace the bar when stderr is no terminal or `NO_COLOR` is set.
#[derive(Debug)]
pub struct Progress(Shown);

#[derive(Debug)]
enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines(Mutex<Log>),
}

impl Progress {
    /// Starts a step called `label`; a `total` of 0 means that it is not known.
    pub fn new(label: &str, total: u64, quiet: bool) -> Self {
        let colorless = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if quiet {
            return Self(Shown::Nothing);
        }
        if colorless || !io::stderr().is_terminal() {
            let log = Log::new(label, total);
            say(&log.state(Duration::ZERO));
            return Self(Shown::Lines(Mutex::new(log)));
        }
        let (bar, template) = match total {
            0 => (ProgressBar::no_length(), "{prefix} {spinner} {human_pos}, {elapsed} {msg}"),
            _ => (ProgressBar::new(total), "{prefix} {wide_bar} {human_pos}/{human_len}, {eta} left {msg}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(label.to_string());
        Self(Shown::Bar(bar))
    }

    /// `count` more units are done.
    pub fn step(&self, count: u64) {
        match &self.0 {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.inc(count),
            Shown::Lines(log) => {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                let now = log.started.elapsed();
                if let Some(line) = log.step(count, now) {
                    say(&line);
                }
            }
        }
    }

    /// Shows `text` (a loss, an accuracy) beside the bar, or in the next line.
    pub fn message(&self, text: impl Into<String>) {
        match &self.0 {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.set_message(text.into()),
            Shown::Lines(log) => log.lock().unwrap_or_else(PoisonError::into_inner).message = text.into(),
        }
    }

    /// Ends the step: the bar goes away, a log gets its last line.
    pub fn finish(self) {
        match self.0 {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.finish_and_clear(),
            Shown::Lines(log) => {
                let log = log.into_inner().unwrap_or_else(PoisonError::into_inner);
                say(&log.last(log.started.elapsed()));
            }
        }
    }
}

/// Writes a line on stderr; that it is closed is no reason to fail.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The lines that replace a bar. Times count from the start of the step.
#[derive(Debug)]
struct Log {
    label: String,
    total: u64,
    done: u64,
    message: String,
    started: Instant,
    last_line: Duration,
}

impl Log {
    fn new(label: &str, total: u64) -> Self {
        Self {
            label: label.to_string(),
            total,
            done: 0,
            message: String::new(),
            started: Instant::now(),
            last_line: Duration::ZERO,
        }
    }

    /// Counts `count` units at `now`; the line to write, if one is due.
    fn step(&mut self, count: u64, now: Duration) -> Option<String> {
        self.done = self.done.saturating_add(count);
        if now.saturating_sub(self.last_line) < LINE_EVERY {
            return None;
        }
        self.last_line = now;
        Some(self.state(now))
    }

    fn state(&self, now: Duration) -> String {
        let Self { label, total, done, .. } = self;
        let mut line = match total {
            0 => format!("{label}: {done} done"),
            _ => format!("{label}: {done}/{total}, {:.0} %", 100.0 * *done as f64 / *total as f64),
        };
        if (1..*total).contains(done) {
            let left = now.as_secs_f64() * (total - done) as f64 / *done as f64;
            line += &format!(", {} left", Clock(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX)));
        }
        self.with_message(line)
    }

    fn last(&self, now: Duration) -> String {
        self.with_message(format!("{}: {} done in {}", self.label, self.done, Clock(now)))
    }

    fn with_message(&self, line: String) -> String {
        if self.message.is_empty() { line } else { format!("{line}, {}", self.message) }
    }
}

/// A time span in the two largest units that matter: `8s`, `2m 5s`, `3h 4m`.
struct Clock(Duration);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64().round() as u64;
        match seconds {
            0..60 => write!(f, "{seconds}s"),
            60..3600 => write!(f, "{}m {}s", seconds / 60, seconds % 60),
            _ => write!(f, "{}h {}m", seconds / 3600, seconds % 3600 / 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn line_comes_every_ten_seconds_with_percent_and_time_left() {
        let mut log = Log::new("train", 400);
        assert_eq!(log.state(seconds(0)), "train: 0/400, 0 %");
        assert_eq!(log.step(50, seconds(9)), None);
        // 100 of 400 in 10 s: 300 more take 30 s.
        assert_eq!(log.step(50, seconds(10)).unwrap(), "train: 100/400, 25 %, 30s left");
        log.message = "loss 0.5".to_string();
        assert_eq!(log.step(1, seconds(19)), None);
        assert_eq!(log.step(299, seconds(20)).unwrap(), "train: 400/400, 100 %, loss 0.5");
        assert_eq!(log.last(seconds(21)), "train: 400 done in 21s, loss 0.5");
    }

    #[test]
    fn unknown_total_shows_only_the_count() {
        let mut log = Log::new("search", 0);
        assert_eq!(log.step(7, seconds(30)).unwrap(), "search: 7 done");
    }

    #[test]
    fn times_show_their_two_largest_units() {
        for (count, text) in
            [(0, "0s"), (59, "59s"), (60, "1m 0s"), (3599, "59m 59s"), (3600, "1h 0m"), (90_061, "25h 1m")]
        {
            assert_eq!(Clock(seconds(count)).to_string(), text);
        }
    }

    #[test]
    fn quiet_progress_keeps_no_log() {
        assert!(matches!(Progress::new("export", 3, true).0, Shown::Nothing));
    }
}
