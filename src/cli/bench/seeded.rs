//! What `bench refine` and `bench options` begin with, for each seed: a trained network, its images, what it says in float.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::{Kind, Tensor};

use super::Common;
use crate::cli::common::{print, result_file, write_result};
use crate::cli::network_choice::NetworkChoice;
use crate::cli::point::Point;
use crate::cli::ready::weights_of;
use crate::cli::refinement::{Refined, RefinementArgs, images};
use crate::engine::{RunImages, Session};
use crate::error::{Error, Result};
use crate::models::{Folded, Weights};
use crate::network::Network;
use crate::ptq::{Calibrated, Clips};

/// A trained network and its images, over seeds.
#[derive(Args, Debug)]
pub struct SeededArgs {
    /// Which network.
    #[command(flatten)]
    pub network: NetworkChoice,
    /// Trained weights in float: safetensors, or a torch file of either kind
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// Training images to calibrate and refine on; their labels are not read
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub calibration: usize,
    /// Number of seeds, counted from --seed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Also write the table to this Markdown file
    #[arg(long, value_name = "FILE", value_parser = result_file)]
    pub write: Option<PathBuf>,
}

impl SeededArgs {
    /// Does `work` with every seed, says before how many refinements that is, and prints the table that `markdown` makes of
    /// all rows, or the rows as JSON.
    ///
    /// # Errors
    /// A file that cannot be read or written or does not fit; whatever `work` fails with.
    pub(super) fn each<R: Serialize>(
        &self,
        refinements: usize,
        common: &Common,
        work: impl Fn(&Seeded) -> Result<Vec<R>>,
        markdown: impl Fn(&[R]) -> String,
    ) -> Result<()> {
        if self.network.format.is_some() {
            return Err(Error::bad_value("--format", "given", "has no effect here: --points lists the formats"));
        }
        let threads = common.thread_count()?;
        let session = common.session(threads, None)?;
        let network = self.network.network()?;
        let weights = weights_of(&self.weights, false, &network, &session, common)?;
        let seeds = self.seeds.max(1);
        session.say(&format!("cost: {} refinements", refinements as u64 * seeds));
        let mut rows = Vec::new();
        for seed in common.root()..common.root() + seeds {
            let images = images((&self.network.data, self.calibration), &network, seed, session.device)?;
            let calibrated = Calibrated::new(&network, &weights, &images.judging.calibration(), Clips::default());
            let test = Test::new(&images, &network, &calibrated.exact(session.device))?;
            let conditions = self.conditions(seed, threads)?;
            let session = &session;
            rows.extend(work(&Seeded {
                network: &network,
                weights: &weights,
                images,
                test,
                seed,
                conditions,
                session,
            })?);
        }
        let text = markdown(&rows);
        write_result(self.write.as_deref(), &text)?;
        if common.json { print(&serde_json::json!({ "rows": rows }).to_string()) } else { print(&text) }
    }

    /// What a row must have been made with to be taken again: program, data, weights, images, seed, threads.
    fn conditions(&self, seed: u64, threads: usize) -> Result<String> {
        let stamp = |path: &Path| -> Result<String> {
            let of = std::fs::metadata(path).and_then(|file| Ok((file.len(), file.modified()?)));
            of.map(|stamp| format!("{stamp:?}")).map_err(|error| Error::io(path, error))
        };
        let program = std::env::current_exe().map_err(|error| Error::Failed(error.to_string()))?;
        let (program, weights) = (stamp(&program)?, stamp(&self.weights)?);
        Ok(format!("{program} {weights} {} {} seed {seed}, {threads} threads", self.network.data, self.calibration))
    }
}

/// Rows of benchmarks that were interrupted, each with what it was made of.
const KEPT: &str = "runs/bench-refinements.json";

/// One seed's.
pub(super) struct Seeded<'a> {
    network: &'a Network,
    weights: &'a Weights,
    images: RunImages,
    /// The test images.
    pub(super) test: Test,
    /// Which seed.
    pub(super) seed: u64,
    conditions: String,
    session: &'a Session,
}

impl Seeded<'_> {
    /// The network in the formats of a point.
    pub(super) fn in_formats(&self, point: &Point) -> Network {
        let mut network = self.network.clone();
        point.assign(&mut network);
        network
    }

    /// The network in the formats of `network`, refined, with the seconds that it took.
    ///
    /// # Errors
    /// What a refinement fails with.
    pub(super) fn refined(&self, network: &Network, how: &RefinementArgs) -> Result<(Refined, f64)> {
        let began = Instant::now();
        let refined = how.refine((network, self.weights, &self.images), self.seed, self.session)?;
        Ok((refined, began.elapsed().as_secs_f64()))
    }

    /// What `make` gives for something of this name made this way, or gave in an earlier run of the same program under the
    /// same conditions.
    ///
    /// # Errors
    /// What `make` fails with; a file that cannot be written.
    pub(super) fn kept<T: Serialize + DeserializeOwned>(
        &self,
        (name, how): (&str, &str),
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let path = Path::new(KEPT);
        let key = format!("{name} {how}, {}", self.conditions);
        // What cannot be read is made again.
        let read = || -> BTreeMap<String, Value> {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            serde_json::from_str(&text).unwrap_or_default()
        };
        if let Some(row) = read().get(&key).and_then(|row| T::deserialize(row).ok()) {
            self.session.say(&format!("{name}, seed {}: kept in {KEPT}", self.seed));
            return Ok(row);
        }
        let row = make()?;
        // Read again: another benchmark may have written rows meanwhile.
        let mut all = read();
        all.insert(key, serde_json::to_value(&row).map_err(|error| Error::Failed(error.to_string()))?);
        let text = serde_json::to_string_pretty(&all).map_err(|error| Error::Failed(error.to_string()))?;
        std::fs::create_dir_all("runs").map_err(|error| Error::io("runs", error))?;
        write_result(Some(path), &text)?;
        Ok(row)
    }

    /// Tells the user.
    pub(super) fn say(&self, text: &str) {
        self.session.say(text);
    }
}

/// A network on the test images.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Reading {
    /// In percent.
    pub(super) top1: f64,
    /// Signal to noise of the logits, in decibels.
    pub(super) sqnr_db: f64,
}

/// The test images with what the float network says of them.
pub(super) struct Test {
    batches: Vec<(Tensor, Tensor)>,
    exact: Vec<Tensor>,
}

impl Test {
    fn new(images: &RunImages, network: &Network, float: &Folded) -> Result<Self> {
        let loader = images.test(network)?;
        let batches = loader.whole(loader.indices(), None)?;
        let exact = batches.iter().map(|(x, _)| float.logits(x)).collect();
        Ok(Self { batches, exact })
    }

    /// What a network gives on them.
    pub(super) fn read(&self, ready: &Folded) -> Reading {
        let sum = |x: Tensor| x.sum(Kind::Double).double_value(&[]);
        let (mut right, mut count, mut signal, mut noise) = (0.0, 0.0, 0.0, 0.0);
        for ((x, labels), exact) in self.batches.iter().zip(&self.exact) {
            let own = ready.logits(x);
            right += sum(own.argmax(1, false).eq_tensor(labels));
            count += labels.numel() as f64;
            signal += sum(exact.square());
            noise += sum((own - exact).square());
        }
        Reading { top1: 100.0 * right / count, sqnr_db: 10.0 * (signal / noise).log10() }
    }
}
