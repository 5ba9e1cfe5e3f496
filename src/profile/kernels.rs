//! The kernels that the networks of some spaces are made of.

use std::collections::{BTreeMap, HashSet};

use super::networks::{assign, models_of};
use crate::cost::latency::{Device, Kernel, KernelOp, Way, walk};
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::network::{Network, Op, Source, build};
use crate::seed::Seed;
use crate::space::Space;

/// Most kernels that a profile measures.
pub const MOST_KERNELS: usize = 1500;

/// Random networks that an elastic space's kernels are collected from; its sizes come up many times in as many.
const GENOMES: u64 = 3000;

/// What a profile measures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kernels {
    /// The kernels, in the order of their first use.
    pub measured: Vec<Kernel>,
    /// How many others the spaces have.
    pub left_out: usize,
}

/// The distinct kernels of all networks of these spaces, in float32 and in every format that the device computes in, and the ways of
/// every tensor between those; then those of networks of other widths. Of more than `most`, as many from every operator, window, stride and format in proportion, spread evenly
/// over their sizes.
///
/// # Errors
/// A model that cannot be built; fewer kernels than there are kinds.
pub fn kernels_of(spaces: &[Space], device: &Device, most: usize) -> Result<Kernels> {
    let mut found = Found { device, seen: HashSet::new(), order: Vec::new() };
    for space in spaces {
        found.network(build(space.model_spec())?);
        if space.is_elastic() {
            let mut rng = Seed::new(0).child("kernels").rng();
            let choices = space.genome_choices()?;
            for genome in space.widest_of_each_kind() {
                found.network(space.network(&genome.0));
            }
            found.network(space.network(&space.narrowest().0));
            for _ in 0..GENOMES {
                found.network(space.network(&choices.random(&mut rng).0));
            }
        }
    }
    let own = found.order.len();
    for space in spaces {
        for spec in models_of(space) {
            found.network(build(&spec)?);
        }
    }
    let relatives = found.order.split_off(own);
    let all = own + relatives.len();
    let mut measured = sampled(found.order, most)?;
    if most > own {
        // Of the others as many as there is room for, or none.
        measured.extend(sampled(relatives, most - own).unwrap_or_default());
    }
    Ok(Kernels { left_out: all - measured.len(), measured })
}

struct Found<'a> {
    device: &'a Device,
    seen: HashSet<Kernel>,
    order: Vec<Kernel>,
}

impl Found<'_> {
    fn network(&mut self, mut network: Network) {
        let count = network.weighted().len();
        for narrow in [false, true] {
            assign(&mut network, &vec![narrow; count]);
            walk(&network, self.device, |way| {
                let (Way::Layer(_, kernel) | Way::Transition(kernel)) = way;
                self.keep(kernel);
                if kernel.op == KernelOp::Conv && !kernel.is_float32() {
                    self.keep(Kernel { op: KernelOp::ConvDequantized, ..kernel });
                }
            });
        }
        // Every tensor that can be narrow, there and back.
        let sources = (0..network.layers.len()).map(Source::Layer).chain([Source::Input]);
        for source in sources {
            let scores =
                matches!(source, Source::Layer(at) if matches!(network.layers[at].op, Op::AttentionScores { .. }));
            let of_tokens = scores || network.shape(source).is_tokens();
            let narrow = network.point(source).is_some_and(|point| !point.is_by_token()) && !of_tokens;
            let int8 = Format::Int(8);
            if narrow && self.device.computed(int8) == int8 {
                let shape = network.shape(source);
                self.keep(Kernel::transition(shape, Format::Float32, int8));
                self.keep(Kernel::transition(shape, int8, Format::Float32));
            }
        }
    }

    fn keep(&mut self, kernel: Kernel) {
        if self.seen.insert(kernel) {
            self.order.push(kernel);
        }
    }
}

/// What kernels of one kind have in common.
type Stratum = (KernelOp, bool, &'static str, usize, usize, Format, Format);

fn stratum(kernel: &Kernel) -> Stratum {
    let Kernel { op, act, kernel: window, stride, w_format, a_format, .. } = *kernel;
    (op, kernel.is_depthwise(), act.name(), window, stride, w_format, a_format)
}

fn sampled(all: Vec<Kernel>, most: usize) -> Result<Vec<Kernel>> {
    if all.len() <= most {
        return Ok(all);
    }
    let mut strata: BTreeMap<Stratum, Vec<Kernel>> = BTreeMap::new();
    for kernel in &all {
        strata.entry(stratum(kernel)).or_default().push(*kernel);
    }
    if strata.len() > most {
        let least = format!("the spaces have {} kinds of kernels, and one of each is needed", strata.len());
        return Err(Error::bad_value("--most", most, least));
    }
    let (mut kept, kinds) = (HashSet::new(), strata.len());
    for kernels in strata.values_mut() {
        kernels.sort_by_key(|kernel| (kernel.h * kernel.w, kernel.c_in * kernel.c_out, kernel.c_in));
        let quota = 1 + (kernels.len() - 1) * (most - kinds) / (all.len() - kinds);
        // Both ends, and evenly between.
        let place = |at: usize| at * (kernels.len() - 1) / quota.saturating_sub(1).max(1);
        kept.extend((0..quota).map(|at| kernels[place(at)]));
    }
    Ok(all.into_iter().filter(|kernel| kept.contains(kernel)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::SpaceFile;

    fn space(name: &str) -> Space {
        let path = format!("{}/search_spaces/{name}.ron", env!("CARGO_MANIFEST_DIR"));
        Space::new(SpaceFile::load(std::path::Path::new(&path)).unwrap()).unwrap()
    }

    #[test]
    fn the_kernels_of_a_network_are_all_there_once() {
        let device = Device::cpu_of_tests();
        let space = space("resnet18_imagenet");
        let kernels = kernels_of(std::slice::from_ref(&space), &device, MOST_KERNELS).unwrap();
        assert_eq!(kernels.left_out, 0);
        let distinct: HashSet<Kernel> = kernels.measured.iter().copied().collect();
        assert_eq!(distinct.len(), kernels.measured.len());
        let convolutions =
            |format: Format| kernels.measured.iter().filter(|k| k.op == KernelOp::Conv && k.a_format == format).count();
        // Stem, two 3x3 of each of four stages (those before a sum have no ReLU), 3 strided ones, 4 projections (stage 1 has
        // one too in TensorFlow's form).
        assert_eq!(convolutions(Format::Float32), convolutions(Format::Int(8)));
        assert_eq!(convolutions(Format::Float32), 1 + 2 * 4 + 3 + 4);
    }

    #[test]
    fn a_large_space_is_sampled_from_every_kind() {
        let device = Device::cpu_of_tests();
        let spaces = [space("mobilenet_v2_fashion_elastic")];
        let all = kernels_of(&spaces, &device, usize::MAX).unwrap();
        let some = kernels_of(&spaces, &device, 200).unwrap();
        assert!(all.measured.len() > 200 && some.measured.len() <= 200, "{}", all.measured.len());
        assert_eq!(some.measured.len() + some.left_out, all.measured.len());
        let operators = |kernels: &Kernels| kernels.measured.iter().map(|kernel| kernel.op).collect::<HashSet<_>>();
        assert_eq!(operators(&all), operators(&some));
    }
}
