//! Branch and bound for the multiple-choice knapsack, with bounds from Lagrangian relaxation.
//!
//! With a price on every limit the parts choose alone, and what they then pay is a lower bound (Fisher 1981, "The
//! Lagrangian relaxation method for solving integer programming problems"). The prices follow the subgradient by Polyak's
//! step, to where the bound is that of the linear program. An option that pays so much more than its part's cheapest that the
//! bound would pass the best known loss is in no better choice, and goes. What is left is split at the part that the prices
//! leave least decided.

use super::core::{Core, Part};
use crate::error::{Error, Result};

/// Steps of the prices: at the root, and at every later node, which begins with its parent's.
const ROOT_STEPS: usize = 600;
const NODE_STEPS: usize = 16;

/// By what share of the best known loss a choice must be better to count.
const TOLERANCE: f64 = 1e-10;

/// The search for the least loss.
pub(super) struct Branch<'a> {
    core: &'a Core,
    best: Option<Vec<usize>>,
    best_loss: f64,
}

/// What the parts choose under some prices.
struct Relaxed {
    /// The lower bound.
    bound: f64,
    /// The prices.
    prices: Vec<f64>,
    /// How often each part chose each option, by place among those alive.
    counts: Vec<Vec<u32>>,
}

/// Options left to each part, by their places in the core.
type Alive = Vec<Vec<u32>>;

impl<'a> Branch<'a> {
    /// The choice with the least loss, by places in the core; `None` when none meets the limits.
    ///
    /// # Errors
    /// The user interrupts.
    pub(super) fn solve(core: &'a Core) -> Result<Option<Vec<usize>>> {
        let most: f64 = core.parts.iter().map(|part| part.losses.iter().copied().fold(0.0, f64::max)).sum();
        let mut search = Self { core, best: None, best_loss: most + 1.0 };
        let alive = core.parts.iter().map(|part| (0..part.names.len() as u32).collect()).collect();
        search.explore(alive, vec![0.0; core.rooms.len()], ROOT_STEPS)?;
        Ok(search.best)
    }

    fn explore(&mut self, mut alive: Alive, mut prices: Vec<f64>, mut steps: usize) -> Result<()> {
        if crate::interrupt::requested() {
            return Err(Error::Interrupted(": the budget solver was not done".into()));
        }
        let counts = loop {
            if !self.fit(&mut alive) {
                return Ok(());
            }
            if alive.iter().all(|own| own.len() == 1) {
                self.offer(alive.iter().map(|own| own[0] as usize).collect());
                return Ok(());
            }
            let relaxed = self.ascend(&alive, prices, steps);
            if relaxed.bound >= self.cut() {
                return Ok(());
            }
            let before: usize = alive.iter().map(Vec::len).sum();
            let counts = self.fix(&mut alive, &relaxed);
            prices = relaxed.prices;
            steps = NODE_STEPS;
            if alive.iter().map(Vec::len).sum::<usize>() * 10 > before * 9 {
                break counts;
            }
        };
        let open = (0..alive.len()).filter(|&part| alive[part].len() > 1);
        let weighed = open.map(|part| (undecided(&self.core.parts[part], &alive[part], &counts[part], &prices), part));
        let Some((_, part)) = weighed.max_by(|a, b| a.0.total_cmp(&b.0)) else {
            return self.explore(alive, prices, steps);
        };
        for half in halves(&self.core.parts[part], &alive[part], &counts[part], &prices) {
            let mut child = alive.clone();
            child[part] = half;
            self.explore(child, prices.clone(), NODE_STEPS)?;
        }
        Ok(())
    }

