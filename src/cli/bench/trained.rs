//! One network trained for a benchmark, in a folder that later benchmarks read.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Common;
use crate::engine::{RunDirectory, TrainSettings, train_single};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::train::SavedBytes;

/// One finished training, as its folder keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Trained {
    /// In percent.
    pub(super) test_top1: f64,
    /// In percent.
    pub(super) validation_top1: f64,
    /// What a step in INT8 blocks kept for its backward pass.
    pub(super) saved: Option<SavedBytes>,
    /// Time of the training.
    pub(super) wall_s: f64,
}

/// Trains in `runs/bench-train-<name>-seed<N>`, or reads what a finished training left there.
///
/// # Errors
/// Whatever the training fails with.
pub(super) fn trained_or_read(
    name: &str,
    settings: &TrainSettings,
    network: &Network,
    common: &Common,
) -> Result<(Trained, RunDirectory)> {
    let name = format!("bench-train-{name}");
    let path = PathBuf::from("runs").join(format!("{name}-seed{}", settings.seed));
    let threads = common.thread_count()?;
    let config = format!("{settings:#?}\nthreads: {threads}\nnetwork: {network:?}\n");
    let (result, same) =
        (path.join("state").join("result.json"), read(&path.join("run.ron")).as_deref() == Some(&config));
    if let (true, Some(text)) = (same, read(&result)) {
        let trained = serde_json::from_str(&text).map_err(|error| Error::bad_file(&result, error.to_string()))?;
        return Ok((trained, RunDirectory::open(&path)?));
    }
    let session = common.session(threads, None)?;
    let folder = match same {
        true => RunDirectory::open(&path)?,
        false => RunDirectory::create(Some(&path), &name, true)?,
    };
    folder.write(&folder.config(), &config)?;
    session.say(&format!("run: {}", folder.folder().display()));
    let found = train_single(settings, network, None, &folder, &session)?;
    let trained = Trained {
        test_top1: found.top1,
        validation_top1: found.validation_top1,
        saved: found.saved_bytes,
        wall_s: session.started.elapsed().as_secs_f64(),
    };
    let text = serde_json::to_string(&trained).map_err(|error| Error::Failed(error.to_string()))?;
    folder.write(&result, &text)?;
    Ok((trained, folder))
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}
