//! Weights that a training starts from: a public checkpoint, or the supernet of a run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Session;
use super::Settings;
use super::supernet;
use crate::checkpoint::Array;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::match_names;
use crate::error::{Error, Result};
use crate::models::Weights;
use crate::models::shared_part;
use crate::network::Network;

/// A file of weights, or what a run trained.
#[derive(Debug)]
pub struct StartingWeights {
    file: Checkpoint,
    path: PathBuf,
    /// Whether they are those of elastic operators, of which a network takes its part.
    shared: bool,
}

impl StartingWeights {
    /// The supernet of the run in the folder `path`, or the weights in the file `path`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let run = Settings::load(&path.join("run.ron"));
        let shared = run.is_ok_and(|settings| settings.space.elastic.is_some() || settings.space.staged.is_some());
        let path = if path.is_dir() { path.join("supernet.safetensors") } else { path.to_owned() };
        Ok(Self { file: crate::checkpoint::read(&path)?, path, shared })
    }

    /// Refuses weights that do not fit. The last of the networks must have all its parameters in the file; those that only
    /// the others have (other kinds of block) and a head for other classes may start at their initial values.
    ///
    /// # Errors
    /// A missing name or another shape.
    pub fn check(&self, networks: &[Network]) -> Result<()> {
        self.fitted(networks).map(|_| ())
    }

    /// Refuses a path inside the folder that a run is about to clear.
    ///
    /// # Errors
    /// The path is in `place`.
    pub fn check_outside(path: &Path, place: &Path) -> Result<()> {
        match (path.canonicalize(), place.canonicalize()) {
            (Ok(file), Ok(folder)) if file.starts_with(&folder) => Err(Error::bad_value(
                "--out",
                place.display(),
                format!("holds {}, from which to start", path.display()),
            )),
            _ => Ok(()),
        }
    }

    /// These weights in the place of `fresh` ones, as far as they go; learned clips only where `clips` says.
    ///
    /// # Errors
    /// As [`StartingWeights::check`].
    pub(super) fn over(
        &self,
        fresh: &Weights,
        networks: &[Network],
        clips: bool,
        session: &Session,
    ) -> Result<Weights> {
        let mut arrays = fresh.to_arrays();
        let fitted = self.fitted(networks)?;
        let missing = arrays.keys().filter(|name| !name.starts_with("range.") && !fitted.contains_key(*name)).count();
        if missing > 0 {
            session.say(&format!(
                "{}: {missing} of {} arrays start at their initial values: a head for other classes, or blocks of other kinds",
                self.path.display(),
                arrays.len()
            ));
        }
        arrays.extend(fitted.into_iter().filter(|(name, _)| clips || !name.starts_with("clip.")));
        supernet::read(networks, &arrays, fresh.device())
    }

    /// The file's arrays in the shapes of the networks, without a head for other classes.
    fn fitted(&self, networks: &[Network]) -> Result<BTreeMap<String, Array>> {
        let mut file = self.file.clone();
        for (at, network) in networks.iter().enumerate() {
            let head = network.layers.last().map(|layer| format!("{}.", layer.name)).unwrap_or_default();
            let mut wanted = network.parameters();
            // A head for other classes is replaced, not cut.
            wanted.retain(|name, shape| match file.arrays.get(name) {
                Some(whole) if name.starts_with(&head) && whole.shape.first() != shape.first() => {
                    file.arrays.remove(name);
                    false
                }
                known => known.is_some() || !(name.starts_with(&head) && self.file.arrays.contains_key(name)),
            });
            for (name, shape) in wanted.iter().filter(|_| self.shared) {
                if let Some(whole) = file.arrays.get_mut(name) {
                    *whole = shared_part(whole, shape);
                }
            }
            match_names(&wanted, &file).check(at + 1 < networks.len(), &self.path)?;
        }
        Ok(file.arrays)
    }
}
