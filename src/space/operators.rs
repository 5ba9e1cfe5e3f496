//! The operators of a genome: which blocks its network has, and of what size.

use crate::genome::Genome;
use crate::network::ModelSpec;
use crate::network::Network;
use crate::network::StagedModel;
use crate::network::build;

use super::elastic;
use super::hyperspace;
use super::{Choice, Decision, Knob, Sets, Space};

impl Space {
    /// The model of a genome, its operators as chosen.
    ///
    /// # Panics
    /// When the genome is not of this space ([`Space::check`]).
    pub fn spec_of(&self, genome: &[u8]) -> ModelSpec {
        let mut spec = self.largest.clone();
        let chosen: Vec<(Knob, usize, Choice)> = self
            .genes(genome)
            .filter_map(|(gene, decision)| match decision.sets {
                Sets::Operator { knob, at } => Some((knob, at, decision.choices[gene])),
                Sets::Formats { .. } => None,
            })
            .collect();
        match &mut spec.staged {
            Some(staged) => hyperspace::choose(staged, &chosen),
            None => chosen.iter().for_each(|&(knob, at, choice)| elastic::set(&mut spec.operators, knob, at, choice)),
        }
        spec
    }

    /// Whether some decision is about operators.
    pub fn is_elastic(&self) -> bool {
        !self.decisions().iter().all(Decision::is_format)
    }

    /// The network of a genome's operators, formats open.
    pub(super) fn of_operators(&self, genome: &[u8]) -> Network {
        if !self.is_elastic() {
            return self.network.clone();
        }
        let sampled = build(&self.spec_of(genome));
        let sampled = sampled.unwrap_or_else(|error| panic!("operators of the space give no network: {error}"));
        Network { transform: self.network.transform.clone(), ..sampled }
    }

    /// For each layer with weights of a network of this space, its place among those of all.
    pub(super) fn present(&self, network: &Network) -> Vec<usize> {
        let place = |layer: usize| self.places.get(&network.layers[layer].name).copied();
        network.weighted().into_iter().filter_map(place).collect()
    }

    /// The largest genome of each kind of block: their networks' parameters are together those of every candidate. The
    /// first is the widest of all, the last has the published kind where the space has it.
    pub fn widest_of_each_kind(&self) -> Vec<Genome> {
        let widest = self.widest();
        let Some(first) = self.decisions().iter().find(|decision| decision.is_block()) else { return vec![widest] };
        let mut kinds: Vec<usize> = (0..first.choices.len()).collect();
        kinds.sort_by(|&a, &b| first.choices[b].rank().total_cmp(&first.choices[a].rank()));
        let of_kind = |kind: usize| {
            let gene = |(&most, decision): (&u8, &Decision)| if decision.is_block() { kind as u8 } else { most };
            Genome(widest.0.iter().zip(self.decisions()).map(gene).collect())
        };
        kinds.into_iter().map(of_kind).collect()
    }

    /// The networks of [`Space::widest_of_each_kind`]; of stages also the one whose shortcuts all have weights, which smaller
    /// networks need where the largest block's shape stays.
    pub fn largest_networks(&self) -> Vec<Network> {
        let mut networks: Vec<Network> =
            self.widest_of_each_kind().iter().map(|genome| self.network(&genome.0)).collect();
        networks.extend(with_every_shortcut(&self.largest).and_then(|spec| build(&spec).ok()));
        networks
    }

    /// The same network's one genome: decisions about blocks that it leaves out stand at their largest option.
    ///
    /// # Panics
    /// When the genome is not of this space ([`Space::check`]).
    pub fn canonical(&self, genome: &[u8]) -> Vec<u8> {
        if !self.is_elastic() {
            return genome.to_vec();
        }
        let network = self.of_operators(genome);
        let present = self.present(&network);
        let block = |at: usize| format!("{}.", self.largest.block_name(at));
        let counts = |decision: &Decision| match &decision.sets {
            Sets::Formats { layers, .. } => layers.iter().any(|layer| present.contains(layer)),
            Sets::Operator { knob: Knob::Block | Knob::Kernel | Knob::Expansion | Knob::BlockWidth, at } => {
                network.layers.iter().any(|layer| layer.name.starts_with(&block(*at)))
            }
            Sets::Operator { .. } => true,
        };
        let widest = self.widest();
        let genes = genome.iter().zip(&widest.0).zip(self.decisions());
        genes.map(|((&gene, &most), decision)| if counts(decision) { gene } else { most }).collect()
    }
}

