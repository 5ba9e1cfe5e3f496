//! One space of a hyperspace: its code, and what is near it.

use std::fmt;

use rand::Rng;

use super::Hyperspace;
use crate::error::{Error, Result};
use crate::genome::{Choices, Genome};

/// Base of a code's digits: 0 to 9, then a to z.
const BASE: u32 = 36;

/// One space: for every stage the number of its block type and that of its window of widths, written as digits
/// (`122222-155400`: MBv2 then MBv3 five times of `mobilew`, and six windows).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceCode {
    /// Block type of each stage.
    pub blocks: Vec<u8>,
    /// Window of each stage.
    pub windows: Vec<u8>,
}

impl fmt::Display for SpaceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = |list: &[u8]| list.iter().map(|&n| char::from_digit(u32::from(n), BASE).unwrap_or('?')).collect();
        let (blocks, windows): (String, String) = (digits(&self.blocks), digits(&self.windows));
        f.pad(&format!("{blocks}-{windows}"))
    }
}

impl From<&Genome> for SpaceCode {
    /// The space of a genome: the block types of all stages, then their windows.
    fn from(genome: &Genome) -> Self {
        let (blocks, windows) = genome.0.split_at(genome.0.len() / 2);
        Self { blocks: blocks.to_vec(), windows: windows.to_vec() }
    }
}

impl From<&SpaceCode> for Genome {
    fn from(code: &SpaceCode) -> Self {
        Self(code.blocks.iter().chain(&code.windows).copied().collect())
    }
}

impl Hyperspace {
    /// What a space chooses, as decisions: the block types of all stages, then their windows.
    ///
    /// # Errors
    /// None for a checked hyperspace.
    pub fn choices(&self) -> Result<Choices> {
        let types = self.stages.iter().map(|_| self.blocks.len() as u8);
        Choices::new(types.chain(self.stages.iter().map(|stage| stage.windows() as u8)).collect())
    }

    /// Number of spaces.
    pub fn count(&self) -> u128 {
        self.stages.iter().fold(1, |count, stage| count * (self.blocks.len() * stage.windows()) as u128)
    }

    /// Number of stages with a block type and a window: the files of a table of all blocks.
    pub fn cells(&self) -> usize {
        self.stages.iter().map(|stage| self.blocks.len() * stage.windows()).sum()
    }

    /// Name of the last file of a table of all blocks.
    pub fn last_file(&self) -> String {
        let windows = self.stages.last().map_or(0, |stage| stage.windows());
        format!("stage{}_{}_{}.csv", self.stages.len(), self.blocks.len() - 1, windows - 1)
    }

    /// The space of a code; the hyperspace's name may stand before it, as in the authors' files.
    ///
    /// # Errors
    /// A code of another length, or with a digit that the hyperspace does not have.
    pub fn parse_code(&self, text: &str) -> Result<SpaceCode> {
        let count = self.stages.len();
        let refuse = |why: String| Error::bad_value("space code", text, why);
        let shape = || refuse(format!("expected {count} digits, `-`, {count} digits, as in {}", self.example()));
        let own = text.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('-')).unwrap_or(text);
        let (blocks, windows) = own.split_once('-').ok_or_else(shape)?;
        let digits = |part: &str| -> Option<Vec<u8>> {
            part.chars().map(|c| c.to_digit(BASE).map(|digit| digit as u8)).collect()
        };
        let code = SpaceCode { blocks: digits(blocks).ok_or_else(shape)?, windows: digits(windows).ok_or_else(shape)? };
        if code.blocks.len() != count || code.windows.len() != count {
            return Err(shape());
        }
        let options = code.blocks.iter().map(|_| self.blocks.len()).chain(self.stages.iter().map(|s| s.windows()));
        for (place, (&digit, options)) in code.blocks.iter().chain(&code.windows).zip(options).enumerate() {
            if usize::from(digit) >= options {
                let what = if place < count { "block types" } else { "windows" };
                let stage = place % count + 1;
                return Err(refuse(format!("stage {stage} of {} has {what} 0 to {}", self.name, options - 1)));
            }
        }
        Ok(code)
    }

    fn example(&self) -> String {
        let zeros = vec![0; self.stages.len()];
        SpaceCode { blocks: zeros.clone(), windows: zeros }.to_string()
    }

    /// Every uniform space: one block type in all stages, one window number, or the last one that a stage has.
    pub fn uniform(&self) -> Vec<SpaceCode> {
        let most = self.stages.iter().map(|stage| stage.windows()).max().unwrap_or(0);
        let of = |kind: usize, window: usize| SpaceCode {
            blocks: vec![kind as u8; self.stages.len()],
            windows: self.stages.iter().map(|stage| window.min(stage.windows() - 1) as u8).collect(),
        };
        (0..self.blocks.len()).flat_map(|kind| (0..most).map(move |window| of(kind, window))).collect()
    }
}

