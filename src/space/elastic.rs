//! Operators that a space leaves open: kernel and expansion of every block, depth and width of every stage.
//!
//! Candidates share the weights of the largest operators by slicing: the middle of a kernel, the leading channels, the
//! leading blocks of a stage (Cai et al. 2020, Once-for-All; as TuNAS masks them).

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::error::Result;
use crate::network::BlockKind;
use crate::network::ModelSpec;
use crate::network::Operators;
use crate::network::{check_expansion, check_kernel, check_width};

use super::{Choice, Decision, Sets};

/// Most options of a decision.
const MOST_OPTIONS: usize = 64;

/// The sizes to choose from; an empty list leaves the model's own, a list of one sets it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elastic {
    /// Kinds of block, chosen for every block that has an expansion. Each kind has weights of its own.
    #[serde(default)]
    pub blocks: Vec<BlockKind>,
    /// Sides of the depthwise kernel, chosen for every block.
    #[serde(default)]
    pub kernels: Vec<usize>,
    /// Expansions, chosen for every block that has one.
    #[serde(default)]
    pub expansions: Vec<usize>,
    /// Numbers of blocks, chosen for every stage among those it has and its own.
    #[serde(default)]
    pub depths: Vec<usize>,
    /// Factors on the output channels, chosen for every stage; those that give it equal channels count once.
    #[serde(default)]
    pub widths: Vec<f64>,
}

/// What an operator decision sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    /// Kind of a block.
    Block,
    /// Side of a block's depthwise kernel.
    Kernel,
    /// Expansion of a block.
    Expansion,
    /// Blocks of a stage.
    Depth,
    /// Factor on the output channels of a stage.
    Width,
    /// Output channels of a block, of a network of stages.
    BlockWidth,
    /// Output channels of the stem, of a network of stages.
    StemWidth,
}

impl Knob {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Kernel => "kernel",
            Self::Expansion => "expansion",
            Self::Depth => "depth",
            Self::Width | Self::BlockWidth | Self::StemWidth => "width",
        }
    }
}

impl Elastic {
    /// Checks what the types do not: every size in its range and listed once.
    ///
    /// # Errors
    /// The first violation, with its key.
    pub(super) fn check(&self) -> Result<()> {
        self.kernels.iter().try_for_each(|&kernel| check_kernel("elastic.kernels", kernel))?;
        self.expansions.iter().try_for_each(|&expansion| check_expansion("elastic.expansions", expansion))?;
        self.widths.iter().try_for_each(|&width| check_width("elastic.widths", width))?;
        if self.depths.contains(&0) {
            return Err(Error::bad_value("elastic.depths", 0, "a stage keeps at least 1 block"));
        }
        check_list("elastic.blocks", &self.blocks)?;
        check_list("elastic.kernels", &self.kernels)?;
        check_list("elastic.expansions", &self.expansions)?;
        check_list("elastic.depths", &self.depths)?;
        check_list("elastic.widths", &self.widths)
    }

    /// The largest operators over the stages of `model`, once with every block of each kind, the dearest kind first.
    ///
    /// # Errors
    /// A model without such stages.
    pub(super) fn largest(&self, model: &ModelSpec) -> Result<Vec<Operators>> {
        let stages = model.stages();
        if stages.is_empty() {
            let hint = format!("{} has no elastic operators; mobilenet_v2 and efficientnet_lite have", model.model);
            return Err(Error::bad_value("elastic", "", hint));
        }
        let blocks = stages.iter().map(|stage| stage.blocks).sum();
        let of_blocks = |list: &[usize]| list.iter().max().map_or(vec![], |&most| vec![most; blocks]);
        let widest = self.widths.iter().copied().reduce(f64::max);
        let sizes = Operators {
            blocks: vec![],
            kernels: of_blocks(&self.kernels),
            expansions: of_blocks(&self.expansions),
            depths: if self.depths.is_empty() { vec![] } else { stages.iter().map(|stage| stage.blocks).collect() },
            widths: widest.map_or(vec![], |width| vec![width; stages.len()]),
        };
        if self.blocks.is_empty() {
            return Ok(vec![sizes]);
        }
        let mut kinds = self.blocks.clone();
        kinds.sort_by(|a, b| b.cmp(a));
        Ok(kinds.into_iter().map(|kind| Operators { blocks: vec![kind; blocks], ..sizes.clone() }).collect())
    }

    /// The decisions that these lists leave open, stage by stage.
    pub(super) fn decisions(&self, model: &ModelSpec) -> Vec<Decision> {
        let mut decisions = Vec::new();
        let mut take = |place: String, knob: Knob, at, choices: Vec<Choice>| {
            if choices.len() > 1 {
                let name = format!("{place}.{}", knob.name());
                decisions.push(Decision { name, sets: Sets::Operator { knob, at }, choices });
            }
        };
        let sizes = |list: &[usize]| list.iter().map(|&size| Choice::Size(size as f64)).collect();
        let mut number = 0;
        for (index, stage) in model.stages().iter().enumerate() {
            let name = format!("stage{}", index + 1);
            if !self.depths.is_empty() {
                let fewer = self.depths.iter().copied().filter(|&depth| depth < stage.blocks);
                take(name.clone(), Knob::Depth, index, sizes(&fewer.chain([stage.blocks]).collect::<Vec<_>>()));
            }
            take(name, Knob::Width, index, self.distinct_widths(model, index).map(Choice::Size).collect());
            for _ in 0..stage.blocks {
                let block = model.block_name(number);
                take(block.clone(), Knob::Kernel, number, sizes(&self.kernels));
                if stage.expansion > 1 {
                    let kinds = self.blocks.iter().copied().map(Choice::Block).collect();
                    take(block.clone(), Knob::Block, number, kinds);
                    take(block, Knob::Expansion, number, sizes(&self.expansions));
                }
                number += 1;
            }
        }
        decisions
    }

    /// The widths that give a stage different channels; the widest of equals, which the shared weights have.
    fn distinct_widths(&self, model: &ModelSpec, stage: usize) -> impl Iterator<Item = f64> {
        let channels = move |width| model.stage_channels(stage, width);
        let wider =
            move |width: f64| self.widths.iter().any(|&other| other > width && channels(other) == channels(width));
        self.widths.iter().copied().filter(move |&width| !wider(width))
    }
}

/// Puts a choice where its knob belongs.
pub(super) fn set(operators: &mut Operators, knob: Knob, at: usize, choice: Choice) {
    match (knob, choice) {
        (Knob::Block, Choice::Block(kind)) => operators.blocks[at] = kind,
        (Knob::Kernel, Choice::Size(size)) => operators.kernels[at] = size as usize,
        (Knob::Expansion, Choice::Size(size)) => operators.expansions[at] = size as usize,
        (Knob::Depth, Choice::Size(size)) => operators.depths[at] = size as usize,
        (Knob::Width, Choice::Size(size)) => operators.widths[at] = size,
        _ => {}
    }
}

fn check_list<T: PartialEq + ToString>(key: &str, list: &[T]) -> Result<()> {
    if list.len() > MOST_OPTIONS {
        return Err(Error::bad_value(key, list.len(), format!("entries; at most {MOST_OPTIONS}")));
    }
    match (1..list.len()).find(|&place| list[..place].contains(&list[place])) {
        Some(place) => Err(Error::bad_value(key, list[place].to_string(), "listed twice")),
        None => Ok(()),
    }
}
