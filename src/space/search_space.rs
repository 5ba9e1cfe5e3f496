//! A search space over one network, and the way from a genome to the network it stands for.

use std::collections::HashMap;

use crate::error::Error;
use crate::error::Result;
use crate::formats::Format;
use crate::formats::QuantSpec;
use crate::network::ModelSpec;
use crate::network::Network;
use crate::network::Operators;
use crate::network::build;

use super::decisions::{Slot, decisions, slots};
use super::operators::with_every_shortcut;
use super::{Choice, Decision, DecisionKind, Sets, SpaceFile, StagedSpace};

/// The networks that differ from one another only in the formats and operators that a [`SpaceFile`] leaves open.
///
/// A genome holds one option number a decision, operators first: `genome[d] < choices()[d]`.
#[derive(Clone, Debug)]
pub struct Space {
    file: SpaceFile,
    /// The model with the largest operators.
    pub(super) largest: ModelSpec,
    /// That model's network, formats open.
    pub(super) network: Network,
    /// The layers with weights of all its networks, with the fixed formats; open ones are float32.
    pub(super) slots: Vec<Slot>,
    /// Their places by their names.
    pub(super) places: HashMap<String, usize>,
    decisions: Vec<Decision>,
}

impl Space {
    /// Expands the model and lists the decisions.
    ///
    /// # Errors
    /// When the file's values do not fit together, a pin matches no layer, or nothing is left to decide.
    pub fn new(file: SpaceFile) -> Result<Self> {
        file.check()?;
        let model = file.model_spec();
        let elastic = file.elastic.clone().unwrap_or_default();
        let largest = if file.elastic.is_some() { elastic.largest(&model)? } else { vec![Operators::default()] };
        let mut specs: Vec<ModelSpec> =
            largest.into_iter().map(|operators| ModelSpec { operators, ..model.clone() }).collect();
        specs.extend(with_every_shortcut(&model));
        let mut networks = specs.iter().map(build).collect::<Result<Vec<Network>>>()?;
        let slots = slots(&networks);
        let (formats, fixed) = decisions(&file, &slots)?;
        let staged = file.staged.as_ref().map_or_else(Vec::new, StagedSpace::decisions);
        let decisions = [staged, elastic.decisions(&model), formats].concat();
        if decisions.is_empty() {
            return Err(Error::bad_value(
                "formats",
                "all fixed",
                "the space must leave at least one format or operator open",
            ));
        }
        let (largest, mut network) = (specs[0].clone(), networks.swap_remove(0));
        let channels = network.input.c;
        network.transform.renormalise(file.mean.as_deref(), file.std.as_deref(), channels)?;
        let places = slots.iter().enumerate().map(|(place, slot)| (slot.name.clone(), place)).collect();
        let mut space = Self { file, largest, network, slots, places, decisions };
        for (layer, kind, format) in fixed {
            let (weight, activation) = space.quantizers(kind, format);
            let slot = &mut space.slots[layer];
            slot.weight = weight.unwrap_or(slot.weight);
            slot.activation = activation.unwrap_or(slot.activation);
        }
        Ok(space)
    }

    /// The same space with a head for this many classes.
    ///
    /// # Errors
    /// A count out of range.
    pub fn with_classes(&self, classes: usize) -> Result<Self> {
        Self::new(SpaceFile { classes: Some(classes), ..self.file.clone() })
    }

    /// The description this space was made from.
    pub fn file(&self) -> &SpaceFile {
        &self.file
    }

    /// The model with the largest operators.
    pub fn model_spec(&self) -> &ModelSpec {
        &self.largest
    }

    /// The decisions: operators by stage, then formats in execution order of the layers they are about.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Number of options of each decision, each at least 2.
    pub fn choices(&self) -> Vec<u8> {
        self.decisions.iter().map(|decision| decision.choices.len() as u8).collect()
    }

    /// Number of networks, as a power of ten.
    pub fn log10_count(&self) -> f64 {
        self.decisions.iter().map(|decision| (decision.choices.len() as f64).log10()).sum()
    }

    /// Every format some decision offers, in the order they are first listed.
    pub fn formats(&self) -> Vec<Format> {
        let mut all = Vec::new();
        for choice in self.decisions.iter().flat_map(|decision| &decision.choices) {
            if let Choice::Format(format) = *choice
                && !all.contains(&format)
            {
                all.push(format);
            }
        }
        all
    }

    /// Checks a genome that came from outside.
    ///
    /// # Errors
    /// When its length or an option number does not fit this space.
    pub fn check(&self, genome: &[u8]) -> Result<()> {
        let fits = |(gene, decision): (&u8, &Decision)| usize::from(*gene) < decision.choices.len();
        if genome.len() == self.decisions.len() && genome.iter().zip(&self.decisions).all(fits) {
            return Ok(());
        }
        let expected = format!("{} genes, each below {:?}", self.decisions.len(), self.choices());
        Err(Error::bad_value("genome", format!("{genome:?}"), expected))
    }

