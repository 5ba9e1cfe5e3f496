//! The front of a search with what it is judged against.

use crate::error::Result;
use crate::pareto::dominates;
use crate::pareto::knee;

/// One evaluated network.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// How people call it: `#17`, or the format of a uniform network, `int8`.
    pub name: String,
    /// Number of the candidate in the run's history.
    pub id: usize,
    /// Top-1 on validation images, in percent.
    pub top1: f64,
    /// Top-1 on test images, in percent.
    pub test_top1: f64,
    /// The cost that the search lowered, in the unit of [`Front::cost`].
    pub cost: f64,
    /// Predicted latency in milliseconds, where there is a target.
    pub latency_ms: Option<f64>,
    /// Measured latency in milliseconds, where it was measured.
    pub latency_meas_ms: Option<f64>,
    /// Packed size in 1e6 bytes.
    pub size_mb: f64,
    /// Activation memory in 1e3 bytes.
    pub act_mem_kb: f64,
    /// Mean weight bits.
    pub avg_w_bits: f64,
    /// Mean activation bits.
    pub avg_a_bits: f64,
}

impl Entry {
    /// Whether this network is nowhere worse than `other` in (cost, validation top-1) and somewhere better.
    pub fn dominates(&self, other: &Self) -> bool {
        dominates(&[self.cost, -self.top1], &[other.cost, -other.top1])
    }
}

/// The front of a search, the uniform formats beside it, and all that was evaluated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Front {
    /// What was searched, in a line.
    pub title: String,
    /// Column name of the cost with its unit: `gbops`.
    pub cost: String,
    /// The front, in any order.
    pub front: Vec<Entry>,
    /// One network a uniform format, in any order.
    pub uniform: Vec<Entry>,
    /// (cost, validation top-1) of every evaluated candidate.
    pub searched: Vec<(f64, f64)>,
    /// (cost, validation top-1) of every network of a random search of equal budget; may be empty.
    pub baseline: Vec<(f64, f64)>,
}

impl Front {
    /// The knee of the front; `None` when the front is empty.
    ///
    /// # Errors
    /// If a value is NaN or a cost is not positive.
    pub fn knee(&self) -> Result<Option<&Entry>> {
        let points: Vec<(f64, f64)> = self.front.iter().map(|entry| (entry.cost, entry.top1)).collect();
        Ok(knee(&points)?.map(|at| &self.front[at]))
    }

    /// The cheapest uniform format of at least equal validation top-1 (of two equally cheap ones the better), and how
    /// many times cheaper `entry` is. `None` when no uniform format reaches its top-1.
    pub fn nearest_uniform(&self, entry: &Entry) -> Option<(&Entry, f64)> {
        let reaching = self.uniform.iter().filter(|uniform| uniform.top1 >= entry.top1);
        let nearest = reaching.min_by(|a, b| a.cost.total_cmp(&b.cost).then(b.top1.total_cmp(&a.top1)))?;
        Some((nearest, nearest.cost / entry.cost))
    }

    /// Who dominates a uniform format: the cheapest such member of the front, else the cheapest such uniform format.
    pub fn dominator(&self, uniform: &Entry) -> Option<&Entry> {
        let cheapest = |entries: &'_ [Entry]| {
            let better = entries.iter().enumerate().filter(|(_, entry)| entry.dominates(uniform));
            better.min_by(|a, b| a.1.cost.total_cmp(&b.1.cost)).map(|(at, _)| at)
        };
        let of_front = cheapest(&self.front).map(|at| &self.front[at]);
        of_front.or_else(|| cheapest(&self.uniform).map(|at| &self.uniform[at]))
    }
}

/// `entries` by rising cost.
pub(super) fn by_cost(entries: &[Entry]) -> Vec<&Entry> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(a.top1.total_cmp(&b.top1)));
    sorted
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A network of a given cost and top-1; its other values follow from these.
    pub(in crate::report) fn entry(name: &str, cost: f64, top1: f64) -> Entry {
        let id = name.trim_start_matches('#').parse().unwrap_or(900);
        Entry {
            name: name.into(),
            id,
            top1,
            test_top1: top1 - 0.5,
            cost,
            latency_ms: None,
            latency_meas_ms: None,
            size_mb: cost * 0.3,
            act_mem_kb: cost * 100.0,
            avg_w_bits: 4.0,
            avg_a_bits: 5.0,
        }
    }

    /// Four uniform formats (one of them pointless) and a front of three, unsorted.
    pub(in crate::report) fn small() -> Front {
        Front {
            title: "resnet8 on fashion-mnist-mini".into(),
            cost: "gbops".into(),
            front: vec![entry("#30", 0.5, 86.0), entry("#7", 0.05, 70.0), entry("#12", 0.1, 83.0)],
            uniform: vec![
                entry("int8", 0.6, 85.0),
                entry("int2", 0.04, 60.0),
                entry("fp4", 0.15, 80.0),
                entry("int4", 0.15, 82.0),
            ],
            searched: vec![(0.5, 86.0), (0.05, 70.0), (0.1, 83.0), (0.3, 64.0)],
            baseline: vec![(0.2, 78.0)],
        }
    }

    #[test]
    fn the_nearest_uniform_is_the_cheapest_that_is_no_worse() {
        let front = small();
        // 70 %: int4 and fp4 cost the same; the better one is named. 0.15 / 0.05 = 3.
        let (nearest, ratio) = front.nearest_uniform(&front.front[1]).unwrap();
        assert_eq!(nearest.name, "int4");
        assert!((ratio - 3.0).abs() < 1e-12);
        // 83 % needs int8: 0.6 / 0.1 = 6. No uniform format has 86 %.
        assert_eq!(front.nearest_uniform(&front.front[2]).unwrap().0.name, "int8");
        assert_eq!(front.nearest_uniform(&front.front[0]), None);
        // Equal top-1 is enough.
        assert_eq!(front.nearest_uniform(&entry("#1", 0.3, 85.0)).unwrap().0.name, "int8");
    }

    #[test]
    fn a_dominator_is_sought_on_the_front_first() {
        let mut front = small();
        let of = |front: &Front, at: usize| front.dominator(&front.uniform[at]).map(|entry| entry.name.clone());
        assert_eq!(of(&front, 0).as_deref(), Some("#30"));
        assert_eq!(of(&front, 1), None);
        assert_eq!(of(&front, 2).as_deref(), Some("#12"));
        front.front.clear();
        assert_eq!(of(&front, 0), None);
        assert_eq!(of(&front, 2).as_deref(), Some("int4"));
    }

    #[test]
    fn the_knee_is_a_member_of_the_front() {
        // In log cost #12 lies 0.30 of the way from #7 to #30, where the chord passes 74.8: the only bulge.
        assert_eq!(small().knee().unwrap().unwrap().name, "#12");
        assert_eq!(Front::default().knee().unwrap(), None);
        let free = Front { front: vec![entry("#1", 0.0, 50.0)], ..small() };
        assert!(free.knee().is_err());
    }
}
