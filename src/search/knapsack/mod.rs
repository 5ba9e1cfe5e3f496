//! One option for each part, the least total loss, any number of linear limits: the multiple-choice knapsack, solved exactly.

mod branch;
mod core;
mod random;

pub use random::{Kind, random_problem};

use self::branch::Branch;
use self::core::Core;
use crate::error::{Error, Result};

/// A limit on a sum over the parts.
#[derive(Clone, Debug)]
pub struct Limit {
    /// What each option of each part adds.
    pub weights: Vec<Vec<f64>>,
    /// The most that the sum may be.
    pub most: f64,
}

/// A problem: `losses[part][option]`, of each part exactly one option is taken.
#[derive(Clone, Debug, Default)]
pub struct Knapsack {
    /// What each option of each part costs in accuracy.
    pub losses: Vec<Vec<f64>>,
    /// The limits.
    pub limits: Vec<Limit>,
}

/// What the sum of a limit can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reach {
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
    /// The least within all other limits; `None` when those have no choice in common.
    pub least_within_others: Option<f64>,
}

impl Knapsack {
    /// The options with the least total loss within all limits, proved by branch and bound; `None` when no choice meets
    /// them.
    ///
    /// # Errors
    /// A number that is not finite; the user interrupts.
    pub fn solve(&self) -> Result<Option<Vec<usize>>> {
        let weights = self.limits.iter().flat_map(|limit| &limit.weights);
        let mut numbers =
            self.losses.iter().chain(weights).flatten().chain(self.limits.iter().map(|limit| &limit.most));
        if let Some(wrong) = numbers.find(|number| !number.is_finite()) {
            return Err(Error::Failed(format!("the budget solver met the number {wrong}")));
        }
        let Some(core) = Core::of(self) else { return Ok(None) };
        let Some(chosen) = Branch::solve(&core)? else { return Ok(None) };
        Ok(Some(core.parts.iter().zip(chosen).map(|(part, at)| part.names[at]).collect()))
    }

    /// Total loss of a choice.
    pub fn loss(&self, chosen: &[usize]) -> f64 {
        sum(&self.losses, chosen)
    }

    /// What each limit's sum can be, for saying why nothing is within them.
    ///
    /// # Errors
    /// As [`Knapsack::solve`].
    pub fn reach(&self) -> Result<Vec<Reach>> {
        let of = |(at, limit): (usize, &Limit)| {
            let end = |pick: fn(f64, f64) -> f64, from: f64| -> f64 {
                limit.weights.iter().map(|own| own.iter().copied().fold(from, pick)).sum()
            };
            let mut limits = self.limits.clone();
            limits.remove(at);
            let found = Self { losses: limit.weights.clone(), limits }.solve()?;
            let least_within_others = found.map(|chosen| sum(&limit.weights, &chosen));
            let (least, most) = (end(f64::min, f64::INFINITY), end(f64::max, f64::NEG_INFINITY));
            Ok(Reach { least, most, least_within_others })
        };
        self.limits.iter().enumerate().map(of).collect()
    }
}