    /// The network a genome stands for.
    ///
    /// # Panics
    /// When the genome is not of this space ([`Space::check`]).
    pub fn network(&self, genome: &[u8]) -> Network {
        let mut slots: Vec<(QuantSpec, QuantSpec)> =
            self.slots.iter().map(|slot| (slot.weight, slot.activation)).collect();
        for (gene, decision) in self.genes(genome) {
            if let (Sets::Formats { kind, layers }, Choice::Format(format)) = (&decision.sets, decision.choices[gene]) {
                let (weight, activation) = self.quantizers(*kind, format);
                for &layer in layers {
                    let slot = &mut slots[layer];
                    *slot = (weight.unwrap_or(slot.0), activation.unwrap_or(slot.1));
                }
            }
        }
        let mut network = self.of_operators(genome);
        let (weights, activations): (Vec<_>, Vec<_>) = self.present(&network).into_iter().map(|at| slots[at]).unzip();
        network.assign(&weights, &activations);
        network
    }

    /// The genome in which every decision takes `format`, operators the largest; `None` when some decision does not offer
    /// it or there are none about formats. Formats that the space fixes stay as they are.
    pub fn uniform(&self, format: Format) -> Option<Vec<u8>> {
        self.with_format(format, &self.widest().0).map(|genome| self.canonical(&genome))
    }

    /// Likewise with the smallest operators.
    pub fn uniform_smallest(&self, format: Format) -> Option<Vec<u8>> {
        self.with_format(format, &self.narrowest().0).map(|genome| self.canonical(&genome))
    }

    fn with_format(&self, format: Format, operators: &[u8]) -> Option<Vec<u8>> {
        let gene = |(decision, own): (&Decision, &u8)| {
            if decision.is_format() { decision.option_of(format) } else { Some(*own) }
        };
        let genome = self.decisions.iter().zip(operators).map(gene).collect::<Option<Vec<u8>>>();
        genome.filter(|_| self.decisions.iter().any(Decision::is_format))
    }

    /// A genome in words: `conv1=int8 layer1.0.conv1=int4 ...`.
    ///
    /// # Panics
    /// When the genome is not of this space ([`Space::check`]).
    pub fn describe(&self, genome: &[u8]) -> String {
        let words = self.genes(genome).map(|(gene, decision)| format!("{}={}", decision.name, decision.choices[gene]));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Each gene with its decision.
    pub(super) fn genes<'a>(&'a self, genome: &'a [u8]) -> impl Iterator<Item = (usize, &'a Decision)> {
        assert_eq!(genome.len(), self.decisions.len(), "one gene a decision");
        genome.iter().map(|&gene| usize::from(gene)).zip(&self.decisions)
    }

