//! One option for each part, the least total loss, any number of linear limits: the multiple-choice knapsack, solved exactly.

use microlp::{ComparisonOp, OptimizationDirection, Problem, Variable};

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

impl Knapsack {
    /// The options with the least total loss within all limits, proved by branch and bound; `None` when no choice meets
    /// them.
    ///
    /// # Errors
    /// The solver fails (numbers that are not finite, or of very different sizes).
    pub fn solve(&self) -> Result<Option<Vec<usize>>> {
        if self.losses.iter().any(Vec::is_empty) {
            return Ok(None);
        }
        let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("the budget solver failed: {error}"));
        let largest = largest(&self.losses);
        let mut problem = Problem::new(OptimizationDirection::Minimize);
        let mut variable = |loss: &f64| problem.add_binary_var(loss / largest);
        let variables: Vec<Vec<Variable>> =
            self.losses.iter().map(|options| options.iter().map(&mut variable).collect::<Vec<_>>()).collect();
        for options in &variables {
            problem.add_constraint(options.iter().map(|&it| (it, 1.0)).collect::<Vec<_>>(), ComparisonOp::Eq, 1.0);
        }
        for limit in &self.limits {
            // What every option of a part adds alike is no choice: taken off both sides, which leaves numbers of one size.
            let least: Vec<f64> =
                limit.weights.iter().map(|own| own.iter().copied().fold(f64::INFINITY, f64::min)).collect();
            let room = limit.most - least.iter().sum::<f64>();
            let scale = largest_over(&limit.weights, &least).max(f64::MIN_POSITIVE);
            let terms = variables.iter().zip(&limit.weights).zip(&least).flat_map(|((own, weights), least)| {
                own.iter().zip(weights).map(move |(&it, weight)| (it, (weight - least) / scale))
            });
            if room < 0.0 {
                return Ok(None);
            }
            problem.add_constraint(terms.collect::<Vec<_>>(), ComparisonOp::Le, room / scale);
        }
        let outcome = match problem.solve() {
            Err(microlp::Error::Infeasible) => return Ok(None),
            outcome => outcome.map_err(|error| failed(&error))?,
        };
        let solution = outcome.into_solution().map_err(|_| failed(&"no solution in time"))?;
        let chosen = |own: &Vec<Variable>| {
            let value = |at: &usize| solution.var_value(own[*at]);
            (0..own.len()).max_by(|a, b| value(a).total_cmp(&value(b))).unwrap_or(0)
        };
        Ok(Some(variables.iter().map(chosen).collect()))
    }

    /// Total loss of a choice.
    pub fn loss(&self, chosen: &[usize]) -> f64 {
        self.losses.iter().zip(chosen).map(|(options, &at)| options[at]).sum()
    }
}

fn largest(values: &[Vec<f64>]) -> f64 {
    values.iter().flatten().fold(0_f64, |top, value| top.max(value.abs())).max(f64::MIN_POSITIVE)
}

fn largest_over(values: &[Vec<f64>], least: &[f64]) -> f64 {
    let over = values.iter().zip(least).flat_map(|(own, least)| own.iter().map(move |value| value - least));
    over.fold(0.0, f64::max)
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

    #[test]
    fn limits_out_of_reach_have_no_choice() {
        let limit = Limit { weights: vec![vec![2.0, 3.0]; 3], most: 5.9 };
        let problem = Knapsack { losses: vec![vec![1.0, 0.0]; 3], limits: vec![limit] };
        assert_eq!(problem.solve().unwrap(), None);
    }
}
