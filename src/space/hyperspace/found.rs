//! One space of a hyperspace as an ordinary search space: block types are settled, every block chooses its sizes.

use serde::{Deserialize, Serialize};

use super::{FixedStage, HeadSizes, Hyperspace, SpaceCode, Stem};
use crate::error::{Error, Result};
use crate::network::{Block, StagedModel};
use crate::ron_text;
use crate::space::{Choice, Decision, Knob, Sets, SpaceFile};

/// What a search space file says of such networks; the model is `staged`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagedSpace {
    /// The first convolution.
    pub stem: Stem,
    /// The stages.
    pub stages: Vec<FixedStage>,
    /// What follows them.
    pub head: HeadSizes,
}

impl Hyperspace {
    /// The search space of a code, for images of this side: sizes to choose, every format int8.
    ///
    /// # Errors
    /// None for a code of this hyperspace.
    pub fn space_file(&self, code: &SpaceCode, side: usize) -> Result<SpaceFile> {
        let stage = |(at, choice): (usize, &super::StageChoice)| FixedStage {
            block: self.blocks[usize::from(code.blocks[at])].clone(),
            widths: choice.window(usize::from(code.windows[at])).to_vec(),
            depths: choice.depths,
            stride: choice.stride,
            projects: true,
        };
        let stages = std::iter::once(self.first.clone()).chain(self.stages.iter().enumerate().map(stage));
        let staged = StagedSpace { stem: self.stem.clone(), stages: stages.collect(), head: self.head };
        let file: SpaceFile = ron_text::parse("(model: \"staged\", formats: [\"int8\"])", "a found space")?;
        let (channels, classes) = (Some(self.channels), Some(self.classes));
        Ok(SpaceFile { resolution: Some(side), channels, classes, staged: Some(staged), ..file })
    }
}

impl StagedSpace {
    /// Checks what the types do not: nothing is empty or listed twice, sizes lie in their ranges.
    ///
    /// # Errors
    /// The first violation, with its key.
    pub fn check(&self) -> Result<()> {
        self.stem.check("staged.stem")?;
        self.head.check("staged.head")?;
        if !(1..=36).contains(&self.stages.len()) {
            return Err(Error::bad_value("staged.stages", self.stages.len(), "1 to 36 entries"));
        }
        self.stages.iter().enumerate().try_for_each(|(at, stage)| stage.check(&format!("staged.stages[{at}]")))
    }

    /// The network of the most of everything.
    pub fn largest(&self) -> StagedModel {
        let last = |list: &[usize]| list.last().copied().unwrap_or(1);
        let blocks = |stage: &FixedStage| -> Vec<Block> {
            let block = |number| Block {
                kind: stage.block.kind,
                act: stage.block.act,
                kernel: last(&stage.block.kernels),
                expansion: stage.block.expansions.last().copied(),
                width: last(&stage.widths),
                stride: if number == 0 { stage.stride } else { 1 },
                projects: stage.projects,
            };
            (0..stage.depths.1).map(block).collect()
        };
        StagedModel {
            stem: (last(&self.stem.widths), self.stem.stride, self.stem.act),
            stages: self.stages.iter().map(blocks).collect(),
            head: (self.head.expand, self.head.mix, self.head.act),
            every_shortcut: false,
        }
    }

    /// What networks choose, stage by stage: its depth, then kernel, expansion and width of each block.
    pub fn decisions(&self) -> Vec<Decision> {
        let mut decisions = Vec::new();
        let mut take = |name: String, knob: Knob, at, sizes: Vec<f64>| {
            if sizes.len() > 1 {
                let choices = sizes.into_iter().map(Choice::Size).collect();
                let name = format!("{name}.{}", knob.name());
                decisions.push(Decision { name, sets: Sets::Operator { knob, at }, choices });
            }
        };
        let sizes = |list: &[usize]| list.iter().map(|&size| size as f64).collect::<Vec<f64>>();
        take("stem".to_owned(), Knob::StemWidth, 0, sizes(&self.stem.widths));
        let mut number = 0;
        for (index, stage) in self.stages.iter().enumerate() {
            let (fewest, most) = stage.depths;
            take(format!("stage{index}"), Knob::Depth, index, (fewest..=most).map(|depth| depth as f64).collect());
            for block in 0..most {
                let name = format!("stage{index}.{block}");
                take(name.clone(), Knob::Kernel, number, sizes(&stage.block.kernels));
                take(name.clone(), Knob::Expansion, number, stage.block.expansions.clone());
                take(name, Knob::BlockWidth, number, sizes(&stage.widths));
                number += 1;
            }
        }
        decisions
    }
}

