//! The RON file that describes a search space.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::error::Result;
use crate::formats::Format;
use crate::formats::Granularity;
use crate::formats::ScaleKind;
use crate::network::ModelName;
use crate::network::ModelSpec;
use crate::network::ShortcutKind;
use crate::ron_text;

use super::Elastic;
use super::{Hyperspace, StagedSpace};

/// The demo space's text, part of the program so that `bitfront search` needs no file.
const DEMO: &str = include_str!("../../search_spaces/resnet8_fashion.ron");

/// Where a layer's activation format (that of its input tensor) comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activations {
    /// The layer's weight format.
    #[default]
    Tied,
    /// A decision of its own among the space's formats.
    Untied,
    /// A decision of its own among these; one format alone is fixed and leaves nothing to decide.
    Among(Vec<Format>),
}

/// How many layers one decision covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grouping {
    /// One.
    #[default]
    Layer,
    /// Those of a block: names that agree in their first two parts (`layer1.0`).
    Block,
    /// Those of a stage: names that agree in their first part (`layer1`).
    Stage,
    /// All.
    Network,
}

/// Whether the first or last layer's formats are searched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ends {
    /// Like every other layer.
    #[default]
    Searched,
    /// Set to this.
    Fixed(Format),
}

/// A search space as its file describes it. Everything but `model` and `formats` has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpaceFile {
    /// The model.
    pub model: ModelName,
    /// Factor on all widths.
    #[serde(default = "published_width")]
    pub width: f64,
    /// Side of the input image in pixels; the model's usual one when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<usize>,
    /// Channels of the input image; 3 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Number of classes; the model's usual one when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// Kind of residual shortcut; the model's usual one when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortcut: Option<ShortcutKind>,
    /// The TensorFlow form of ResNet-18 and -34, with a projection in stage 1 too.
    #[serde(default)]
    pub tf_form: bool,
    /// Blocks of a transformer; 12 when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Operators to choose beside the formats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elastic: Option<Elastic>,
    /// Stages of blocks to choose sizes of, as an evolved space has them; the model is `staged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<StagedSpace>,
    /// Mean of each channel, for pixels in `[0, 1]`; the model's usual one when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// Standard deviation of each channel, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
    /// What `--data` is when the command line does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The formats to choose from.
    pub formats: Vec<Format>,
    /// Where activation formats come from.
    #[serde(default)]
    pub activations: Activations,
    /// How many layers one decision covers.
    #[serde(default)]
    pub decisions: Grouping,
    /// The first layer's formats.
    #[serde(default)]
    pub first: Ends,
    /// The last layer's formats.
    #[serde(default)]
    pub last: Ends,
    /// Layers that read the same tensor (a projection and its block's first convolution) share their decision.
    #[serde(default = "tied")]
    pub ties: bool,
    /// Layers by name pattern and the format both their weights and activations are set to; the last match holds.
    #[serde(default)]
    pub pins: Vec<(String, Format)>,
    /// Formats taken out of every choice.
    #[serde(default)]
    pub forbid: Vec<Format>,
    /// Which weights share a scale.
    #[serde(default = "by_channel")]
    pub weight_granularity: Granularity,
    /// The kind of number a weight scale is.
    #[serde(default)]
    pub weight_scale: ScaleKind,
    /// The kind of number an activation scale is.
    #[serde(default)]
    pub activation_scale: ScaleKind,
}

fn published_width() -> f64 {
    1.0
}

fn tied() -> bool {
    true
}

fn by_channel() -> Granularity {
    Granularity::Channel
}

