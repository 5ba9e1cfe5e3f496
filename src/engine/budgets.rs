//! Networks for budgets: what each choice harms is known, costs are sums, and the least harmful network within a budget is
//! found exactly; or, for comparison, by greedy steps.

use crate::cost::{Constraint, LinearCost, Metric, Part, Pricing, feasible_range, linear, with};
use crate::error::{Error, Result};
use crate::genome::Genome;
use crate::search::{Knapsack, Limit, Reach};
use crate::space::Space;

/// How often a budget is tightened after the network it gave costs more than the sum of its parts.
const TRIES: usize = 6;

/// The least harmful network within a budget, by the sums of what its parts do.
pub(super) struct Solver<'a> {
    space: &'a Space,
    pricing: &'a Pricing,
    parts: &'a [Part],
    losses: Vec<Vec<f64>>,
    limits: Vec<(Constraint, Vec<LinearCost>)>,
    objective: (Metric, Vec<LinearCost>),
}

impl<'a> Solver<'a> {
    /// `harm[decision][option]` is what an option does to the output.
    pub(super) fn new(
        space: &'a Space,
        pricing: &'a Pricing,
        parts: &'a [Part],
        harm: &[Vec<f64>],
        constraints: &[Constraint],
        objective: Metric,
    ) -> Self {
        let of_option = |part: &Part, option: &Vec<u8>| -> f64 {
            part.decisions.iter().zip(option).map(|(&at, &gene)| harm[at][usize::from(gene)]).sum()
        };
        let losses =
            parts.iter().map(|part| part.options.iter().map(|option| of_option(part, option)).collect()).collect();
        let costs = |metric| linear(space, pricing, parts, metric);
        let limits = constraints.iter().map(|&limit| (limit, costs(limit.metric))).collect();
        Self { space, pricing, parts, losses, limits, objective: (objective, costs(objective)) }
    }

    /// The network within `budget` of the objective, if there is one.
    ///
    /// # Errors
    /// The solver fails.
    pub(super) fn within(&self, budget: f64) -> Result<Option<Genome>> {
        let (metric, objective) = &self.objective;
        let own = Constraint { metric: *metric, limit: budget, strict: false };
        let all: Vec<(Constraint, &Vec<LinearCost>)> =
            self.limits.iter().map(|(limit, costs)| (*limit, costs)).chain([(own, objective)]).collect();
        // Parts may price one another a little (latency): then the limit is tightened by what the sum missed.
        let mut limits: Vec<f64> = all.iter().map(|(limit, _)| limit.limit).collect();
        for _ in 0..TRIES {
            let rows = all.iter().zip(&limits).flat_map(|((_, costs), &most)| rows(costs, most));
            let problem = Knapsack { losses: self.losses.clone(), limits: rows.collect() };
            let Some(chosen) = problem.solve()? else { return Ok(None) };
            let genome = self.genome(&chosen);
            let costs = self.pricing.costs(&self.space.network(&genome.0));
            let mut kept = true;
            for ((limit, _), most) in all.iter().zip(&mut limits) {
                let excess = limit.metric.of(&costs).unwrap_or_default() - limit.limit;
                if limit.violation(&costs) > 1e-9 {
                    kept = false;
                    *most -= excess.max(1e-6 * limit.limit) * 1.05;
                }
            }
            if kept {
                return Ok(Some(genome));
            }
        }
        Ok(None)
    }

    /// The least harmful networks for `steps` budgets of the objective, from the cheapest network's to the dearest's in even
    /// steps of its logarithm, without repeats.
    ///
    /// # Errors
    /// The objective has no value; the solver fails.
    pub(super) fn plan(&self, steps: usize) -> Result<Vec<Genome>> {
        let mut planned: Vec<Genome> = Vec::new();
        for budget in self.budgets(steps)? {
            if let Some(genome) = self.within(budget * (1.0 + 1e-9))?
                && !planned.contains(&genome)
            {
                planned.push(genome);
            }
        }
        Ok(planned)
    }

    fn budgets(&self, steps: usize) -> Result<impl Iterator<Item = f64>> {
        let reach = feasible_range(self.space, self.pricing, self.objective.0);
        let (low, high) = reach.ok_or_else(|| Error::Infeasible("the objective has no value here".into()))?;
        let last = steps.max(2) - 1;
        Ok((0..=last).map(move |step| low * (high / low).powf(step as f64 / last as f64)))
    }

    /// Greedy steps from the widest network: each takes the option that adds least harm for what it saves of the objective.
    /// All networks on the way that meet the limits, the widest first.
    pub(super) fn greedy(&self) -> Vec<Genome> {
        let saved =
            |part: usize, option: usize| -> f64 { self.objective.1.iter().map(|cost| -cost.adds[part][option]).sum() };
        let widest = self.space.widest().0;
        let at_widest = |part: &Part| part.options.iter().position(|option| with(&widest, part, option) == widest);
        let mut chosen: Vec<usize> = self.parts.iter().map(|part| at_widest(part).unwrap_or(0)).collect();
        let mut path = vec![self.genome(&chosen)];
        loop {
            let mut best: Option<(f64, usize, usize)> = None;
            for (part, losses) in self.losses.iter().enumerate() {
                for (option, loss) in losses.iter().enumerate() {
                    let gain = saved(part, option) - saved(part, chosen[part]);
                    let price = (loss - losses[chosen[part]]) / gain;
                    if gain > 0.0 && best.is_none_or(|(least, _, _)| price < least) {
                        best = Some((price, part, option));
                    }
                }
            }
            let Some((_, part, option)) = best else { break };
            chosen[part] = option;
            path.push(self.genome(&chosen));
        }
        let meets = |genome: &Genome| {
            let costs = self.pricing.costs(&self.space.network(&genome.0));
            self.limits.iter().all(|(limit, _)| limit.violation(&costs) <= 0.0)
        };
        path.retain(meets);
        path
    }