/// The two children of a space (the released search): one stage of another block type, and one with another window.
/// `choices` are the hyperspace's; a child is missing where no stage has a second option.
pub fn children(choices: &Choices, parent: &Genome, rng: &mut impl Rng) -> Vec<Genome> {
    let stages = parent.0.len() / 2;
    let halves = [0..stages, stages..2 * stages];
    halves.into_iter().filter_map(|half| choices.with_one_moved(parent, half, rng)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::seed::Seed;

    #[test]
    fn every_code_of_the_small_hyperspace_returns_as_it_was_written() {
        let small = Hyperspace::shipped("smallw").unwrap();
        let choices = small.choices().unwrap();
        assert_eq!(choices.count(), small.count());
        let mut seen = HashSet::new();
        for index in 0..choices.count() {
            let genome = choices.nth(index);
            let code = SpaceCode::from(&genome);
            assert_eq!(small.parse_code(&code.to_string()).unwrap(), code);
            assert_eq!(Genome::from(&code), genome);
            assert!(seen.insert(code.to_string()));
        }
    }

    #[test]
    fn published_codes_parse_with_and_without_their_hyperspace() {
        let mobile = Hyperspace::shipped("mobilew").unwrap();
        let code = mobile.parse_code("mobilew-332160-134200").unwrap();
        assert_eq!(code, SpaceCode { blocks: vec![3, 3, 2, 1, 6, 0], windows: vec![1, 3, 4, 2, 0, 0] });
        assert_eq!(mobile.parse_code("332160-134200").unwrap(), code);
        for (wrong, part) in [
            ("332160", "expected 6 digits"),
            ("33216-134200", "expected 6 digits"),
            ("33216x-134200", "stage 6 of mobilew has block types 0 to 6"),
            ("332160-234200", "stage 1 of mobilew has windows 0 to 1"),
            ("onnxw-332160-134200", "expected 6 digits"),
            ("33216é-134200", "expected 6 digits"),
        ] {
            let message = mobile.parse_code(wrong).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn children_differ_in_one_block_type_and_one_window_and_stay_inside() {
        for name in Hyperspace::names() {
            let choices = Hyperspace::shipped(name).unwrap().choices().unwrap();
            let stages = choices.options().len() / 2;
            let mut rng = Seed::new(0).rng();
            for _ in 0..2000 {
                let parent = choices.random(&mut rng);
                let made = children(&choices, &parent, &mut rng);
                assert_eq!(made.len(), 2);
                for (half, child) in made.iter().enumerate() {
                    assert!(choices.contains(child), "{child}");
                    let moved: Vec<usize> = (0..2 * stages).filter(|&i| child.0[i] != parent.0[i]).collect();
                    assert_eq!(moved.len(), 1);
                    assert_eq!(moved[0] / stages, half);
                }
            }
        }
    }

    #[test]
    fn uniform_spaces_are_the_authors_49_and_24() {
        for (name, count) in [("mobilew", 49), ("onnxw", 24)] {
            let space = Hyperspace::shipped(name).unwrap();
            let uniform = space.uniform();
            assert_eq!(uniform.len(), count);
            assert!(uniform.iter().all(|code| space.parse_code(&code.to_string()).is_ok()));
        }
        let mobile = Hyperspace::shipped("mobilew").unwrap();
        assert!(mobile.uniform().iter().any(|code| code.to_string() == "222222-155643"));
    }
}