/// A network of stages with a convolution in every shortcut.
pub(super) fn with_every_shortcut(spec: &ModelSpec) -> Option<ModelSpec> {
    let staged = StagedModel { every_shortcut: true, ..spec.staged.clone()? };
    Some(ModelSpec { staged: Some(staged), ..spec.clone() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ron_text;
    use crate::space::Choice;
    use crate::space::SpaceFile;

    /// A space of operators and formats on a narrow MobileNetV2.
    fn elastic(lists: &str) -> Space {
        let text = format!(
            "(model: \"mobilenet_v2\", width: 0.25, resolution: 28, channels: 1, classes: 10, \
             formats: [\"int4\", \"int8\"], elastic: ({lists}))"
        );
        Space::new(ron_text::parse(&text, "x.ron").unwrap()).unwrap()
    }

    #[test]
    fn operator_decisions_are_listed_where_there_is_something_to_choose() {
        let space = elastic("kernels: [3, 5], expansions: [3, 6], depths: [1, 2], widths: [0.5, 1.0]");
        let count = |part: &str| space.decisions().iter().filter(|decision| decision.name.ends_with(part)).count();
        // 17 blocks, the first without expansion; stages of 1, 2, 3, 4, 3, 3, 1 blocks.
        assert_eq!([".kernel", ".expansion", ".depth"].map(count), [17, 16, 5]);
        // At a quarter of the width 16, 24 and 32 channels become 8 whatever the factor.
        assert_eq!(count(".width"), 4);
        let depth = space.decisions().iter().find(|decision| decision.name == "stage4.depth").unwrap();
        assert_eq!(depth.choices, [1.0, 2.0, 4.0].map(Choice::Size));
        // The first layer, three or two of each block, the head and the classifier.
        assert_eq!(space.decisions().iter().filter(|decision| decision.is_format()).count(), 1 + 17 * 3 - 1 + 2);
        let largest = space.network(&space.widest().0);
        let narrow = space.network(&space.narrowest().0);
        assert!(largest.weighted().len() == 53 && narrow.weighted().len() == 3 + 7 * 3 - 1);
        assert!(space.describe(&space.narrowest().0).contains("stage3.depth=1"));
    }

    #[test]
    fn each_kind_of_block_has_layers_and_one_decision_names_it() {
        let space = elastic("blocks: [Inverted, Fused, SqueezeExcite], depths: [1]");
        let kinds = space.widest_of_each_kind();
        assert!(kinds.len() == 3 && kinds[0] == space.widest());
        let has =
            |genome: &Genome, part: &str| space.network(&genome.0).layers.iter().any(|layer| layer.name.contains(part));
        assert!(has(&kinds[0], "features.3.fused.") && !has(&kinds[0], "features.3.conv."));
        assert!(has(&kinds[2], "features.3.conv.") && !has(&kinds[2], "features.3.fused."));
        // Formats of the kind that a block is not have no effect.
        let format =
            space.decisions().iter().position(|decision| decision.name == "features.3.fused.expand.0").unwrap();
        let mut genome = kinds[2].clone();
        genome.0[format] ^= 1;
        assert_eq!(space.canonical(&genome.0), space.canonical(&kinds[2].0));
        assert!(space.describe(&kinds[2].0).contains("features.3.block=Inverted"));
    }

    #[test]
    fn one_size_alone_is_set_and_other_models_are_refused() {
        let space = elastic("kernels: [5]");
        assert!(space.decisions().iter().all(Decision::is_format));
        let depthwise = space.network(&space.widest().0).layers[1].op;
        assert!(matches!(depthwise, crate::network::Op::Conv(conv) if conv.kernel == 5));
        let refused = |text: &str| {
            let text = format!("(formats: [\"int4\", \"int8\"], {text})");
            let file: SpaceFile = ron_text::parse(&text, "x.ron").unwrap();
            Space::new(file).unwrap_err().to_string()
        };
        assert!(refused("model: \"resnet8\", elastic: (kernels: [3, 5])").contains("no elastic operators"));
        assert!(refused("model: \"mobilenet_v2\", elastic: (kernels: [4])").contains("odd"));
        assert!(refused("model: \"mobilenet_v2\", elastic: (depths: [2, 2])").contains("twice"));
    }

    proptest! {
        #[test]
        fn two_canonical_genomes_are_two_networks(draws in proptest::collection::vec(any::<u8>(), 300), at in any::<usize>()) {
            let space = elastic("blocks: [Fused, Inverted, SqueezeExcite], kernels: [3, 5], expansions: [3, 6], depths: [1, 2], widths: [0.5, 1.0]");
            let choices = space.choices();
            let mut genome: Vec<u8> = choices.iter().zip(&draws).map(|(count, draw)| draw % count).collect();
            let network = space.network(&genome);
            let canonical = space.canonical(&genome);
            prop_assert!(network.validate().is_ok());
            prop_assert_eq!(&space.network(&canonical), &network);
            prop_assert_eq!(&space.canonical(&canonical), &canonical);
            let at = at % genome.len();
            genome[at] = (genome[at] + 1) % choices[at];
            prop_assert_eq!(space.canonical(&genome) == canonical, space.network(&genome) == network);
        }
    }
}
