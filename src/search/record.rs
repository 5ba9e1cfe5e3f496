//! What a search leaves behind: one record a candidate, and who writes and makes them.

use crate::error::Error;
use crate::error::Result;
use crate::genome::Genome;
use crate::pareto::Scored;
use crate::pareto::fronts;

use super::Evaluated;

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Validation top-1, in percent.
    pub top1: f64,
    /// Validation loss, where there is one.
    pub loss: Option<f64>,
    /// The costs to minimise beside the error, in the run's order.
    pub costs: Vec<f64>,
    /// By how much the hard limits are broken, summed; 0 when feasible.
    pub violation: f64,
    /// Points that count as top-1 while candidates are compared; usually 0.
    pub bonus: f64,
}

impl Outcome {
    /// The minimised objectives: 100 - top-1 - bonus, then the costs.
    pub fn objectives(&self) -> Vec<f64> {
        std::iter::once(100.0 - self.top1 - self.bonus).chain(self.costs.iter().copied()).collect()
    }

    /// Refuses what no algorithm could compare: objectives must be finite, the violation finite and not negative.
    pub(super) fn check(&self, genome: &Genome) -> Result<()> {
        let refuse = |what: &str, value: f64| Err(Error::Failed(format!("candidate {genome}: {what} is {value}")));
        if !self.top1.is_finite() {
            return refuse("top1", self.top1);
        }
        if !self.bonus.is_finite() {
            return refuse("the bonus", self.bonus);
        }
        if let Some(&cost) = self.costs.iter().find(|cost| !cost.is_finite()) {
            return refuse("a cost", cost);
        }
        if !(self.violation.is_finite() && self.violation >= 0.0) {
            return refuse("the violation", self.violation);
        }
        Ok(())
    }
}

/// One evaluated candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Place in the order of evaluation, from 0.
    pub id: usize,
    /// Generation that proposed it first, from 0.
    pub generation: usize,
    /// Id of the candidate it was derived from, if any.
    pub parent: Option<usize>,
    /// The genome.
    pub genome: Genome,
    /// What its evaluation found.
    pub outcome: Outcome,
}

impl Record {
    /// The record as an algorithm sees it.
    pub(super) fn evaluated(&self) -> Evaluated {
        Evaluated {
            id: self.id,
            genome: self.genome.clone(),
            objectives: self.outcome.objectives(),
            violation: self.outcome.violation,
        }
    }
}

/// Indices of the feasible records that no other feasible record dominates in (100 - top-1, costs).
///
/// # Errors
/// If an objective is NaN or the records differ in their number of costs.
pub fn front(records: &[Record]) -> Result<Vec<usize>> {
    let feasible: Vec<usize> = (0..records.len()).filter(|&i| records[i].outcome.violation <= 0.0).collect();
    let objectives: Vec<Vec<f64>> = feasible.iter().map(|&i| records[i].outcome.objectives()).collect();
    let scored: Vec<Scored> = objectives.iter().map(|o| Scored::free(o)).collect();
    let best = fronts(&scored)?.into_iter().next().unwrap_or_default();
    Ok(best.into_iter().map(|place| feasible[place]).collect())
}

/// Says what genomes are worth.
pub trait Evaluator {
    /// Evaluates genomes and hands their outcomes to `keep`, in order; where `go_on` says no, none further is begun. An
    /// outcome must depend on nothing but its genome and the evaluator's own settings.
    ///
    /// # Errors
    /// Whatever stops the whole run (a candidate that is merely bad is an [`Outcome`]), and what `keep` returns.
    fn evaluate(
        &mut self,
        genomes: &[Genome],
        go_on: &(dyn Fn() -> bool + Sync),
        keep: &mut dyn FnMut(Outcome) -> Result<()>,
    ) -> Result<()>;
}

/// Keeps records as they arise, so that a crash loses at most the candidate in work.
pub trait Journal {
    /// Stores one record, in order of evaluation. Replayed records are not appended again.
    ///
    /// # Errors
    /// If the record cannot be stored.
    fn append(&mut self, record: &Record) -> Result<()>;
}

/// The journal of a run that nobody resumes.
impl Journal for () {
    fn append(&mut self, _record: &Record) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: usize, top1: f64, cost: f64, violation: f64) -> Record {
        let outcome = Outcome { top1, loss: None, costs: vec![cost], violation, bonus: 0.0 };
        Record { id, generation: 0, parent: None, genome: Genome(vec![id as u8]), outcome }
    }

    #[test]
    fn the_front_leaves_infeasible_candidates_out() {
        let records = [
            record(0, 99.0, 0.1, 0.5),
            record(1, 90.0, 2.0, 0.0),
            record(2, 80.0, 1.0, 0.0),
            record(3, 70.0, 1.5, 0.0),
        ];
        assert_eq!(front(&records).unwrap(), [1, 2]);
        assert!(front(&records[..1]).unwrap().is_empty());
    }

    #[test]
    fn outcomes_that_cannot_be_compared_are_refused_by_name() {
        let genome = Genome(vec![2, 1]);
        let good = Outcome { top1: 50.0, loss: Some(f64::NAN), costs: vec![1.0], violation: 0.0, bonus: 0.0 };
        assert!(good.check(&genome).is_ok());
        let text = |outcome: Outcome| outcome.check(&genome).unwrap_err().to_string();
        assert_eq!(text(Outcome { top1: f64::NAN, ..good.clone() }), "candidate 2-1: top1 is NaN");
        assert_eq!(text(Outcome { costs: vec![f64::INFINITY], ..good.clone() }), "candidate 2-1: a cost is inf");
        assert_eq!(text(Outcome { violation: -1.0, ..good }), "candidate 2-1: the violation is -1");
    }
}
