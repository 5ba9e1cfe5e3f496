//! From a space's description to its decisions: which layers each one covers and what it chooses from.

use std::fmt;

use crate::error::Error;
use crate::error::Result;
use crate::formats::Format;
use crate::formats::QuantSpec;
use crate::network::BlockKind;
use crate::network::Network;

use super::pattern::matches;
use super::{Ends, Grouping, Knob, SpaceFile};

/// Which formats of its layers a decision sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionKind {
    /// Weights and activations, to the same format.
    Both,
    /// Weights only.
    Weight,
    /// Activations only: the input tensors of its layers.
    Activation,
}

/// One gene: a format for some layers, or a size of one block or stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The layer, block or stage it is about; behind it `.weight` or `.activation` when the two are apart, or the knob.
    pub name: String,
    /// What it sets.
    pub sets: Sets,
    /// The options, two or more: option `g` of the gene is `choices[g]`.
    pub choices: Vec<Choice>,
}

/// What a decision sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sets {
    /// Formats.
    Formats {
        /// Of what.
        kind: DecisionKind,
        /// The layers it covers, by their places among those with weights of all networks of the space.
        layers: Vec<usize>,
    },
    /// A size.
    Operator {
        /// Which.
        knob: Knob,
        /// The block or stage, by its number.
        at: usize,
    },
}

/// An option of a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// A number format.
    Format(Format),
    /// A kind of block.
    Block(BlockKind),
    /// A kernel's side, an expansion, a number of blocks or a factor on channels.
    Size(f64),
}

impl Choice {
    /// Larger for what costs more, among the options of one decision: bits or size.
    pub fn rank(self) -> f64 {
        match self {
            Self::Format(format) => f64::from(format.bits()),
            Self::Block(kind) => f64::from(kind as u8),
            Self::Size(size) => size,
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(format) => format.fmt(f),
            Self::Block(kind) => kind.fmt(f),
            Self::Size(size) => size.fmt(f),
        }
    }
}

impl Decision {
    /// The option that is `format`, if the decision offers it.
    pub fn option_of(&self, format: Format) -> Option<u8> {
        self.choices.iter().position(|choice| *choice == Choice::Format(format)).map(|option| option as u8)
    }

    /// Whether it chooses a kind of block.
    pub fn is_block(&self) -> bool {
        matches!(self.sets, Sets::Operator { knob: Knob::Block, .. })
    }

    /// Whether it chooses a format.
    pub fn is_format(&self) -> bool {
        matches!(self.sets, Sets::Formats { .. })
    }
}

/// A layer with weights that some network of a space has.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) name: String,
    /// The layer that decides the format of what it reads.
    tie: String,
    /// Whether it decides the format of a tensor.
    decides: bool,
    /// Quantizer of its weights where nothing is decided.
    pub(super) weight: QuantSpec,
    /// Quantizer of its input where nothing is decided.
    pub(super) activation: QuantSpec,
}

/// The layers with weights of all these networks: those of the first in execution order, each block's layers of the others
/// behind its own.
pub(super) fn slots(networks: &[Network]) -> Vec<Slot> {
    let mut slots: Vec<Slot> = Vec::new();
    for network in networks {
        let (weights, activations) = network.assigned();
        for ((index, weight), activation) in network.weighted().into_iter().zip(weights).zip(activations) {
            let layer = &network.layers[index];
            if slots.iter().any(|slot| slot.name == layer.name) {
                continue;
            }
            let first_reader = network.point(layer.inputs[0]).map_or(index, |point| point.decided_by);
            let tie = network.layers[first_reader].name.clone();
            let decides = network.decided(index).next().is_some();
            let block = slots.iter().rposition(|slot| leading(&slot.name, 2) == leading(&layer.name, 2));
            let place = block.map_or(slots.len(), |last| last + 1);
            slots.insert(place, Slot { name: layer.name.clone(), tie, decides, weight, activation });
        }
    }
    slots
}

/// The first parts of a dotted name.
fn leading(name: &str, parts: usize) -> &str {
    name.match_indices('.').nth(parts - 1).map_or(name, |(end, _)| &name[..end])
}

