//! Networks of a space.

use std::str::FromStr;

use super::{BlockChoice, Hyperspace, SpaceCode};
use crate::error::{Error, Result};
use crate::network::{Block, Network, Shape, StagedModel, StagedSpec, build_staged};

impl Hyperspace {
    /// The space's network of the least of everything.
    ///
    /// # Errors
    /// When its images are too small for a stage.
    pub fn smallest(&self, code: &SpaceCode) -> Result<Network> {
        self.extreme(code, false)
    }

    /// The space's network of the most of everything.
    ///
    /// # Errors
    /// As [`Hyperspace::smallest`].
    pub fn largest(&self, code: &SpaceCode) -> Result<Network> {
        self.extreme(code, true)
    }

    fn extreme(&self, code: &SpaceCode, most: bool) -> Result<Network> {
        let end = |list: &[usize]| list.get(if most { list.len() - 1 } else { 0 }).copied().unwrap_or(1);
        let depth = |(fewest, most_blocks)| if most { most_blocks } else { fewest };
        let block = |choice: &BlockChoice, width, stride, projects| Block {
            kind: choice.kind,
            act: choice.act,
            kernel: end(&choice.kernels),
            expansion: if most { choice.expansions.last() } else { choice.expansions.first() }.copied(),
            width,
            stride,
            projects,
        };
        let first = |number| {
            let stride = if number == 0 { self.first.stride } else { 1 };
            block(&self.first.block, end(&self.first.widths), stride, self.first.projects)
        };
        let mut stages: Vec<Vec<Block>> = vec![(0..depth(self.first.depths)).map(first).collect()];
        for (index, stage) in self.stages.iter().enumerate() {
            let (kind, window) = (usize::from(code.blocks[index]), usize::from(code.windows[index]));
            let width = end(stage.window(window));
            let of = |number| block(&self.blocks[kind], width, if number == 0 { stage.stride } else { 1 }, true);
            stages.push((0..depth(stage.depths)).map(of).collect());
        }
        let sides: Vec<usize> = self.resolutions.iter().map(|resolution| resolution.side).collect();
        self.network(end(&self.stem.widths), stages, end(&sides), code.to_string())
    }

    /// A network's parts, with this hyperspace's strides and head.
    pub(super) fn model(&self, stem: usize, stages: Vec<Vec<Block>>) -> StagedModel {
        StagedModel {
            stem: (stem, self.stem.stride, self.stem.act),
            stages,
            head: (self.head.expand, self.head.mix, self.head.act),
            every_shortcut: false,
        }
    }

    fn network(&self, stem: usize, stages: Vec<Vec<Block>>, side: usize, code: String) -> Result<Network> {
        build_staged(&StagedSpec {
            name: format!("{}-{code}", self.name),
            input: Shape { c: self.channels, h: side, w: side },
            classes: self.classes,
            model: self.model(stem, stages),
        })
    }

    /// The network of a space that a subnet code of the released files names: `d1#1#2_k3#3#5#3_w16#16#32#32_e0#1.0#6#6_r160`
    /// has the depths of stem, first stage and stages, kernel, width and expansion (0: none) of every block, the stem
    /// counted as one, and the side of the image, which need not be one of the hyperspace's.
    ///
    /// # Errors
    /// A code that is damaged, or a size that the space does not have.
    pub fn subnet(&self, code: &SpaceCode, text: &str) -> Result<Network> {
        let refuse = |why: String| Error::bad_value("subnet", text, why);
        let sizes = SubnetSizes::parse(text)?;
        if sizes.depths.len() != self.stages.len() + 2 {
            return Err(refuse(format!("expected {} depths: stem, first stage, stages", self.stages.len() + 2)));
        }
        let blocks: usize = sizes.depths.iter().sum();
        if sizes.depths[0] != 1 || [sizes.kernels.len(), sizes.widths.len(), sizes.expansions.len()] != [blocks; 3] {
            return Err(refuse(format!("expected {blocks} kernels, widths and expansions, the stem's first")));
        }
        if !self.stem.widths.contains(&sizes.widths[0]) || !(8..=4096).contains(&sizes.side) {
            return Err(refuse(format!("the stem has widths {:?}, sides are 8 to 4096", self.stem.widths)));
        }
        let (mut stages, mut at) = (Vec::new(), 1);
        for (index, &depth) in sizes.depths[1..].iter().enumerate() {
            let (choice, widths, (fewest, most), stride, projects) = match index.checked_sub(1) {
                None => {
                    let first = &self.first;
                    (&first.block, first.widths.as_slice(), first.depths, first.stride, first.projects)
                }
                Some(index) => {
                    let stage = &self.stages[index];
                    let widths = stage.window(usize::from(code.windows[index]));
                    (&self.blocks[usize::from(code.blocks[index])], widths, stage.depths, stage.stride, true)
                }
            };
            if !(fewest..=most).contains(&depth) {
                return Err(refuse(format!("stage {index}: depth {depth} is not among {fewest} to {most}")));
            }
            let mut stage = Vec::with_capacity(depth);
            for number in 0..depth {
                let expansion = Some(sizes.expansions[at]).filter(|&expansion| expansion > 0.0);
                let stride = if number == 0 { stride } else { 1 };
                let block = choice.block(sizes.kernels[at], widths, sizes.widths[at], expansion);
                let block = block.map_err(|why| refuse(format!("stage {index}: {why}")))?;
                stage.push(Block { stride, projects, ..block });
                at += 1;
            }
            stages.push(stage);
        }
        self.network(sizes.widths[0], stages, sizes.side, code.to_string())
    }
}

