//! One network as a file (`front/<id>.ron`, `net.ron`): the model and, layer by layer, its formats.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::error::Result;
use crate::formats::Format;
use crate::formats::Granularity;
use crate::formats::QuantSpec;
use crate::formats::ScaleKind;
use crate::network::LayerSpec;
use crate::network::LowRank;
use crate::network::ModelSpec;
use crate::network::Network;
use crate::network::Op;
use crate::network::Transform;
use crate::network::build;
use crate::ron_text;

/// The version this program writes and reads.
const VERSION: u32 = 1;

/// A network with its formats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkFile {
    /// Version of this layout.
    pub version: u32,
    /// The model and its shapes.
    pub model: ModelSpec,
    /// From a user's image to the network's input.
    pub transform: Transform,
    /// The layers with weights, in execution order.
    pub layers: Vec<LayerFormats>,
    /// What `bitfront export` knows beside the formats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported: Option<Exported>,
}

/// What an exported network says beside its formats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exported {
    /// Program and version that wrote the file.
    pub tool: String,
    /// SHA-256 of the network file without this part, in hexadecimal.
    pub config_hash: String,
    /// Root seed of what made the network ready.
    pub seed: u64,
    /// The packed weights, a file beside this one.
    pub weights: String,
    /// Costs by name, in the units that the names say.
    pub costs: BTreeMap<String, f64>,
    /// Top-1 on the test images, in percent, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_top1: Option<f64>,
    /// Scale of every quantized tensor; `input` is the image's.
    pub activation_scales: BTreeMap<String, f32>,
    /// Scales of every layer's weights, in the order of the elements that share them.
    pub weight_scales: BTreeMap<String, Vec<f32>>,
}

/// The formats of one layer with weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerFormats {
    /// Layer name.
    pub name: String,
    /// The operator in words, for readers and as a check: `conv 3x3/2 16->32`, `linear 64->10`.
    pub operator: String,
    /// Weight format.
    pub weight: Format,
    /// Format of the input tensor, signed; layers that read one tensor must agree.
    pub activation: Format,
    /// Which weights share a scale.
    pub granularity: Granularity,
    /// The kind of number a weight scale is.
    #[serde(default, skip_serializing_if = "is_float32")]
    pub weight_scale: ScaleKind,
    /// The kind of number an activation scale is.
    #[serde(default, skip_serializing_if = "is_float32")]
    pub activation_scale: ScaleKind,
}

fn is_float32(scale: &ScaleKind) -> bool {
    *scale == ScaleKind::Float32
}

impl NetworkFile {
    /// The file of a network that was expanded from `model`.
    pub fn from_network(model: &ModelSpec, network: &Network) -> Self {
        let (weights, activations) = network.assigned();
        let specs = weights.into_iter().zip(activations);
        let layer = |(index, (weight, activation)): (usize, (QuantSpec, QuantSpec))| LayerFormats {
            name: network.layers[index].name.clone(),
            operator: operator(&network.layers[index]),
            weight: weight.format,
            activation: activation.format,
            granularity: weight.granularity,
            weight_scale: weight.scale,
            activation_scale: activation.scale,
        };
        let layers = network.weighted().into_iter().zip(specs).map(layer).collect();
        Self { version: VERSION, model: model.clone(), transform: network.transform.clone(), layers, exported: None }
    }

    /// The file of `network`: this one's with corrections beside some layers.
    #[must_use]
    pub fn with_corrections(self, corrections: Vec<LowRank>, network: &Network) -> Self {
        if corrections.is_empty() {
            return self;
        }
        let mut model = self.model;
        model.low_rank.extend(corrections);
        Self::from_network(&model, network)
    }

    /// The network, expanded anew and given the file's formats.
    ///
    /// # Errors
    /// When the version is another, the layers are not the model's (with the nearest name), or two layers disagree on
    /// the format of a tensor both read.
    pub fn to_network(&self) -> Result<Network> {
        if self.version != VERSION {
            return Err(Error::bad_value("version", self.version, format!("this program reads {VERSION}")));
        }
        let mut network = build(&self.model)?;
        network.transform = self.transform.clone();
        let weighted = network.weighted();
        let names: Vec<&str> = weighted.iter().map(|&index| network.layers[index].name.as_str()).collect();
        let mut found: Vec<Option<&LayerFormats>> = vec![None; names.len()];
        for layer in &self.layers {
            let rank = names.iter().position(|name| *name == layer.name);
            let rank = rank.ok_or_else(|| Error::unknown_name("layer", &layer.name, names.iter().copied()))?;
            let built = operator(&network.layers[weighted[rank]]);
            if layer.operator != built {
                return Err(Error::bad_value(&layer.name, &layer.operator, format!("the model has `{built}` here")));
            }
            if found[rank].replace(layer).is_some() {
                return Err(Error::bad_value("layer", &layer.name, "listed twice"));
            }
        }
        if let Some(rank) = found.iter().position(Option::is_none) {
            return Err(Error::bad_value("layer", names[rank], "missing: every layer with weights needs its formats"));
        }
        let layers: Vec<&LayerFormats> = found.into_iter().flatten().collect();
        let weights: Vec<QuantSpec> = layers.iter().map(|layer| layer.weight_spec()).collect();
        let activations: Vec<QuantSpec> = layers.iter().map(|layer| layer.activation_spec()).collect();
        network.assign(&weights, &activations);
        check_shared(&network, &activations)?;
        Ok(network)
    }