/// A set of layers that are decided together, and the format where there is nothing to decide.
struct Group {
    /// What its layers have in common.
    key: String,
    name: String,
    layers: Vec<usize>,
    fixed: Option<Format>,
}

/// Formats set once for all: (layer, what, format).
pub(super) type Fixed = Vec<(usize, DecisionKind, Format)>;

/// The format decisions of a space over its layers with weights, and what is fixed.
///
/// # Errors
/// When a pin's pattern matches no layer.
pub(super) fn decisions(file: &SpaceFile, slots: &[Slot]) -> Result<(Vec<Decision>, Fixed)> {
    let mut decisions = Vec::new();
    let mut fixed = Vec::new();
    let mut take = |name: &str, kind, layers: &[usize], choices: Vec<Format>| match choices[..] {
        [only] => fixed.extend(layers.iter().map(|&layer| (layer, kind, only))),
        _ => decisions.push(Decision {
            name: name.to_owned(),
            sets: Sets::Formats { kind, layers: layers.to_vec() },
            choices: choices.into_iter().map(Choice::Format).collect(),
        }),
    };
    for group in groups(file, slots)? {
        let own = if group.fixed.is_some() { None } else { file.activation_choices() };
        let weights = group.fixed.map_or_else(|| file.weight_choices(), |format| vec![format]);
        let decides = group.layers.iter().any(|&layer| slots[layer].decides);
        match own {
            None if decides => take(&group.name, DecisionKind::Both, &group.layers, weights),
            None => take(&group.name, DecisionKind::Weight, &group.layers, weights),
            Some(activations) => {
                take(&format!("{}.weight", group.name), DecisionKind::Weight, &group.layers, weights);
                if decides {
                    let name = format!("{}.activation", group.name);
                    take(&name, DecisionKind::Activation, &group.layers, activations);
                }
            }
        }
    }
    Ok((decisions, fixed))
}

/// The layers with weights, grouped as the file says, in execution order; fixed layers stand alone.
fn groups(file: &SpaceFile, slots: &[Slot]) -> Result<Vec<Group>> {
    let fixed = fixed_formats(file, slots)?;
    let mut groups: Vec<Group> = Vec::new();
    for ((layer, slot), format) in slots.iter().enumerate().zip(fixed) {
        let key = group_key(file, slot);
        if let Some(open) =
            groups.iter_mut().find(|group| format.is_none() && group.fixed.is_none() && group.key == key)
        {
            open.layers.push(layer);
            continue;
        }
        let own = format.is_some() || file.decisions == Grouping::Layer;
        let name = if own { slot.name.clone() } else { key.clone() };
        groups.push(Group { key, name, layers: vec![layer], fixed: format });
    }
    Ok(groups)
}

fn group_key(file: &SpaceFile, slot: &Slot) -> String {
    match file.decisions {
        Grouping::Layer => if file.ties { &slot.tie } else { &slot.name }.clone(),
        Grouping::Block => leading(&slot.name, 2).to_owned(),
        Grouping::Stage => leading(&slot.name, 1).to_owned(),
        Grouping::Network => "network".to_owned(),
    }
}

/// For each layer with weights the format it is set to, if any: by a pin, else as first or last layer.
fn fixed_formats(file: &SpaceFile, slots: &[Slot]) -> Result<Vec<Option<Format>>> {
    let names: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
    let mut formats = vec![None; names.len()];
    if let (Some(first), Ends::Fixed(format)) = (formats.first_mut(), file.first) {
        *first = Some(format);
    }
    if let (Some(last), Ends::Fixed(format)) = (formats.last_mut(), file.last) {
        *last = Some(format);
    }
    for (pattern, format) in &file.pins {
        let hits: Vec<usize> = (0..names.len()).filter(|&rank| matches(pattern, names[rank])).collect();
        if hits.is_empty() {
            return Err(Error::unknown_name("pin", pattern, names));
        }
        hits.into_iter().for_each(|rank| formats[rank] = Some(*format));
    }
    Ok(formats)
}
