//! A problem without what is decided already: options that never fit or that another one beats, limits that never bind.

use super::Knapsack;

/// What of a limit's own size may be exceeded, for sums that were rounded.
const ROUNDING: f64 = 1e-12;

/// The options of one part that are left.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Their places in the whole problem.
    pub(super) names: Vec<usize>,
    /// Their losses over the part's least, as shares of the largest loss.
    pub(super) losses: Vec<f64>,
    /// `[option * limits + limit]`: what each adds to a limit over the least of the part's, as a share of the largest.
    pub(super) weights: Vec<f64>,
}

/// The problem that is left. All numbers are at least 0.
#[derive(Clone, Debug)]
pub(super) struct Core {
    pub(super) parts: Vec<Part>,
    /// The most that the sum of each limit's weights may be.
    pub(super) rooms: Vec<f64>,
}

impl Core {
    /// What is left of a problem; `None` when no option of some part fits even beside the least of all others.
    pub(super) fn of(problem: &Knapsack) -> Option<Self> {
        if problem.losses.iter().any(Vec::is_empty) {
            return None;
        }
        let mut alive: Vec<Vec<usize>> = problem.losses.iter().map(|own| (0..own.len()).collect()).collect();
        for (part, own) in alive.iter_mut().enumerate() {
            let all = own.clone();
            own.retain(|&option| !all.iter().any(|&other| beats(problem, part, other, option)));
        }
        // Whatever goes may raise the least of its part, and with it what others have left.
        loop {
            let before: usize = alive.iter().map(Vec::len).sum();
            for limit in &problem.limits {
                let least = |part: usize, own: &[usize]| {
                    own.iter().map(|&option| limit.weights[part][option]).fold(f64::INFINITY, f64::min)
                };
                let leasts: Vec<f64> = alive.iter().enumerate().map(|(part, own)| least(part, own)).collect();
                let room = limit.most - leasts.iter().sum::<f64>() + slack(limit.most, &leasts);
                for (part, own) in alive.iter_mut().enumerate() {
                    own.retain(|&option| limit.weights[part][option] - leasts[part] <= room);
                    if own.is_empty() {
                        return None;
                    }
                }
            }
            if alive.iter().map(Vec::len).sum::<usize>() == before {
                break;
            }
        }
        Some(Self::scaled(problem, alive))
    }

    fn scaled(problem: &Knapsack, alive: Vec<Vec<usize>>) -> Self {
        let losses = alive.iter().enumerate().map(|(part, own)| over_least(&problem.losses[part], own));
        let losses: Vec<Vec<f64>> = losses.collect();
        let scale = largest(&losses);
        let mut parts: Vec<Part> = (losses.into_iter().zip(&alive))
            .map(|(own, names)| Part {
                names: names.clone(),
                losses: own.into_iter().map(|loss| loss / scale).collect(),
                weights: Vec::new(),
            })
            .collect();
        let mut rooms = Vec::new();
        let mut columns = Vec::new();
        for limit in &problem.limits {
            let own: Vec<Vec<f64>> =
                alive.iter().zip(&limit.weights).map(|(own, weights)| over_least(weights, own)).collect();
            let least = |(own, weights): (&Vec<usize>, &Vec<f64>)| {
                own.iter().map(|&option| weights[option]).fold(f64::INFINITY, f64::min)
            };
            let leasts: Vec<f64> = alive.iter().zip(&limit.weights).map(least).collect();
            let room = limit.most - leasts.iter().sum::<f64>() + slack(limit.most, &leasts);
            let most: f64 = own.iter().map(|own| own.iter().copied().fold(0.0, f64::max)).sum();
            if most > room {
                let scale = largest(&own);
                rooms.push(room / scale);
                columns.push((own, scale));
            }
        }
        for (at, part) in parts.iter_mut().enumerate() {
            for option in 0..part.names.len() {
                part.weights.extend(columns.iter().map(|(own, scale)| own[at][option] / scale));
            }
        }
        Self { parts, rooms }
    }
}

/// What sums near these numbers may be off by.
fn slack(most: f64, leasts: &[f64]) -> f64 {
    ROUNDING * leasts.iter().fold(most.abs(), |sum, least| sum + least.abs())
}

fn over_least(values: &[f64], alive: &[usize]) -> Vec<f64> {
    let least = alive.iter().map(|&option| values[option]).fold(f64::INFINITY, f64::min);
    alive.iter().map(|&option| values[option] - least).collect()
}

fn largest(values: &[Vec<f64>]) -> f64 {
    values.iter().flatten().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE)
}

/// Whether `a` is no worse than `b` in everything; of two equal ones the first beats the second.
fn beats(problem: &Knapsack, part: usize, a: usize, b: usize) -> bool {
    let pairs = std::iter::once((problem.losses[part][a], problem.losses[part][b]));
    let mut pairs = pairs.chain(problem.limits.iter().map(|limit| (limit.weights[part][a], limit.weights[part][b])));
    let mut better = a < b;
    a != b
        && pairs.all(|(a, b)| {
            better |= a < b;
            a <= b
        })
        && better
}