    /// The file at `path`, RON or (by its name) JSON, checked to give a network.
    ///
    /// # Errors
    /// When it cannot be read, and as [`NetworkFile::to_network`] does; the message names the file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file: Self = if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
            serde_json::from_str(&text).map_err(|error| Error::bad_file(path, error.to_string()))?
        } else {
            ron_text::read(path)?
        };
        file.to_network().map_err(|error| Error::bad_file(path, error.to_string()))?;
        Ok(file)
    }

    /// The text to write.
    ///
    /// # Errors
    /// [`Error::Failed`] when a value cannot be expressed in RON.
    pub fn text(&self) -> Result<String> {
        ron_text::text(self)
    }

    /// SHA-256 of the text without what export adds, in hexadecimal: equal for equal networks.
    ///
    /// # Errors
    /// As [`NetworkFile::text`].
    pub fn hash(&self) -> Result<String> {
        let text = Self { exported: None, ..self.clone() }.text()?;
        Ok(Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl LayerFormats {
    fn weight_spec(&self) -> QuantSpec {
        QuantSpec { format: self.weight, granularity: self.granularity, scale: self.weight_scale }
    }

    fn activation_spec(&self) -> QuantSpec {
        QuantSpec { scale: self.activation_scale, ..QuantSpec::per_tensor(self.activation) }
    }
}

/// An error when a layer asked for another format than the tensor it reads got from that tensor's first reader.
fn check_shared(network: &Network, asked: &[QuantSpec]) -> Result<()> {
    let (_, given) = network.assigned();
    for ((index, asked), given) in network.weighted().into_iter().zip(asked).zip(given) {
        let layer = &network.layers[index];
        if *asked != given {
            let first = network.point(layer.inputs[0]).map_or("", |point| &network.layers[point.decided_by].name);
            let hint = format!("activation must be {}: `{first}` reads the same tensor first", given.format);
            return Err(Error::bad_value(&layer.name, asked.format, hint));
        }
    }
    Ok(())
}

/// A layer's operator in words.
fn operator(layer: &LayerSpec) -> String {
    match layer.op {
        Op::Conv(conv) => {
            let step = if conv.stride > 1 { format!("/{}", conv.stride) } else { String::new() };
            let groups = if conv.groups > 1 { format!(" groups {}", conv.groups) } else { String::new() };
            format!("conv {0}x{0}{step} {1}->{2}{groups}", conv.kernel, conv.c_in, conv.c_out)
        }
        Op::Linear { c_in, c_out } => format!("linear {c_in}->{c_out}"),
        Op::Add => "add".to_owned(),
        Op::Gate => "channels times gates".to_owned(),
        Op::MaxPool { .. } => "max pool".to_owned(),
        Op::GlobalAvgPool => "global average pool".to_owned(),
        Op::PadShortcut { .. } => "padded shortcut".to_owned(),
        Op::Embed => "tokens".to_owned(),
        Op::LayerNorm => "layer norm".to_owned(),
        Op::AttentionScores { heads } => format!("attention scores of {heads} heads"),
        Op::AttentionValues { heads } => format!("attention values of {heads} heads"),
        Op::ClassToken => "class token".to_owned(),
        Op::Activate => "activation".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::space::Space;
    use crate::space::SpaceFile;

    fn space() -> Space {
        let text = "(model: \"resnet18\", resolution: 32, classes: 10, formats: [\"int4\", \"fp8\", \"int8\"])";
        Space::new(ron_text::parse::<SpaceFile>(text, "x.ron").unwrap()).unwrap()
    }

    fn file() -> NetworkFile {
        let space = space();
        NetworkFile::from_network(space.model_spec(), &space.network(&vec![1; space.choices().len()]))
    }

    #[test]
    fn a_file_says_what_its_layers_are() {
        let text = file().text().unwrap();
        assert!(text.contains("version: 1") && text.contains("conv 3x3/2 64->128"), "{text}");
        assert!(text.contains("weight: \"float8_e4m3fn\"") && !text.contains("Some("), "{text}");
    }

    #[test]
    fn a_transform_of_ones_own_stays() {
        let mut file = file();
        file.transform.mean = vec![0.5; 3];
        assert_eq!(file.to_network().unwrap().transform.mean, [0.5; 3]);
    }

    #[test]
    fn wrong_files_name_the_layer() {
        let change = |edit: &dyn Fn(&mut NetworkFile)| {
            let mut file = file();
            edit(&mut file);
            file.to_network().unwrap_err().to_string()
        };
        let near = change(&|file| file.layers[1].name = "layer1.0.cnv1".to_owned());
        assert!(near.contains("did you mean `layer1.0.conv1`"), "{near}");
        assert!(change(&|file| file.layers[3].name = "conv1".to_owned()).contains("conv 7x7/2 3->64"));
        assert!(change(&|file| file.layers.push(file.layers[0].clone())).contains("twice"));
        assert!(change(&|file| drop(file.layers.pop())).contains("`fc`: missing"));
        assert!(change(&|file| file.version = 2).contains("version `2`"));
        let shared = change(&|file| {
            let projection = file.layers.iter_mut().find(|layer| layer.name == "layer2.0.downsample.0").unwrap();
            projection.activation = Format::Int(4);
        });
        assert!(shared.contains("layer2.0.downsample.0 `int4`") && shared.contains("`layer2.0.conv1`"), "{shared}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn networks_survive_the_way_through_a_file(genome in proptest::collection::vec(0_u8..3, 18)) {
            let space = space();
            let network = space.network(&genome);
            let text = NetworkFile::from_network(space.model_spec(), &network).text().unwrap();
            let back: NetworkFile = ron_text::parse(&text, "net.ron").unwrap();
            prop_assert_eq!(back.to_network().unwrap(), network);
        }
    }
}