impl SpaceFile {
    /// The space described by the file at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, or a key, name or value in it is wrong (with line and nearest name).
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file: Self = ron_text::read(path).map_err(|error| {
            let what = "describes a hyperspace, a space of spaces: `bitfront evolve-space` reads it";
            if Hyperspace::load(path).is_ok() { Error::bad_file(path, what) } else { error }
        })?;
        file.check().map_err(|error| Error::bad_file(path, error.to_string()))?;
        Ok(file)
    }

    /// The space `bitfront search` runs without options: ResNet-8 on Fashion-MNIST, INT2 to INT8 and FP4 to FP8.
    ///
    /// # Errors
    /// None in a program whose tests pass: the text is part of it.
    pub fn demo() -> Result<Self> {
        ron_text::parse(DEMO, "search_spaces/resnet8_fashion.ron")
    }

    /// The model with all that the file says of its shapes, operators at the model's own.
    pub fn model_spec(&self) -> ModelSpec {
        ModelSpec {
            model: self.model,
            width: self.width,
            resolution: self.resolution,
            channels: self.channels,
            classes: self.classes,
            shortcut: self.shortcut,
            tf_form: self.tf_form,
            depth: self.depth,
            staged: self.staged.as_ref().map(StagedSpace::largest),
            ..ModelSpec::new(self.model)
        }
    }

    /// The formats the weights may take: the listed ones less the forbidden.
    pub fn weight_choices(&self) -> Vec<Format> {
        self.formats.iter().copied().filter(|format| !self.forbid.contains(format)).collect()
    }

    /// The formats of activations that are a decision of their own, less the forbidden; `None` when tied.
    pub fn activation_choices(&self) -> Option<Vec<Format>> {
        match &self.activations {
            Activations::Tied => None,
            Activations::Untied => Some(self.weight_choices()),
            Activations::Among(list) => {
                Some(list.iter().copied().filter(|format| !self.forbid.contains(format)).collect())
            }
        }
    }

    /// Checks what the types do not: formats are there, signed and listed once; forbidden ones were listed.
    ///
    /// # Errors
    /// The first violation, with its key.
    pub fn check(&self) -> Result<()> {
        let own: &[Format] = if let Activations::Among(list) = &self.activations { list } else { &[] };
        for (key, list) in [("formats", self.formats.as_slice()), ("activations", own), ("forbid", &self.forbid)] {
            for (place, format) in list.iter().enumerate() {
                check_signed(key, *format)?;
                if list[..place].contains(format) {
                    return Err(Error::bad_value(key, format, "listed twice"));
                }
            }
        }
        let fixed = [("first", self.first), ("last", self.last)];
        for (key, end) in fixed {
            if let Ends::Fixed(format) = end {
                check_signed(key, format)?;
            }
        }
        self.elastic.iter().try_for_each(Elastic::check)?;
        if (self.model == ModelName::Staged) != self.staged.is_some() {
            let expected = "the model `staged` needs the part `staged`, and no other model takes it";
            return Err(Error::bad_value("model", self.model, expected));
        }
        self.staged.iter().try_for_each(StagedSpace::check)?;
        self.pins.iter().try_for_each(|(_, format)| check_signed("pins", *format))?;
        let listed = || self.formats.iter().chain(own);
        if let Some(stray) = self.forbid.iter().find(|format| !listed().any(|known| known == *format)) {
            return Err(Error::unknown_name("forbid", stray.name(), listed().map(|format| format.name())));
        }
        if self.weight_choices().is_empty() || self.activation_choices().is_some_and(|list| list.is_empty()) {
            return Err(Error::bad_value("formats", "[]", "at least one format must be left to choose"));
        }
        Ok(())
    }
}

fn check_signed(key: &str, format: Format) -> Result<()> {
    match format {
        Format::Uint(bits) => {
            let hint = format!("write int{bits}: tensors without negative values take the unsigned form by themselves");
            Err(Error::bad_value(key, format, hint))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(rest: &str) -> Result<SpaceFile> {
        let file: SpaceFile = ron_text::parse(&format!("(\n model: \"resnet8\",\n {rest})"), "x.ron")?;
        file.check()?;
        Ok(file)
    }

    #[test]
    fn shipped_spaces_are_sound_and_the_demo_is_one_of_them() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/search_spaces");
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 7, "{files:?}");
        let hyperspaces: Vec<String> = crate::space::Hyperspace::names().map(|name| format!("{name}.ron")).collect();
        for file in files {
            if hyperspaces.iter().any(|name| file.ends_with(name)) {
                let message = SpaceFile::load(file).unwrap_err().to_string();
                assert!(message.contains("bitfront evolve-space"), "{message}");
                continue;
            }
            crate::space::Space::new(SpaceFile::load(file).unwrap()).unwrap();
        }
        assert_eq!(SpaceFile::load(format!("{folder}/resnet8_fashion.ron")).unwrap(), SpaceFile::demo().unwrap());
    }

    #[test]
    fn wrong_keys_and_formats_are_named_with_line_and_nearest() {
        let key = parsed("formts: [\"int4\"],").unwrap_err().to_string();
        assert!(key.contains("x.ron: line 3") && key.contains("did you mean `formats`"), "{key}");
        let format = parsed("formats: [\"int44\"],").unwrap_err().to_string();
        assert!(format.contains("x.ron: line 3") && format.contains("did you mean `int4`"), "{format}");
        let model = ron_text::parse::<SpaceFile>("(model: \"resnt8\")", "x.ron").unwrap_err().to_string();
        assert!(model.contains("did you mean `resnet8`"), "{model}");
    }

    #[test]
    fn lists_that_cannot_be_meant_are_refused() {
        assert!(parsed("formats: [\"int4\", \"int8\"], forbid: [\"int8\"]").is_ok());
        for bad in [
            "formats: []",
            "formats: [\"int4\", \"int4\"]",
            "formats: [\"fp4\", \"e2m1\"]",
            "formats: [\"uint4\"]",
            "formats: [\"int4\"], forbid: [\"int4\"]",
            "formats: [\"int4\"], forbid: [\"int8\"]",
            "formats: [\"int4\"], activations: Among([])",
            "formats: [\"int4\"], first: Fixed(\"uint8\")",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
