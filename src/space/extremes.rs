//! The cheapest and the largest genome of a space.

use crate::error::Result;
use crate::genome::Choices;
use crate::genome::Genome;

use super::{Choice, Decision, Space};

impl Space {
    /// Number of options of each decision, as search algorithms take it.
    ///
    /// # Errors
    /// Never for a space that was made: it has decisions, and each has options.
    pub fn genome_choices(&self) -> Result<Choices> {
        Choices::new(self.choices())
    }

    /// Every decision at its widest format or largest size; the first listed of equal widths.
    pub fn widest(&self) -> Genome {
        self.extreme(|choice| -choice.rank())
    }

    /// Every decision at its narrowest format or smallest size; the first listed of equal widths.
    pub fn narrowest(&self) -> Genome {
        let genome = self.extreme(Choice::rank);
        Genome(self.canonical(&genome.0))
    }

    fn extreme(&self, rank: impl Fn(Choice) -> f64) -> Genome {
        let best = |decision: &Decision| {
            let ranked = decision.choices.iter().map(|choice| rank(*choice)).enumerate();
            ranked.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(option, _)| option as u8)
        };
        Genome(self.decisions().iter().map(best).collect())
    }

    /// Makes a genome meet `fits` by taking narrower formats and smaller sizes, one decision at a time in the order of `order`: each step
    /// moves the first decision that can still go down to its next narrower width. `None` when not even the narrowest fits.
    pub fn narrowed(&self, genome: &Genome, order: &[usize], fits: impl Fn(&Genome) -> bool) -> Option<Genome> {
        let mut genome = genome.clone();
        while !fits(&genome) {
            let (at, option) = order.iter().find_map(|&at| Some((at, self.next_narrower(at, genome.0[at])?)))?;
            genome.0[at] = option;
        }
        Some(genome)
    }

    fn next_narrower(&self, decision: usize, option: u8) -> Option<u8> {
        let choices = &self.decisions()[decision].choices;
        let rank = choices[usize::from(option)].rank();
        let below = choices.iter().map(|choice| choice.rank()).enumerate().filter(|(_, other)| *other < rank);
        below.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).map(|(other, _)| other as u8)
    }
}

#[cfg(test)]
mod tests {
    use crate::space::SpaceFile;

    use super::*;

    #[test]
    fn narrowing_ends_at_the_narrowest_and_keeps_what_fits() {
        let space = Space::new(SpaceFile::demo().unwrap()).unwrap();
        let order: Vec<usize> = (0..space.decisions().len()).collect();
        let widest = space.widest();
        assert_eq!(space.narrowed(&widest, &order, |_| true), Some(widest.clone()));
        assert_eq!(space.narrowed(&widest, &order, |_| false), None);
        let bits = |genome: &Genome| -> f64 {
            genome.0.iter().zip(space.decisions()).map(|(&gene, d)| d.choices[usize::from(gene)].rank()).sum()
        };
        let limit = (bits(&widest) + bits(&space.narrowest())) / 2.0;
        let middle = space.narrowed(&widest, &order, |genome| bits(genome) <= limit).unwrap();
        assert!(bits(&middle) <= limit && bits(&middle) + 8.0 > limit);
    }
}