fn sum(values: &[Vec<f64>], chosen: &[usize]) -> f64 {
    values.iter().zip(chosen).map(|(options, &at)| options[at]).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The least loss by trying every choice.
    fn brute_force(problem: &Knapsack) -> Option<f64> {
        let mut best: Option<f64> = None;
        let mut chosen = vec![0; problem.losses.len()];
        loop {
            let sum = |limit: &Limit| limit.weights.iter().zip(&chosen).map(|(own, &at)| own[at]).sum::<f64>();
            if problem.limits.iter().all(|limit| sum(limit) <= limit.most) {
                let loss = problem.loss(&chosen);
                best = Some(best.map_or(loss, |known| known.min(loss)));
            }
            let Some(place) = (0..chosen.len()).find(|&at| chosen[at] + 1 < problem.losses[at].len()) else {
                return best;
            };
            chosen[..place].fill(0);
            chosen[place] += 1;
        }
    }

    fn numbers(count: usize, parts: usize) -> impl Strategy<Value = Vec<Vec<f64>>> {
        proptest::collection::vec(proptest::collection::vec(0.01_f64..10.0, count), parts)
    }

    proptest! {
        #[test]
        fn the_optimum_is_brute_forces(
            losses in numbers(4, 5), first in numbers(4, 5), second in numbers(4, 5), third in numbers(4, 5),
            shares in proptest::collection::vec(0.05_f64..1.0, 3),
        ) {
            let limit = |(weights, share): (Vec<Vec<f64>>, &f64)| Limit { most: 50.0 * share, weights };
            let limits = [first, second, third].into_iter().zip(&shares).map(limit).collect();
            let problem = Knapsack { losses, limits };
            let (found, best) = (problem.solve().unwrap(), brute_force(&problem));
            prop_assert_eq!(found.is_some(), best.is_some());
            if let (Some(found), Some(best)) = (found, best) {
                prop_assert!((problem.loss(&found) - best).abs() < 1e-6, "{} is not {best}", problem.loss(&found));
            }
        }
    }

    #[test]
    fn nineteen_layers_agree_with_dynamic_programming() {
        // Nineteen layers at 4 or 8 bits: small enough for an exact table over whole units of size.
        let losses: Vec<Vec<f64>> =
            (0..19).map(|at| vec![f64::from(at * 7 % 13) + 0.5, f64::from(at * 3 % 5) * 0.01]).collect();
        let sizes: Vec<Vec<f64>> = (0..19).map(|at| vec![f64::from(1 + at % 6), f64::from(2 * (1 + at % 6))]).collect();
        for most in [70_usize, 80, 100, 130] {
            let mut table = vec![f64::INFINITY; most + 1];
            table[0] = 0.0;
            for (losses, sizes) in losses.iter().zip(&sizes) {
                let mut next = vec![f64::INFINITY; most + 1];
                for (room, known) in table.iter().enumerate() {
                    for (loss, size) in losses.iter().zip(sizes) {
                        let at = room + *size as usize;
                        if at <= most {
                            next[at] = next[at].min(known + loss);
                        }
                    }
                }
                table = next;
            }
            let best = table.into_iter().fold(f64::INFINITY, f64::min);
            let problem =
                Knapsack { losses: losses.clone(), limits: vec![Limit { weights: sizes.clone(), most: most as f64 }] };
            let found = problem.solve().unwrap();
            assert_eq!(found.is_some(), best.is_finite(), "{most}");
            if let Some(found) = found {
                assert!((problem.loss(&found) - best).abs() < 1e-9, "{most}");
            }
        }
    }

    /// The least loss by the integer program of another solver.
    fn integer_program(problem: &Knapsack) -> Option<f64> {
        use microlp::{ComparisonOp, OptimizationDirection, Problem, Variable};
        let mut program = Problem::new(OptimizationDirection::Minimize);
        let mut variable = |loss: &f64| program.add_binary_var(*loss);
        let variables: Vec<Vec<Variable>> =
            problem.losses.iter().map(|own| own.iter().map(&mut variable).collect()).collect();
        for own in &variables {
            program.add_constraint(own.iter().map(|&it| (it, 1.0)).collect::<Vec<_>>(), ComparisonOp::Eq, 1.0);
        }
        for limit in &problem.limits {
            let terms = variables.iter().zip(&limit.weights).flat_map(|(own, weights)| own.iter().zip(weights));
            let terms: Vec<(Variable, f64)> = terms.map(|(&it, &weight)| (it, weight / limit.most)).collect();
            program.add_constraint(terms, ComparisonOp::Le, 1.0);
        }
        program.solve().ok().and_then(|outcome| outcome.into_solution().ok()).map(|solution| solution.objective())
    }

    #[test]
    fn random_problems_agree_with_an_integer_program() {
        for kind in [Kind::Formats, Kind::Independent] {
            for seed in 0..12 {
                let mut rng = crate::seed::Seed::new(seed).rng();
                let problem = random_problem(kind, (10, 5, 1 + seed as usize % 4), &mut rng);
                let found = problem.solve().unwrap().map(|chosen| problem.loss(&chosen));
                match (found, integer_program(&problem)) {
                    (Some(found), Some(best)) => {
                        let scale = problem.losses.iter().flatten().copied().fold(0.0, f64::max);
                        assert!((found - best).abs() < 1e-6 * scale, "{kind:?} {seed}: {found} is not {best}");
                    }
                    (found, best) => assert_eq!(found.is_some(), best.is_some(), "{kind:?} {seed}"),
                }
            }
        }
    }

    #[test]
    fn many_layers_are_solved_within_their_limits() {
        let mut rng = crate::seed::Seed::new(3).rng();
        let problem = random_problem(Kind::Formats, (50, 8, 4), &mut rng);
        let chosen = problem.solve().unwrap().unwrap();
        for limit in &problem.limits {
            assert!(sum(&limit.weights, &chosen) <= limit.most);
        }
    }

    #[test]
    fn the_reach_says_which_limits_exclude_one_another() {
        // The first option is light in one limit, the second in the other: each limit alone has a choice, both have none.
        let light_first = vec![vec![1.0, 3.0]; 2];
        let light_second = vec![vec![3.0, 1.0]; 2];
        let limits = vec![Limit { weights: light_first, most: 3.0 }, Limit { weights: light_second, most: 3.0 }];
        let problem = Knapsack { losses: vec![vec![0.0, 0.0]; 2], limits };
        assert_eq!(problem.solve().unwrap(), None);
        let reach = Reach { least: 2.0, most: 6.0, least_within_others: Some(6.0) };
        assert_eq!(problem.reach().unwrap(), [reach, reach]);
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        let problem = Knapsack { losses: vec![vec![f64::NAN, 0.0]], limits: Vec::new() };
        assert!(problem.solve().unwrap_err().to_string().contains("NaN"));
    }

    #[test]
    fn limits_out_of_reach_have_no_choice() {
        let limit = Limit { weights: vec![vec![2.0, 3.0]; 3], most: 5.9 };
        let problem = Knapsack { losses: vec![vec![1.0, 0.0]; 3], limits: vec![limit] };
        assert_eq!(problem.solve().unwrap(), None);
    }
}
