//! NSGA-II: the elitist genetic algorithm for several objectives.
//!
//! Reference: Deb, Pratap, Agarwal, Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE
//! Transactions on Evolutionary Computation 6(2), 2002. Parents win binary tournaments by (front, crowding); of parents
//! and children together the best fronts survive, the last one cut by crowding. Limits act by constrained dominance.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::error::Error;
use crate::error::Result;
use crate::genome::Choices;
use crate::genome::Genome;
use crate::pareto::Scored;
use crate::pareto::crowding;
use crate::pareto::fronts;

use super::Algorithm;
use super::Evaluated;
use super::Proposal;
use super::fresh::Fresh;

/// Share of the children that have two parents (the paper's 0.9); the others are mutants of one.
const CROSSOVER_RATE: f64 = 0.9;

/// NSGA-II. A genome is never proposed twice while others can be found.
#[derive(Clone, Debug)]
pub struct Nsga2 {
    fresh: Fresh,
    population: usize,
    first: Vec<Genome>,
    alive: Vec<Member>,
}

/// A member of the population and its standing in it.
#[derive(Clone, Debug)]
struct Member {
    evaluated: Evaluated,
    front: usize,
    crowding: f64,
}

impl Nsga2 {
    /// NSGA-II over `choices` with mutation rate 1 / decisions.
    ///
    /// # Errors
    /// If the population is below 2.
    pub fn new(choices: Choices, population: usize) -> Result<Self> {
        if population < 2 {
            return Err(Error::bad_value("population", population, "expected at least 2"));
        }
        Ok(Self { fresh: Fresh::new(choices), population, first: Vec::new(), alive: Vec::new() })
    }

    /// Puts `first` (say, the uniform networks) at the head of the first generation; random genomes fill it up.
    ///
    /// # Errors
    /// If a genome does not fit the choices.
    pub fn starting_with(mut self, first: Vec<Genome>) -> Result<Self> {
        if let Some(wrong) = first.iter().find(|genome| !self.fresh.choices().contains(genome)) {
            let options = self.fresh.choices().options();
            return Err(Error::bad_value("genome", wrong, format!("expected options below {options:?}")));
        }
        self.first = first;
        Ok(self)
    }

    fn first_generation(&mut self, rng: &mut ChaCha8Rng) -> Vec<Genome> {
        let mut genomes = std::mem::take(&mut self.first);
        genomes.retain(|genome| self.fresh.insert(genome));
        while genomes.len() < self.population {
            match self.fresh.random(rng) {
                Some(genome) => genomes.push(genome),
                None => break,
            }
        }
        genomes
    }
}

impl Algorithm for Nsga2 {
    fn name(&self) -> &'static str {
        "nsga2"
    }

    fn ask(&mut self, rng: &mut ChaCha8Rng) -> Vec<Proposal> {
        if self.alive.is_empty() {
            let genomes = self.first_generation(rng);
            return genomes.into_iter().map(|genome| Proposal { genome, parent: None }).collect();
        }
        let alive = &self.alive;
        let mut children = Vec::with_capacity(self.population);
        while children.len() < self.population {
            let Some((genome, parent)) = self.fresh.derived(rng, |choices, rng| child(alive, choices, rng)) else {
                break;
            };
            children.push(Proposal { genome, parent });
        }
        children
    }

    fn tell(&mut self, evaluated: &[Evaluated]) -> Result<()> {
        let parents = std::mem::take(&mut self.alive).into_iter().map(|member| member.evaluated);
        self.alive = survivors(parents.chain(evaluated.iter().cloned()).collect(), self.population)?;
        Ok(())
    }
}

/// A mutated crossover of two tournament winners, and the id of the first of them.
fn child(alive: &[Member], choices: &Choices, rng: &mut ChaCha8Rng) -> (Genome, Option<usize>) {
    let first = tournament(alive, rng);
    let mixed = if rng.random_bool(CROSSOVER_RATE) {
        choices.crossover(&first.genome, &tournament(alive, rng).genome, rng)
    } else {
        first.genome.clone()
    };
    (choices.mutate(&mixed, 1.0 / choices.options().len() as f64, rng), Some(first.id))
}

