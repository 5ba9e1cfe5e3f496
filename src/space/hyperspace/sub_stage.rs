//! One stage of a network of a hyperspace: what a table of blocks has a row of.

use rand::Rng;
use rand::seq::IndexedRandom;

use super::{BlockChoice, Hyperspace};
use crate::network::Block;

/// The blocks of a stage, and what they read.
#[derive(Clone, Debug, PartialEq)]
pub struct SubStage {
    /// Channels that the first block reads.
    pub c_in: usize,
    /// The blocks; the first has the stage's stride.
    pub blocks: Vec<Block>,
}

impl SubStage {
    /// Its blocks as a table writes them: `kernel#width#expansion`, joined by `_`.
    pub fn code(&self) -> String {
        let expansion = |block: &Block| block.expansion.map_or_else(|| "None".to_owned(), |factor| factor.to_string());
        let word = |block: &Block| format!("{}#{}#{}", block.kernel, block.width, expansion(block));
        self.blocks.iter().map(word).collect::<Vec<_>>().join("_")
    }
}

impl Hyperspace {
    /// Output channels that the stage in front of the one at this index may have.
    pub fn widths_before(&self, stage: usize) -> &[usize] {
        stage.checked_sub(1).map_or(&self.first.widths, |before| &self.stages[before].widths)
    }

    /// A stage drawn evenly: its depth, and of every block kernel, expansion and one of `widths`.
    ///
    /// # Panics
    /// When the hyperspace has no such stage or block type, or `widths` is empty.
    pub fn random_stage(&self, (stage, kind): (usize, usize), widths: &[usize], rng: &mut impl Rng) -> SubStage {
        let (choice, block, before) = (&self.stages[stage], &self.blocks[kind], self.widths_before(stage));
        let depths: Vec<usize> = (choice.depths.0..=choice.depths.1).collect();
        let c_in = before.choose(rng).copied().unwrap_or(before[0]);
        let depth = depths.choose(rng).copied().unwrap_or(1);
        let drawn = |number| {
            let kernel = block.kernels.choose(rng).copied().unwrap_or(block.kernels[0]);
            let width = widths.choose(rng).copied().unwrap_or(widths[0]);
            let expansion = block.expansions.choose(rng).copied();
            made(block, (kernel, width, expansion), if number == 0 { choice.stride } else { 1 })
        };
        SubStage { c_in, blocks: (0..depth).map(drawn).collect() }
    }

    /// The stage of the most or the least of everything that the whole list of widths gives.
    ///
    /// # Panics
    /// When the hyperspace has no such stage or block type.
    pub fn extreme_stage(&self, (stage, kind): (usize, usize), most: bool) -> SubStage {
        let (choice, block, before) = (&self.stages[stage], &self.blocks[kind], self.widths_before(stage));
        let end = |list: &[usize]| list[if most { list.len() - 1 } else { 0 }];
        let expansion = if most { block.expansions.last() } else { block.expansions.first() }.copied();
        let sizes = (end(&block.kernels), end(&choice.widths), expansion);
        let of = |number| made(block, sizes, if number == 0 { choice.stride } else { 1 });
        let depth = if most { choice.depths.1 } else { choice.depths.0 };
        SubStage { c_in: end(before), blocks: (0..depth).map(of).collect() }
    }
}

fn made(choice: &BlockChoice, (kernel, width, expansion): (usize, usize, Option<f64>), stride: usize) -> Block {
    Block { kind: choice.kind, act: choice.act, kernel, expansion, width, stride, projects: true }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::seed::Seed;

    #[test]
    fn drawn_stages_take_every_size_and_none_else() {
        let small = Hyperspace::shipped("smallw").unwrap();
        let mut rng = Seed::new(0).rng();
        // Stage 3 of FusedMB: depths 1 to 3, two kernels, three factors, a window of two widths.
        let window = small.stages[2].window(1);
        let drawn: Vec<SubStage> = (0..2000).map(|_| small.random_stage((2, 3), window, &mut rng)).collect();
        let firsts: HashSet<String> =
            drawn.iter().map(|stage| stage.code().split('_').next().unwrap().to_owned()).collect();
        // Each of 2 x 3 x 2 first blocks is missed with probability (11/12)^2000.
        assert_eq!(firsts.len(), 12);
        assert!(drawn.iter().all(|stage| (1..=3).contains(&stage.blocks.len()) && stage.blocks[0].stride == 2));
        let inputs: HashSet<usize> = drawn.iter().map(|stage| stage.c_in).collect();
        assert_eq!(inputs, HashSet::from([16, 24, 32, 40]));
        assert_eq!(small.extreme_stage((2, 3), true).code(), "5#80#4_5#80#4_5#80#4");
        assert_eq!(small.extreme_stage((0, 2), false).code(), "3#8#0.5");
        assert_eq!(small.extreme_stage((0, 2), false).c_in, 8);
    }
}
