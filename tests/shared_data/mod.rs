//! Tests on real data that may not go into the repository: they read `../shared/data` beside it, or the folder that
//! BITFRONT_DATA names. Where it is absent they are skipped, saying so; with BITFRONT_REQUIRE_DATA=1 that is a failure.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

mod checkpoint;
mod cifar10;
mod evaluation;
mod latency;
mod network;
mod ptq;
mod search;
mod spaceevo;

static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// The file or folder `path` of the shared data, or `None` after a line that says the test is skipped.
fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("BITFRONT_DATA")
        .map_or_else(|| Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data")).to_path_buf(), PathBuf::from);
    let found = root.join(path);
    if found.exists() {
        return Some(found);
    }
    let required = std::env::var("BITFRONT_REQUIRE_DATA").is_ok_and(|value| value == "1");
    assert!(!required, "BITFRONT_REQUIRE_DATA=1, but there is no {}", found.display());
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    // Straight to stderr: what a passing test prints by macro stays hidden.
    let line = format!("skipped: no {} ({count} skipped so far)\n", found.display());
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    None
}
