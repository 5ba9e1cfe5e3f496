//! A one-shot search that measures its switching error at the end of every epoch, into `state/switching.csv`.

use std::path::PathBuf;

use tch::Tensor;

use super::RunDirectory;
use super::history::csv_text;
use crate::atomic::write_atomically;
use crate::error::{Error, Result};
use crate::genome::Genome;
use crate::models::Weights;
use crate::search::Policy;
use crate::seed::Seed;
use crate::space::Space;
use crate::train::OneShot;
use crate::train::Regime;
use crate::train::StepReport;
use crate::train::Switching;
use crate::train::Trainer;
use crate::train::switching_error;

/// Pairs of networks that are drawn from each distribution.
const PAIRS: usize = 4;
/// Most images that they run on.
const IMAGES: i64 = 64;

/// What is measured, where it goes, and from which stream the pairs are drawn.
pub(super) struct Watch<'a> {
    /// The space of the search.
    pub(super) space: &'a Space,
    /// The fixed images, `[n, c, h, w]`.
    pub(super) images: Tensor,
    /// Steps an epoch.
    pub(super) steps: usize,
    /// Number of the training in its run.
    pub(super) id: usize,
    /// The file.
    pub(super) path: PathBuf,
    /// Stream of the pairs.
    pub(super) seed: Seed,
}

/// The regime of a search, watched.
pub(super) struct Watched<'a, 'b> {
    /// The search.
    pub(super) search: &'a mut OneShot<'b>,
    /// What is measured.
    pub(super) watch: Watch<'a>,
}

impl Regime for Watched<'_, '_> {
    fn step(&mut self, trainer: &mut Trainer, x: &Tensor, y: &Tensor) -> Result<StepReport> {
        let report = self.search.step(trainer, x, y)?;
        if trainer.step.is_multiple_of(self.watch.steps) {
            self.watch.record(trainer.step / self.watch.steps, self.search.policy(), &trainer.weights)?;
        }
        Ok(report)
    }

    fn state(&self) -> String {
        self.search.state()
    }

    fn remark(&self) -> String {
        self.search.remark()
    }
}

impl Watch<'_> {
    /// Adds the row of an epoch; one that a killed run wrote for it or for a later epoch is replaced.
    fn record(&self, epoch: usize, policy: &Policy, weights: &Weights) -> Result<()> {
        let mut rows = read(&self.path)?;
        rows.retain(|row| row.id != self.id || row.epoch < epoch);
        rows.push(self.measured(epoch, policy, weights)?);
        let text = csv_text(&rows, true)?;
        write_atomically(&self.path, |out| std::io::Write::write_all(out, text.as_bytes()))
    }

    fn measured(&self, epoch: usize, policy: &Policy, weights: &Weights) -> Result<Switching> {
        let even = Policy::new(&self.space.genome_choices()?, 0.0);
        let x = self.images.narrow(0, 0, self.images.size()[0].min(IMAGES));
        let error = |name: &str, policy: &Policy| {
            let mut rng = self.seed.child(name).at(epoch as u64).rng();
            let pairs: Vec<(Genome, Genome)> =
                (0..PAIRS).map(|_| (policy.sample(&mut rng), policy.sample(&mut rng))).collect();
            switching_error(self.space, weights, &x, &pairs)
        };
        Ok(Switching {
            id: self.id,
            epoch,
            mean_entropy: policy.mean_entropy(),
            policy_pairs: error("policy", policy),
            even_pairs: error("even", &even),
        })
    }
}

/// Where a run keeps its switching errors.
pub(super) fn file(folder: &RunDirectory) -> PathBuf {
    folder.state().join("switching.csv")
}

fn read(path: &std::path::Path) -> Result<Vec<Switching>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let bad = |error: csv::Error| Error::bad_file(path, error.to_string());
    csv::Reader::from_path(path).map_err(bad)?.deserialize().collect::<csv::Result<_>>().map_err(bad)
}

/// The switching errors that a run measured; none where it did not measure.
///
/// # Errors
/// The file cannot be read or holds something else.
pub fn read_switching(folder: &RunDirectory) -> Result<Vec<Switching>> {
    read(&file(folder))
}