impl BlockChoice {
    /// A block of this type with stride 1, whose width is one of `widths`.
    ///
    /// # Errors
    /// What the choice does not offer.
    pub fn block(
        &self,
        kernel: usize,
        widths: &[usize],
        width: usize,
        expansion: Option<f64>,
    ) -> std::result::Result<Block, String> {
        let name = self.kind.name();
        if !self.kernels.contains(&kernel) {
            return Err(format!("kernel {kernel} of {name} is not among {:?}", self.kernels));
        }
        if !widths.contains(&width) {
            return Err(format!("width {width} is not among {widths:?}"));
        }
        // Lists hold the very numbers that codes have.
        let offered = match expansion {
            Some(factor) => self.expansions.iter().any(|known| known.to_bits() == factor.to_bits()),
            None => self.expansions.is_empty(),
        };
        if !offered {
            let given = expansion.map_or_else(|| "none".to_owned(), |factor| factor.to_string());
            return Err(format!("expansion {given} of {name} is not among {:?}", self.expansions));
        }
        Ok(Block { kind: self.kind, act: self.act, kernel, expansion, width, stride: 1, projects: true })
    }
}

/// The lists of a subnet code.
struct SubnetSizes {
    depths: Vec<usize>,
    kernels: Vec<usize>,
    widths: Vec<usize>,
    expansions: Vec<f64>,
    side: usize,
}

impl SubnetSizes {
    fn parse(text: &str) -> Result<Self> {
        let form = "expected d.._k.._w.._e.._r.., numbers joined by #";
        let refuse = || Error::bad_value("subnet", text, form);
        let parts: Vec<&str> = text.split('_').collect();
        let [d, k, w, e, r] = parts[..] else { return Err(refuse()) };
        let side = r.strip_prefix('r').and_then(|side| side.parse().ok()).ok_or_else(refuse)?;
        Ok(Self {
            depths: list(d, 'd').ok_or_else(refuse)?,
            kernels: list(k, 'k').ok_or_else(refuse)?,
            widths: list(w, 'w').ok_or_else(refuse)?,
            expansions: list(e, 'e').ok_or_else(refuse)?,
            side,
        })
    }
}

/// Numbers joined by `#` behind a letter.
fn list<T: FromStr>(text: &str, letter: char) -> Option<Vec<T>> {
    text.strip_prefix(letter)?.split('#').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extremes_of_a_space_enclose_a_network_of_it() {
        let small = Hyperspace::shipped("smallw").unwrap();
        let choices = small.choices().unwrap();
        for index in (0..choices.count()).step_by(997) {
            let code = SpaceCode::from(&choices.nth(index));
            let (least, most) = (small.smallest(&code).unwrap(), small.largest(&code).unwrap());
            assert!(least.parameter_count() < most.parameter_count() && least.input.h <= most.input.h, "{code}");
            assert!(least.layers.len() < most.layers.len(), "{code}");
        }
    }

    #[test]
    fn a_subnet_code_gives_its_network_and_what_is_not_offered_is_named() {
        let onnx = Hyperspace::shipped("onnxw").unwrap();
        let code = onnx.parse_code("151122-023231").unwrap();
        let text = "d1#1#2#2#2#2#2#1_k3#3#3#3#3#3#3#3#3#3#3#3#3_w16#16#32#32#64#64#112#112#144#144#240#240#320_\
                    e0#0.5#4.0#4.0#1.0#1.0#4.0#4.0#4.0#4.0#4.0#4.0#4.0_r160";
        let network = onnx.subnet(&code, text).unwrap();
        assert_eq!((network.model.as_str(), network.input.h), ("onnxw-151122-023231", 160));
        for (from, to, part) in [
            ("_k3#3#3", "_k3#3#9", "stage 1: kernel 9 of MBv2 is not among [3, 5]"),
            ("w16#16#32", "w16#16#64", "stage 1: width 64 is not among [32, 48]"),
            ("e0#0.5#4.0", "e0#0.5#3.0", "stage 1: expansion 3 of MBv2 is not among [4.0, 6.0, 8.0]"),
            ("d1#1#2#2#2#2#2#1", "d1#1#1#3#2#2#2#1", "stage 1: depth 1 is not among 2 to 4"),
            ("d1#1#2#2#2#2#2#1", "d1#1#3#2#2#2#2#1", "expected 14 kernels"),
            ("d1#1#2#2#2#2#2#1", "d1#1#2#2#2#2#2", "expected 8 depths"),
            ("w16#16", "w24#16", "the stem has widths [16, 32]"),
            ("_r160", "", "expected d.._k.._w.._e.._r.."),
        ] {
            let message = onnx.subnet(&code, &text.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