    /// The quantizers of weights and activations that `kind` sets.
    fn quantizers(&self, kind: DecisionKind, format: Format) -> (Option<QuantSpec>, Option<QuantSpec>) {
        let (granularity, scale) = (self.file.weight_granularity, self.file.weight_scale);
        let weight = QuantSpec { format, granularity, scale };
        let activation = QuantSpec { scale: self.file.activation_scale, ..QuantSpec::per_tensor(format) };
        let weight = (kind != DecisionKind::Activation).then_some(weight);
        (weight, (kind != DecisionKind::Weight).then_some(activation))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ron_text;

    fn space(rest: &str) -> Space {
        let text = format!("(model: \"resnet8\", shortcut: B, {rest})");
        Space::new(ron_text::parse(&text, "x.ron").unwrap()).unwrap()
    }

    fn names(space: &Space) -> Vec<&str> {
        space.decisions().iter().map(|decision| decision.name.as_str()).collect()
    }

    fn weight(network: &Network, name: &str) -> Format {
        network.layers.iter().find(|layer| layer.name == name).unwrap().weight.unwrap().format
    }

    #[test]
    fn ties_join_a_projection_to_its_blocks_first_convolution() {
        let tied = space("formats: [\"int4\", \"int8\"]");
        // stem, two convolutions in each of three blocks, the last layer
        assert_eq!(tied.choices(), [2; 8]);
        let joined = tied.decisions().iter().find(|decision| decision.name == "layer2.0.conv1").unwrap();
        assert!(matches!(&joined.sets, Sets::Formats { layers, .. } if layers.len() == 2));
        let free = space("formats: [\"int4\", \"int8\"], ties: false");
        assert_eq!(free.choices().len(), 10);
        // The projection reads what conv1 decides, so its own decision is about weights alone.
        let own = free.decisions().iter().find(|decision| decision.name == "layer2.0.downsample.0").unwrap();
        assert!(matches!(own.sets, Sets::Formats { kind: DecisionKind::Weight, .. }));
    }

    #[test]
    fn a_projection_beside_a_pinned_convolution_keeps_its_own_name() {
        let pinned = space("formats: [\"int4\", \"int8\"], pins: [(\"layer2.0.conv1\", \"int8\")]");
        assert!(names(&pinned).contains(&"layer2.0.downsample.0") && !names(&pinned).contains(&"layer2.0.conv1"));
    }

    #[test]
    fn groupings_cover_blocks_stages_and_the_whole() {
        let formats = "formats: [\"int4\", \"int8\"]";
        let by_block = ["conv1", "layer1.0", "layer2.0", "layer3.0", "linear"];
        assert_eq!(names(&space(&format!("{formats}, decisions: Block"))), by_block);
        assert_eq!(names(&space(&format!("{formats}, decisions: Network"))), ["network"]);
        let ends = space(&format!("{formats}, decisions: Stage, first: Fixed(\"int8\"), last: Fixed(\"fp8\")"));
        assert_eq!(names(&ends), ["layer1", "layer2", "layer3"]);
        let network = ends.network(&[0, 0, 0]);
        assert_eq!((weight(&network, "conv1"), network.input_point.spec.format), (Format::Int(8), Format::Int(8)));
        assert_eq!(weight(&network, "linear").name(), "float8_e4m3fn");
        assert_eq!(weight(&network, "layer3.0.downsample.0"), Format::Int(4));
    }

    #[test]
    fn untied_activations_are_decisions_or_fixed() {
        let untied = space("formats: [\"int4\", \"int8\"], activations: Untied");
        assert_eq!(untied.choices().len(), 16);
        assert_eq!(names(&untied)[..2], ["conv1.weight", "conv1.activation"]);
        let fixed = space("formats: [\"int2\", \"int4\"], activations: Among([\"int8\"])");
        assert_eq!(fixed.choices().len(), 8);
        let network = fixed.network(&[0; 8]);
        assert_eq!(network.input_point.spec.format, Format::Int(8));
        assert_eq!(network.layers[0].point.as_ref().unwrap().spec.format, Format::Uint(8));
        assert_eq!(fixed.uniform(Format::Int(4)), Some(vec![1; 8]));
        assert_eq!(fixed.uniform(Format::Int(8)), None);
    }

    #[test]
    fn the_last_matching_pin_holds_and_a_stray_pattern_is_an_error() {
        let pins = "pins: [(\"layer*\", \"int8\"), (\"*.conv2\", \"float32\")]";
        let pinned = space(&format!("formats: [\"int4\", \"int8\"], {pins}"));
        assert_eq!(names(&pinned), ["conv1", "linear"]);
        assert_eq!(weight(&pinned.network(&[0, 0]), "layer1.0.conv2"), Format::Float32);
        let stray: SpaceFile =
            ron_text::parse("(model: \"resnet8\", formats: [\"int4\", \"int8\"], pins: [(\"linar\", \"int8\")])", "x")
                .unwrap();
        assert!(Space::new(stray).unwrap_err().to_string().contains("did you mean `linear`"));
    }

    #[test]
    fn the_demo_counts_eight_formats_for_eight_layers() {
        let demo = Space::new(SpaceFile::demo().unwrap()).unwrap();
        assert!((demo.log10_count() - 8.0 * 8_f64.log10()).abs() < 1e-9);
        assert!(demo.formats().iter().all(|format| demo.uniform(*format).is_some()));
        assert_eq!(demo.uniform(Format::Float32), None);
        assert!(demo.describe(&[0; 8]).starts_with("conv1=int2 layer1.0.conv1=int2 "));
    }

    #[test]
    fn foreign_genomes_are_refused() {
        let demo = Space::new(SpaceFile::demo().unwrap()).unwrap();
        assert!(demo.check(&[7; 8]).is_ok());
        assert!(demo.check(&[7; 7]).is_err() && demo.check(&[8; 8]).is_err());
    }

    proptest! {
        #[test]
        fn genomes_give_networks_that_hold_together(
            genome in proptest::collection::vec(0_u8..2, 20),
            activations in prop_oneof![Just("Tied"), Just("Untied"), Just("Among([\"fp8\", \"int2\"])")],
            decisions in prop_oneof![Just("Layer"), Just("Block"), Just("Stage"), Just("Network")],
            ties in any::<bool>(),
        ) {
            let formats = "formats: [\"int4\", \"int8\"]";
            let space = space(&format!("{formats}, activations: {activations}, decisions: {decisions}, ties: {ties}"));
            let network = space.network(&genome[..space.choices().len()]);
            prop_assert!(network.validate().is_ok());
        }
    }
}