    fn genome(&self, chosen: &[usize]) -> Genome {
        let widest = self.space.widest().0;
        let parts = self.parts.iter().zip(chosen);
        Genome(parts.fold(widest, |genome, (part, &at)| with(&genome, part, &part.options[at])))
    }

    /// Why no budget has a network: for each limit what it can be, alone and within the others.
    ///
    /// # Errors
    /// The solver fails.
    pub(super) fn conflict(&self) -> Result<String> {
        let named = self.limits.iter().flat_map(|(limit, costs)| costs.iter().map(move |cost| (limit, cost)));
        let limits = self.limits.iter().flat_map(|(limit, costs)| rows(costs, limit.limit));
        let reach = Knapsack { losses: self.losses.clone(), limits: limits.collect() }.reach()?;
        let line = |((limit, cost), reach): ((&Constraint, &LinearCost), &Reach)| {
            let (least, most) = (reach.least + cost.rest, reach.most + cost.rest);
            let within = match reach.least_within_others {
                Some(least) => format!("within the other limits at least {:.6}", least + cost.rest),
                None => "no network is within the other limits".to_owned(),
            };
            format!("  {limit}: {least:.6} to {most:.6}; {within}")
        };
        let lines: Vec<String> = named.zip(&reach).map(line).collect();
        Ok(format!("no network is within all limits together:\n{}", lines.join("\n")))
    }
}

/// A metric's limit as limits on sums over the parts.
fn rows(costs: &[LinearCost], most: f64) -> impl Iterator<Item = Limit> {
    costs.iter().map(move |cost| Limit { weights: cost.adds.clone(), most: most - cost.rest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::parts;
    use crate::ron_text;

    fn space() -> Space {
        let text = "(model: \"resnet8\", width: 0.25, resolution: 8, channels: 1, classes: 3, formats: [\"int2\", \"int4\", \"int8\"])";
        Space::new(ron_text::parse(text, "x.ron").unwrap()).unwrap()
    }

    /// Harms that fall with the bits, each decision with its own weight.
    fn harm(space: &Space) -> Vec<Vec<f64>> {
        let of = |(at, options): (usize, u8)| {
            (0..options).map(|gene| (1.0 + (at * 7 % 5) as f64) * 0.2_f64.powi(i32::from(gene))).collect()
        };
        space.choices().into_iter().enumerate().map(of).collect()
    }

    #[test]
    fn no_greedy_network_harms_less_than_the_solved_one_of_its_cost() {
        let (space, pricing) = (space(), Pricing::default());
        let (parts, harm) = (parts(&space).unwrap(), harm(&space));
        let solver = Solver::new(&space, &pricing, &parts, &harm, &[], Metric::Gbops);
        let sum = |genome: &Genome| -> f64 {
            genome.0.iter().enumerate().map(|(at, &gene)| harm[at][usize::from(gene)]).sum()
        };
        let cost = |genome: &Genome| Metric::Gbops.of(&pricing.costs(&space.network(&genome.0))).unwrap();
        let path = solver.greedy();
        assert_eq!(path.first().unwrap().0, space.widest().0);
        assert_eq!(path.last().unwrap().0, space.narrowest().0);
        assert!(path.windows(2).all(|pair| cost(&pair[1]) < cost(&pair[0])));
        for genome in &path {
            let solved = solver.within(cost(genome) * (1.0 + 1e-9)).unwrap().unwrap();
            assert!(sum(&solved) <= sum(genome) + 1e-9 && cost(&solved) <= cost(genome) * (1.0 + 1e-6), "{genome}");
        }
        let planned = solver.plan(12).unwrap();
        assert!(planned.len() > 5 && planned.windows(2).all(|pair| sum(&pair[1]) <= sum(&pair[0]) + 1e-9));
    }

    #[test]
    fn a_conflict_names_every_limit_with_its_range() {
        let (space, pricing) = (space(), Pricing::default());
        let (parts, harm) = (parts(&space).unwrap(), harm(&space));
        let limits = ["gbops<=1e-9", "size_mb<=1"].map(|text| text.parse::<Constraint>().unwrap());
        let solver = Solver::new(&space, &pricing, &parts, &harm, &limits, Metric::Gbops);
        assert!(solver.plan(4).unwrap().is_empty());
        let text = solver.conflict().unwrap();
        let range = feasible_range(&space, &pricing, Metric::Gbops).unwrap();
        assert!(text.contains(&format!("gbops<=0.000000001: {:.6} to {:.6}", range.0, range.1)), "{text}");
        assert!(text.contains("size_mb<=1") && text.contains("no network is within the other limits"), "{text}");
    }
}