/// The better of two members drawn at random: earlier front, then more room around it.
fn tournament<'a>(alive: &'a [Member], rng: &mut ChaCha8Rng) -> &'a Evaluated {
    let a = &alive[rng.random_range(0..alive.len())];
    let b = &alive[rng.random_range(0..alive.len())];
    let b_wins = b.front < a.front || (b.front == a.front && b.crowding > a.crowding);
    &(if b_wins { b } else { a }).evaluated
}

/// The best `room` of `everyone`: whole fronts while they fit, then the least crowded of the next one.
fn survivors(everyone: Vec<Evaluated>, room: usize) -> Result<Vec<Member>> {
    let scored: Vec<Scored> = everyone.iter().map(Evaluated::scored).collect();
    let mut alive = Vec::with_capacity(room);
    for (front, places) in fronts(&scored)?.into_iter().enumerate() {
        let objectives: Vec<&[f64]> = places.iter().map(|&place| everyone[place].objectives.as_slice()).collect();
        let mut members: Vec<Member> = places
            .iter()
            .zip(crowding(&objectives))
            .map(|(&place, crowding)| Member { evaluated: everyone[place].clone(), front, crowding })
            .collect();
        members.sort_by(|a, b| b.crowding.total_cmp(&a.crowding));
        members.truncate(room - alive.len());
        alive.extend(members);
        if alive.len() == room {
            break;
        }
    }
    Ok(alive)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::seed::Seed;

    fn member(id: usize, objectives: [f64; 2]) -> Evaluated {
        Evaluated { id, genome: Genome(vec![id as u8]), objectives: objectives.to_vec(), violation: 0.0 }
    }

    #[test]
    fn survival_keeps_whole_fronts_and_then_the_least_crowded() {
        // Front 0: 0 and 1. Front 1: 2, 3, 4, 5 on a line; its ends 2 and 5 stay, then 4, which has more room than 3.
        let everyone = vec![
            member(0, [0.0, 5.0]),
            member(1, [5.0, 0.0]),
            member(2, [1.0, 11.0]),
            member(3, [2.0, 10.0]),
            member(4, [4.0, 8.0]),
            member(5, [11.0, 1.0]),
        ];
        let ids = |room| -> BTreeSet<usize> {
            survivors(everyone.clone(), room).unwrap().iter().map(|m| m.evaluated.id).collect()
        };
        assert_eq!(ids(2), [0, 1].into());
        assert_eq!(ids(4), [0, 1, 2, 5].into());
        assert_eq!(ids(5), [0, 1, 2, 4, 5].into());
        assert_eq!(ids(9).len(), 6);
    }

    #[test]
    fn the_first_generation_begins_with_the_given_genomes_without_repeats() {
        let choices = Choices::new(vec![4; 4]).unwrap();
        let given = vec![Genome(vec![3; 4]), Genome(vec![0; 4]), Genome(vec![3; 4])];
        let mut search = Nsga2::new(choices, 6).unwrap().starting_with(given).unwrap();
        let asked: Vec<Genome> = search.ask(&mut Seed::new(0).rng()).into_iter().map(|p| p.genome).collect();
        assert_eq!(asked[..2], [Genome(vec![3; 4]), Genome(vec![0; 4])]);
        assert_eq!(asked.iter().collect::<BTreeSet<_>>().len(), 6);
    }

    #[test]
    fn unusable_settings_are_refused() {
        let choices = Choices::new(vec![2; 3]).unwrap();
        assert!(Nsga2::new(choices.clone(), 1).is_err());
        let error = Nsga2::new(choices, 4).unwrap().starting_with(vec![Genome(vec![0, 2, 0])]).unwrap_err();
        assert!(error.to_string().contains("0-2-0"));
    }
}
