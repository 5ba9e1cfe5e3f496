//! Random networks of a space, to fit the overhead to and to test predictions on.

use rand::Rng;
use rand::RngExt;
use rand::seq::IndexedRandom;

use crate::error::Result;
use crate::formats::Format;
use crate::formats::QuantSpec;
use crate::network::{ModelName, ModelSpec, Network, build};
use crate::seed::Seed;
use crate::space::Space;

/// The largest image side of networks whose width and depth vary although their space has one size.
const SMALL_IMAGE: usize = 64;

/// Factors on the width of such networks.
pub(super) const WIDTHS: [f64; 5] = [0.5, 0.75, 1.0, 1.25, 1.5];

/// Which layers are narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// None.
    Float32,
    /// All.
    Narrow,
    /// Each with probability 1/2.
    Mixed,
}

impl std::fmt::Display for Mix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Float32 => "float32",
            Self::Narrow => "int8",
            Self::Mixed => "mixed",
        })
    }
}

/// A random network.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// What its formats are.
    pub mix: Mix,
    /// The network.
    pub network: Network,
}

/// The models that a space's networks are drawn from: its own, and where that has one size on small images, others of its
/// family that differ in width (and depth, where the family has names for it).
pub(super) fn models_of(space: &Space) -> Vec<ModelSpec> {
    let own = space.model_spec().clone();
    if space.is_elastic() || own.input().h > SMALL_IMAGE {
        return vec![own];
    }
    let of_other_depths: Vec<ModelSpec> = match own.model {
        ModelName::SmallResnet { .. } => [8, 20, 32]
            .into_iter()
            .map(|depth| ModelSpec { model: ModelName::SmallResnet { depth }, ..own.clone() })
            .collect(),
        ModelName::Vit { .. } => {
            (2..=6).step_by(2).map(|depth| ModelSpec { depth: Some(depth), ..own.clone() }).collect()
        }
        _ => return vec![own],
    };
    let wider = |spec: &ModelSpec| WIDTHS.map(|factor| ModelSpec { width: spec.width * factor, ..spec.clone() });
    let mut specs: Vec<ModelSpec> = of_other_depths.iter().flat_map(wider).collect();
    specs.push(own);
    specs.retain(|spec| build(spec).is_ok());
    specs
}

/// Draws that may come out as a network that is there already before one is taken twice.
const TRIES: usize = 200;

/// The networks of a space that an overhead is fitted to.
///
/// # Errors
/// A model that cannot be built.
pub fn fitted(space: &Space, name: &str, count: usize) -> Result<Vec<Drawn>> {
    distinct(space, count, &mut Seed::new(0).child("overhead").child(name).rng(), &[])
}

/// Random networks of a space, each once as long as there are others, none of them among `known`: float32, int8 and mixed in turn.
///
/// # Errors
/// A model that cannot be built.
pub fn distinct(space: &Space, count: usize, rng: &mut impl Rng, known: &[Drawn]) -> Result<Vec<Drawn>> {
    let mut found: Vec<Drawn> = Vec::new();
    for number in 0..count {
        let mut drawn = draw(space, number, rng)?;
        for attempt in 0..TRIES {
            let taken = |others: &[Drawn]| others.iter().any(|other| other.network == drawn.network);
            // Where every network is taken, one that only this list has may come again.
            if !taken(known) && (attempt + 1 == TRIES || !taken(&found)) {
                break;
            }
            drawn = draw(space, number, rng)?;
        }
        found.push(drawn);
    }
    Ok(found)
}

/// Draws a network of a space; the first three are float32, int8 and mixed, then again.
fn draw(space: &Space, number: usize, rng: &mut impl Rng) -> Result<Drawn> {
    let mut network = if space.is_elastic() {
        let genome: Vec<u8> = space.choices().iter().map(|&options| rng.random_range(0..options)).collect();
        space.network(&genome)
    } else {
        let models = models_of(space);
        match models.choose(rng) {
            Some(spec) => build(spec)?,
            None => space.network(&space.widest().0),
        }
    };
    let mix = [Mix::Float32, Mix::Narrow, Mix::Mixed][number % 3];
    let narrow: Vec<bool> = (0..network.weighted().len())
        .map(|_| match mix {
            Mix::Float32 => false,
            Mix::Narrow => true,
            Mix::Mixed => rng.random_bool(0.5),
        })
        .collect();
    assign(&mut network, &narrow);
    Ok(Drawn { mix, network })
}

/// Sets each layer with weights to int8 or float32.
pub(super) fn assign(network: &mut Network, narrow: &[bool]) {
    let format = |narrow: &bool| if *narrow { Format::Int(8) } else { Format::Float32 };
    let weights: Vec<QuantSpec> = narrow.iter().map(|n| QuantSpec::per_channel(format(n))).collect();
    let activations: Vec<QuantSpec> = narrow.iter().map(|n| QuantSpec::per_tensor(format(n))).collect();
    network.assign(&weights, &activations);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::space::SpaceFile;

    #[test]
    fn drawn_networks_differ_in_size_and_formats() {
        let spaces = ["resnet8_fashion", "mobilenet_v2_fashion_elastic", "vit_fashion"];
        for name in spaces {
            let path = format!("{}/search_spaces/{name}.ron", env!("CARGO_MANIFEST_DIR"));
            let space = Space::new(SpaceFile::load(std::path::Path::new(&path)).unwrap()).unwrap();
            let known = fitted(&space, name, 9).unwrap();
            let drawn = distinct(&space, 30, &mut Seed::new(1).rng(), &known).unwrap();
            let all: Vec<&Network> = known.iter().chain(&drawn).map(|drawn| &drawn.network).collect();
            assert!((1..all.len()).all(|at| !all[..at].contains(&all[at])), "{name}: one came twice");
            let sizes: HashSet<(usize, u64)> =
                drawn.iter().map(|d| (d.network.layers.len(), d.network.parameter_count())).collect();
            assert!(sizes.len() > 5, "{name}: {} sizes", sizes.len());
            assert!(drawn.iter().all(|d| d.network.validate().is_ok()));
            assert_eq!(drawn.iter().filter(|d| d.mix == Mix::Mixed).count(), 10);
        }
    }
}
