//! Options that bring weights to a network and make it ready to run.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Common;
use super::network_choice::NetworkChoice;
use crate::checkpoint;
use crate::data::DataSource;
use crate::engine::Session;
use crate::engine::calibration_images;
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::models::Folded;
use crate::models::Weights;
use crate::network::Network;
use crate::seed::Seed;
use crate::space::NetworkFile;
use crate::train::Evaluation;
use crate::train::prepare;

/// Weights, and how statistics and ranges are found.
#[derive(Args, Clone, Debug)]
pub struct ReadyArgs {
    /// Weights: safetensors, or a torch file of either kind
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Go on when the file lacks parameters; those start at their initial values
    #[arg(long)]
    pub allow_missing: bool,
    /// Training images from which activation ranges are recorded
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub calibration: usize,
    /// Re-estimate batch-norm statistics for this network, as a search does for its candidates
    #[arg(long)]
    pub reestimate: bool,
}

impl ReadyArgs {
    /// The chosen network, ready to run on test images, and the file that describes it: on the weights of `--weights`, else
    /// on those that its own file brings.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit.
    pub fn of(&self, choice: &NetworkChoice, session: &Session, common: &Common) -> Result<(NetworkFile, Folded)> {
        let (described, network) = choice.described()?;
        if self.weights.is_none()
            && let Some(mut stored) = choice.packed()?
        {
            let fixed = "the packed weights are ready as they are; name others with --weights";
            for (option, given) in [
                ("--reestimate", self.reestimate),
                ("--allow-missing", self.allow_missing),
                ("--classes", choice.classes.is_some()),
            ] {
                if given {
                    return Err(Error::bad_value(option, "", fixed));
                }
            }
            stored.network.transform = network.transform;
            return Ok((described, Folded::from_stored(stored, session.device)));
        }
        if choice.config.as_deref().is_some_and(brings_weights) {
            session.say("note: --weights is quantized anew; the packed weights that --config brings are not used");
        }
        let ready = self.ready(&network, &choice.data, session, common)?;
        Ok((described, ready))
    }

    fn ready(&self, network: &Network, data: &DataSource, session: &Session, common: &Common) -> Result<Folded> {
        let path =
            self.weights.as_ref().ok_or_else(|| Error::missing_option("--weights", "name the file of weights"))?;
        let weights = weights_of(path, self.allow_missing, network, session, common)?;
        let images = |augmented| calibration_images(data, network, self.calibration, session.device, augmented);
        let ranges = if is_quantized(network) { images(None)? } else { vec![] };
        let statistics =
            if self.reestimate { images(Some(Seed::new(common.root()).child("statistics")))? } else { vec![] };
        Ok(prepare(network, &weights, Evaluation { statistics: &statistics, ranges: &ranges }))
    }
}

/// The weights in a file; with `allow_missing` those that it lacks at their initial values.
///
/// # Errors
/// The file cannot be read or does not fit the network.
pub fn weights_of(
    path: &Path,
    allow_missing: bool,
    network: &Network,
    session: &Session,
    common: &Common,
) -> Result<Weights> {
    let file = checkpoint::read(path)?;
    if file.metadata.contains_key("arrays_sha256") {
        return Err(Error::bad_file(path, "is a packed network; name it with --config instead of --weights"));
    }
    let report = checkpoint::match_names(&network.parameters(), &file);
    common.detail(&report.to_string());
    report.check(allow_missing, path)?;
    let mut arrays = file.arrays;
    if !report.missing.is_empty() {
        let fresh = Weights::initialised(network, Seed::new(common.root()), session.device).to_arrays();
        arrays.extend(fresh.into_iter().filter(|(name, _)| report.missing.contains(name)));
        session.say(&format!("missing, at their initial values: {}", report.missing.join(", ")));
    }
    Weights::from_arrays(network, &arrays, session.device)
}

/// Whether a network file names packed weights or is them.
fn brings_weights(config: &std::path::Path) -> bool {
    config.extension().is_some_and(|extension| extension == "safetensors")
        || NetworkFile::load(config).is_ok_and(|file| file.exported.is_some())
}

/// Whether any quantizer does something, so that ranges are needed.
fn is_quantized(network: &Network) -> bool {
    let points = network.layers.iter().filter_map(|layer| layer.point.as_ref());
    points.chain([&network.input_point]).any(|point| point.spec.format != Format::Float32)
}