/// Makes a largest network one of chosen sizes.
pub(in crate::space) fn choose(model: &mut StagedModel, chosen: &[(Knob, usize, Choice)]) {
    for (knob, at, choice) in chosen {
        let Choice::Size(size) = *choice else { continue };
        let whole = size as usize;
        if *knob == Knob::StemWidth {
            model.stem.0 = whole;
        } else if let Some(block) = model.stages.iter_mut().flatten().nth(*at) {
            match knob {
                Knob::Kernel => block.kernel = whole,
                Knob::Expansion => block.expansion = Some(size),
                Knob::BlockWidth => block.width = whole,
                _ => {}
            }
        }
    }
    // Blocks are counted with all there are, so they leave at the end.
    for (knob, at, choice) in chosen {
        if let (Knob::Depth, Choice::Size(size)) = (knob, choice) {
            model.stages[*at].truncate(*size as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::seed::Seed;
    use crate::space::Space;

    fn small(code: &str) -> Space {
        let hyperspace = Hyperspace::shipped("smallw").unwrap();
        let file = hyperspace.space_file(&hyperspace.parse_code(code).unwrap(), 28).unwrap();
        let text = ron_text::text(&file).unwrap();
        let back: SpaceFile = ron_text::parse(&text, "found.ron").unwrap();
        assert_eq!(back, file, "{text}");
        Space::new(back).unwrap()
    }

    #[test]
    fn the_ends_of_a_found_space_are_those_of_its_code() {
        let hyperspace = Hyperspace::shipped("smallw").unwrap();
        for code in ["0123-0121", "3210-2222", "2222-0000"] {
            let (space, code) = (small(code), hyperspace.parse_code(code).unwrap());
            let count = |network: crate::network::Network| network.parameter_count();
            assert_eq!(count(space.network(&space.widest().0)), count(hyperspace.largest(&code).unwrap()));
            assert_eq!(count(space.network(&space.narrowest().0)), count(hyperspace.smallest(&code).unwrap()));
        }
    }

    #[test]
    fn every_network_shares_the_parameters_of_the_largest_ones() {
        let mut rng = Seed::new(0).rng();
        for code in ["0123-0121", "3131-2220", "2020-1012"] {
            let space = small(code);
            let mut whole: std::collections::BTreeMap<String, Vec<usize>> = std::collections::BTreeMap::new();
            space.largest_networks().iter().for_each(|network| whole.extend(network.parameters()));
            for _ in 0..50 {
                let genome: Vec<u8> = space.choices().iter().map(|&n| rng.random_range(0..n)).collect();
                let network = space.network(&genome);
                network.validate().unwrap();
                for (name, shape) in network.parameters() {
                    let most = whole.get(&name).unwrap_or_else(|| panic!("{code}: no {name}"));
                    assert!(
                        shape.len() == most.len() && shape.iter().zip(most).all(|(own, most)| own <= most),
                        "{name}"
                    );
                }
                assert!(network.layers.iter().all(|layer| layer.weight.is_none_or(|spec| spec.format.bits() == 8)));
                let canonical = space.canonical(&genome);
                assert_eq!(space.network(&canonical), network);
            }
        }
    }

    #[test]
    fn wrong_sizes_are_refused_by_their_key() {
        let mut file = small("0123-0121").file().clone();
        file.staged.as_mut().unwrap().stages[1].widths = vec![16, 8];
        assert!(file.check().unwrap_err().to_string().starts_with("staged.stages[1].widths `8`: after 16"));
        file.staged = None;
        assert!(file.check().unwrap_err().to_string().contains("staged"));
    }
}
