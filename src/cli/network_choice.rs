//! Options that name one network: a model in one format, or a network file.

use std::path::{Path, PathBuf};

use clap::Args;

use super::point::Point;
use crate::data::DataSource;
use crate::error::{Error, Result};
use crate::export::activation_scales;
use crate::export::weight_scales;
use crate::formats::Format;
use crate::network::ModelName;
use crate::network::ModelSpec;
use crate::network::Network;
use crate::network::build;
use crate::space::NetworkFile;
use crate::stored::StoredNetwork;
use crate::stored::read_packed;

/// Which network.
#[derive(Args, Clone, Debug)]
pub struct NetworkChoice {
    /// Model by name
    #[arg(long, conflicts_with = "config")]
    pub model: Option<ModelName>,
    /// One network: RON as a search writes to front/, or what `export` writes (RON, JSON, packed safetensors)
    #[arg(long, value_name = "FILE", conflicts_with = "format")]
    pub config: Option<PathBuf>,
    /// Format of every layer's weights and activations, first and last included [default: float32]
    #[arg(long)]
    pub format: Option<Format>,
    /// Format of the activations, instead of --format
    #[arg(long, value_name = "FORMAT", requires = "format")]
    pub activations: Option<Format>,
    /// Format of the first and the last layer, instead of --format
    #[arg(long, value_name = "FORMAT", requires = "format")]
    pub ends: Option<Format>,
    /// Images: fashion-mnist-mini, idx:DIR, cifar10:DIR or imagefolder:DIR
    #[arg(long, default_value = "fashion-mnist-mini")]
    pub data: DataSource,
    /// Classes of the last layer, instead of the model's
    #[arg(long, value_name = "N")]
    pub classes: Option<usize>,
    /// Mean of each channel, for pixels in [0, 1], instead of the model's
    #[arg(long, value_delimiter = ',', value_name = "M,...")]
    pub mean: Option<Vec<f32>>,
    /// Standard deviation of each channel, instead of the model's
    #[arg(long, value_delimiter = ',', value_name = "S,...")]
    pub std: Option<Vec<f32>>,
}

/// Whether a file is read as packed weights, by its name.
fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "safetensors")
}

impl NetworkChoice {
    /// The network, its formats set.
    ///
    /// # Errors
    /// A file that cannot be read, a value that does not fit.
    pub fn network(&self) -> Result<Network> {
        self.described().map(|(_, network)| network)
    }

    /// The network with the file that describes it.
    ///
    /// # Errors
    /// As [`NetworkChoice::network`].
    pub fn described(&self) -> Result<(NetworkFile, Network)> {
        let (mut spec, mut network) = match (&self.config, self.model) {
            (Some(path), _) => {
                let file = if is_packed(path) { read_packed(path)?.0 } else { NetworkFile::load(path)? };
                (file.model.clone(), file.to_network()?)
            }
            (None, Some(model)) => (self.model_spec(model), build(&self.model_spec(model))?),
            (None, None) => {
                return Err(Error::bad_value("--model", "", "name a model, or a network file with --config"));
            }
        };
        if let Some(classes) = self.classes {
            if !(2..=1_000_000).contains(&classes) {
                return Err(Error::bad_value("--classes", classes, "must be from 2 to 1000000"));
            }
            network = network.with_classes(classes);
            spec.classes = Some(classes);
        }
        if let Some(format) = self.format {
            let activations = self.activations.unwrap_or(format);
            Point { weights: format, activations, ends: self.ends }.assign(&mut network);
        }
        let channels = network.input.c;
        network.transform.renormalise(self.mean.as_deref(), self.std.as_deref(), channels)?;
        Ok((NetworkFile::from_network(&spec, &network), network))
    }

    /// The arrays that `--config` brings along: a packed file's, or those of the packed file that an exported description
    /// names.
    ///
    /// # Errors
    /// A file that cannot be read, or that holds another network or other scales than its description says.
    pub fn packed(&self) -> Result<Option<StoredNetwork>> {
        let Some(path) = &self.config else { return Ok(None) };
        if is_packed(path) {
            return read_packed(path).map(|(_, stored)| Some(stored));
        }
        let file = NetworkFile::load(path)?;
        let Some(exported) = &file.exported else { return Ok(None) };
        if Path::new(&exported.weights).file_name() != Some(exported.weights.as_ref()) {
            let expected = "must be the name of a file beside the description";
            return Err(Error::bad_file(path, format!("weights {:?} {expected}", exported.weights)));
        }
        let weights = path.with_file_name(&exported.weights);
        if weights.exists() && !weights.is_file() {
            return Err(Error::bad_file(&weights, "is no regular file"));
        }
        let (described, stored) = read_packed(&weights)?;
        if exported.config_hash != file.hash()? {
            return Err(Error::bad_file(path, "was edited: its config_hash is not that of its layers and formats"));
        }
        let plain = NetworkFile { exported: None, ..file.clone() };
        let differ = |what: &str| Error::bad_file(path, format!("{what} other than those in {}", weights.display()));
        if described != plain {
            return Err(differ("has layers or formats"));
        }
        if activation_scales(&stored) != exported.activation_scales || weight_scales(&stored) != exported.weight_scales
        {
            return Err(differ("has scales"));
        }
        Ok(Some(stored))
    }

    /// The embedded images are small and grey; a small model takes their shape.
    fn model_spec(&self, model: ModelName) -> ModelSpec {
        let spec = ModelSpec::new(model);
        let grey = matches!(self.data, DataSource::FashionMnistMini | DataSource::Idx(_));
        if grey && matches!(model, ModelName::SmallResnet { .. }) {
            ModelSpec { resolution: Some(28), channels: Some(1), ..spec }
        } else {
            spec
        }
    }
}