    /// Drops options that fit beside no choice of the others; false when a part has none left.
    fn fit(&self, alive: &mut Alive) -> bool {
        let limits = self.core.rooms.len();
        // What one limit drops may raise the least of another.
        let mut changed = true;
        while changed {
            changed = false;
            for (limit, &room) in self.core.rooms.iter().enumerate() {
                let weight = |part: &Part, option: u32| part.weights[option as usize * limits + limit];
                let least = |(part, own): (&Part, &Vec<u32>)| {
                    own.iter().map(|&option| weight(part, option)).fold(f64::INFINITY, f64::min)
                };
                let leasts: Vec<f64> = self.core.parts.iter().zip(alive.iter()).map(least).collect();
                let left = room - leasts.iter().sum::<f64>();
                for ((part, own), least) in self.core.parts.iter().zip(alive.iter_mut()).zip(&leasts) {
                    let before = own.len();
                    own.retain(|&option| weight(part, option) - least <= left);
                    changed |= own.len() < before;
                    if own.is_empty() {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Moves the prices up the bound; choices that meet the limits on the way are offered.
    fn ascend(&mut self, alive: &Alive, mut prices: Vec<f64>, steps: usize) -> Relaxed {
        let core = self.core;
        let mut best = Relaxed {
            bound: f64::NEG_INFINITY,
            prices: prices.clone(),
            counts: alive.iter().map(|own| vec![0; own.len()]).collect(),
        };
        // Parts with one option left are the same at every step.
        let mut settled: Vec<f64> = core.rooms.iter().map(|room| -room).collect();
        let mut chosen: Vec<usize> = alive.iter().map(|own| own[0] as usize).collect();
        let (open, decided): (Vec<usize>, Vec<usize>) = (0..alive.len()).partition(|&at| alive[at].len() > 1);
        decided.iter().for_each(|&at| add(&mut settled, &core.parts[at], chosen[at], 1.0));
        let loss: f64 = decided.iter().map(|&at| core.parts[at].losses[chosen[at]]).sum();
        let (mut pace, mut idle, mut over) = (1.0, 0, Vec::new());
        for step in 0..steps {
            let mut bound = loss + dot(&prices, &settled);
            over.clone_from(&settled);
            for &at in &open {
                let (place, price) = cheapest(&core.parts[at], &alive[at], &prices);
                chosen[at] = alive[at][place] as usize;
                bound += price;
                add(&mut over, &core.parts[at], chosen[at], 1.0);
                best.counts[at][place] += u32::from(2 * step >= steps);
            }
            if bound > best.bound + 1e-6 * bound.abs() {
                idle = 0;
            } else {
                idle += 1;
            }
            if bound > best.bound {
                best.bound = bound;
                best.prices.clone_from(&prices);
            }
            if over.iter().all(|over| *over <= 0.0) {
                self.offer(chosen.clone());
            } else if steps == ROOT_STEPS && step % 16 == 0 {
                self.repair(alive, chosen.clone(), over.clone(), &prices);
            }
            let square = dot(&over, &over);
            if best.bound >= self.cut() || square <= 0.0 {
                break;
            }
            if idle >= 5.max(steps / 30) {
                (pace, idle) = (pace * 0.5, 0);
                prices.clone_from(&best.prices);
                continue;
            }
            let goal = if self.best.is_some() { self.best_loss } else { bound + 0.1 * bound.abs().max(1.0) };
            let length = pace * (goal - bound) / square;
            prices.iter_mut().zip(&over).for_each(|(price, over)| *price = (*price + length * over).max(0.0));
        }
        best
    }

    /// Swaps options until the limits are met, each time the one that pays least for what it frees, then those that lower
    /// the loss within the limits.
    fn repair(&mut self, alive: &Alive, mut chosen: Vec<usize>, mut over: Vec<f64>, prices: &[f64]) {
        let broken = |over: &[f64]| over.iter().map(|over| over.max(0.0)).sum::<f64>();
        while broken(&over) > 0.0 {
            let now = broken(&over);
            let gain = |at: usize, option: usize| {
                let part = &self.core.parts[at];
                let mut after = over.clone();
                add(&mut after, part, chosen[at], -1.0);
                add(&mut after, part, option, 1.0);
                let freed = now - broken(&after);
                let paid = priced(part, option, prices) - priced(part, chosen[at], prices);
                (freed > 1e-12).then_some((paid.max(0.0) + 1e-9) / freed)
            };
            let Some((at, option)) = best_swap(alive, gain) else { return };
            swap(&self.core.parts[at], &mut chosen[at], option, &mut over);
        }
        loop {
            let gain = |at: usize, option: usize| {
                let part = &self.core.parts[at];
                let less = part.losses[option] - part.losses[chosen[at]];
                let mut after = over.clone();
                add(&mut after, part, chosen[at], -1.0);
                add(&mut after, part, option, 1.0);
                (less < -1e-12 && after.iter().all(|over| *over <= 0.0)).then_some(less)
            };
            let Some((at, option)) = best_swap(alive, gain) else { break };
            swap(&self.core.parts[at], &mut chosen[at], option, &mut over);
        }
        self.offer(chosen);
    }

    /// Drops options that are in no better choice than the best one known; the counts of the others.
    fn fix(&self, alive: &mut Alive, relaxed: &Relaxed) -> Vec<Vec<u32>> {
        let allowed = self.cut() - relaxed.bound;
        let mut left = Vec::with_capacity(alive.len());
        for ((part, own), counts) in self.core.parts.iter().zip(alive.iter_mut()).zip(&relaxed.counts) {
            let (_, least) = cheapest(part, own, &relaxed.prices);
            let stays = |option: u32| priced(part, option as usize, &relaxed.prices) - least < allowed;
            left.push(own.iter().zip(counts).filter(|(option, _)| stays(**option)).map(|(_, &count)| count).collect());
            own.retain(|&option| stays(option));
        }
        left
    }

    /// The loss below which a choice would count as better.
    fn cut(&self) -> f64 {
        self.best_loss * (1.0 - TOLERANCE)
    }

    /// Keeps a choice that meets the limits if it is the best.
    fn offer(&mut self, chosen: Vec<usize>) {
        let loss: f64 = self.core.parts.iter().zip(&chosen).map(|(part, &option)| part.losses[option]).sum();
        if loss < self.best_loss {
            self.best_loss = loss;
            self.best = Some(chosen);
        }
    }
}

/// How much the prices leave a part undecided: the share of its choices that are not its usual one, times how far apart
/// what its options' weights cost is.
fn undecided(part: &Part, alive: &[u32], counts: &[u32], prices: &[f64]) -> f64 {
    let all: u32 = counts.iter().sum();
    let unusual = f64::from(all - counts.iter().copied().max().unwrap_or(0)) / f64::from(all.max(1));
    let costs = alive.iter().map(|&option| weighed(part, option, prices));
    let (least, most) = costs.fold((f64::INFINITY, 0.0_f64), |(least, most), cost| (least.min(cost), most.max(cost)));
    unusual * (most - least)
}

/// A part's options in two halves by what their weights cost, cut where its choices lie on average; the half chosen more
/// often first.
fn halves(part: &Part, alive: &[u32], counts: &[u32], prices: &[f64]) -> [Vec<u32>; 2] {
    let all = f64::from(counts.iter().sum::<u32>()).max(1.0);
    let costs = alive.iter().zip(counts).map(|(&option, &count)| weighed(part, option, prices) * f64::from(count));
    let mean = costs.sum::<f64>() / all;
    let split = |is_first: &dyn Fn(u32) -> bool| -> [Vec<u32>; 2] {
        let (first, second) = alive.iter().copied().partition(|&option| is_first(option));
        [first, second]
    };
    let [low, high] = split(&|option| weighed(part, option, prices) <= mean);
    if low.is_empty() || high.is_empty() {
        let usual = alive.iter().zip(counts).max_by_key(|(_, count)| **count).map(|(&option, _)| option);
        return split(&|option| Some(option) == usual);
    }
    let chosen: u32 =
        alive.iter().zip(counts).filter(|(option, _)| low.contains(option)).map(|(_, &count)| count).sum();
    if 2.0 * f64::from(chosen) >= all { [low, high] } else { [high, low] }
}

/// The swap with the least `cost` of those that have one: part and option.
fn best_swap(alive: &Alive, cost: impl Fn(usize, usize) -> Option<f64>) -> Option<(usize, usize)> {
    let all = alive.iter().enumerate().flat_map(|(at, own)| own.iter().map(move |&option| (at, option as usize)));
    let costed = all.filter_map(|(at, option)| Some((cost(at, option)?, at, option)));
    costed.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, at, option)| (at, option))
}

fn swap(part: &Part, chosen: &mut usize, option: usize, over: &mut [f64]) {
    add(over, part, *chosen, -1.0);
    add(over, part, option, 1.0);
    *chosen = option;
}

/// The option that pays least under the prices: its place among those alive, and what it pays.
fn cheapest(part: &Part, alive: &[u32], prices: &[f64]) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (place, &option) in alive.iter().enumerate() {
        let price = priced(part, option as usize, prices);
        if price < best.1 {
            best = (place, price);
        }
    }
    best
}

/// An option's loss and what its weights cost.
fn priced(part: &Part, option: usize, prices: &[f64]) -> f64 {
    part.losses[option] + weighed(part, option as u32, prices)
}

/// What an option's weights cost.
fn weighed(part: &Part, option: u32, prices: &[f64]) -> f64 {
    dot(prices, &part.weights[option as usize * prices.len()..])
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(sums: &mut [f64], part: &Part, option: usize, factor: f64) {
    let limits = sums.len();
    sums.iter_mut().zip(&part.weights[option * limits..]).for_each(|(sum, weight)| *sum += factor * weight);
}
