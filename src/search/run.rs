//! The search loop, written once for all algorithms.
//!
//! It owns the budget (never more than N evaluations), the deadline, the cache (no genome is evaluated twice, a repeat
//! is free), the journal and the stop reason. The last generation counts, also when the budget cuts it short.
//!
//! Resume is replay: given the records of an earlier run with the same settings, the loop runs the algorithm from
//! its beginning and answers from the records instead of the evaluator until they are used up. Each generation draws
//! from a stream of its own, `seed.child("search").at(generation)`, so there is no generator state to keep.

use std::collections::HashMap;
use std::time::Duration;

use crate::error::Error;
use crate::error::Result;
use crate::genome::Genome;
use crate::seed::Seed;

use super::Algorithm;
use super::Clock;
use super::Evaluated;
use super::Evaluator;
use super::Journal;
use super::Proposal;
use super::Record;
use super::StopReason;

/// Generations without a single new genome after which an algorithm counts as stalled.
const IDLE_GENERATIONS: usize = 100;

/// What a run may use and how it is watched.
pub struct Run<'a> {
    /// The run's root seed.
    pub seed: Seed,
    /// Number of candidates to evaluate, recorded ones included.
    pub evaluations: usize,
    /// Time after which no further evaluation starts.
    pub deadline: Option<Duration>,
    /// The clock that the deadline refers to.
    pub clock: &'a (dyn Clock + Sync),
    /// Asked before every evaluation; true stops the run.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
    /// Records of an earlier run with the same seed, algorithm and settings, in order; empty for a new run.
    pub recorded: Vec<Record>,
}

impl Run<'_> {
    /// Why no further evaluation may start, if the user or the clock says so.
    fn told_to_stop(&self) -> Option<StopReason> {
        if (self.interrupted)() {
            return Some(StopReason::Interrupted);
        }
        let late = self.deadline.is_some_and(|deadline| self.clock.elapsed() >= deadline);
        late.then_some(StopReason::TimeUp)
    }
}

/// What a run leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Every candidate in order of evaluation, replayed ones first.
    pub records: Vec<Record>,
    /// Why it stopped.
    pub stop: StopReason,
}

/// Searches until the budget is spent, the time is up, the user interrupts or nothing new is left.
///
/// # Errors
/// If the evaluator or the journal fails, if an outcome cannot be compared (NaN), or if the recorded candidates are
/// not the ones that this algorithm with this seed proposes.
pub fn run(
    algorithm: &mut dyn Algorithm,
    evaluator: &mut dyn Evaluator,
    journal: &mut dyn Journal,
    run: Run,
) -> Result<Finished> {
    let stream = run.seed.child("search");
    let mut ledger = Ledger { run, records: Vec::new(), known: HashMap::new() };
    let mut idle = 0;
    for generation in 0.. {
        if ledger.spent() {
            break;
        }
        // A generation of known candidates alone evaluates nothing, so the clock is read here too.
        if idle > 0
            && let Some(reason) = ledger.run.told_to_stop()
        {
            return Ok(ledger.finish(reason));
        }
        let proposals = algorithm.ask(&mut stream.at(generation).rng());
        if proposals.is_empty() {
            return Ok(ledger.finish(StopReason::SpaceExhausted));
        }
        let before = ledger.records.len();
        ledger.settle(&proposals, generation as usize, evaluator, journal)?;
        let settled =
            |proposal: &Proposal| ledger.known.get(&proposal.genome).map(|&id| ledger.records[id].evaluated());
        let evaluated: Vec<Evaluated> = proposals.iter().map_while(settled).collect();
        algorithm.tell(&evaluated)?;
        if evaluated.len() < proposals.len() && !ledger.spent() {
            let reason = ledger.run.told_to_stop().unwrap_or(StopReason::Interrupted);
            return Ok(ledger.finish(reason));
        }
        idle = if ledger.records.len() == before { idle + 1 } else { 0 };
        if idle == IDLE_GENERATIONS {
            return Ok(ledger.finish(StopReason::Stalled));
        }
    }
    Ok(ledger.finish(StopReason::EvaluationsSpent))
}

/// The books of a run: what was evaluated, what is replayed, what is left to spend.
struct Ledger<'a> {
    run: Run<'a>,
    records: Vec<Record>,
    known: HashMap<Genome, usize>,
}

impl Ledger<'_> {
    fn spent(&self) -> bool {
        self.records.len() >= self.run.evaluations
    }

    fn finish(self, stop: StopReason) -> Finished {
        Finished { records: self.records, stop }
    }

    /// Takes the new genomes of a generation from the replayed journal, then from the evaluator, as far as the budget and
    /// the clock allow.
    fn settle(
        &mut self,
        proposals: &[Proposal],
        generation: usize,
        evaluator: &mut dyn Evaluator,
        journal: &mut dyn Journal,
    ) -> Result<()> {
        let mut new: Vec<&Proposal> = Vec::new();
        for proposal in proposals {
            let seen = self.known.contains_key(&proposal.genome) || new.iter().any(|p| p.genome == proposal.genome);
            if !seen && self.records.len() + new.len() < self.run.evaluations {
                new.push(proposal);
            }
        }
        let mut new = new.into_iter();
        while let Some(recorded) = self.run.recorded.get(self.records.len())
            && let Some(proposal) = new.next()
        {
            let record = replayed(recorded, self.records.len(), proposal, generation)?;
            self.keep(record);
        }
        let new: Vec<&Proposal> = new.collect();
        let genomes: Vec<Genome> = new.iter().map(|proposal| proposal.genome.clone()).collect();
        let (run, first, mut records) = (&self.run, self.records.len(), Vec::new());
        let made = evaluator.evaluate(&genomes, &|| run.told_to_stop().is_none(), &mut |outcome| {
            let proposal = new[records.len()];
            outcome.check(&proposal.genome)?;
            let (id, parent, genome) = (first + records.len(), proposal.parent, proposal.genome.clone());
            let record = Record { id, generation, parent, genome, outcome };
            journal.append(&record)?;
            records.push(record);
            Ok(())
        });
        records.into_iter().for_each(|record| self.keep(record));
        made
    }

    fn keep(&mut self, record: Record) {
        self.known.insert(record.genome.clone(), record.id);
        self.records.push(record);
    }
}

/// The recorded candidate, if it is the proposed one.
fn replayed(recorded: &Record, id: usize, proposal: &Proposal, generation: usize) -> Result<Record> {
    recorded.outcome.check(&recorded.genome)?;
    let same = recorded.id == id
        && recorded.generation == generation
        && recorded.parent == proposal.parent
        && recorded.genome == proposal.genome;
    if same {
        return Ok(recorded.clone());
    }
    Err(Error::bad_value(
        format!("recorded candidate {id}"),
        &recorded.genome,
        format!(
            "the search proposes {} here: the history is of another seed, configuration or version",
            proposal.genome
        ),
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::genome::Choices;
    use crate::search::Outcome;
    use crate::search::RandomSearch;

    /// A second passes with every evaluation.
    struct Fake<'a> {
        evaluated: &'a Mutex<Vec<Genome>>,
    }

    impl Evaluator for Fake<'_> {
        fn evaluate(
            &mut self,
            genomes: &[Genome],
            go_on: &(dyn Fn() -> bool + Sync),
            keep: &mut dyn FnMut(Outcome) -> Result<()>,
        ) -> Result<()> {
            for genome in genomes.iter().take_while(|_| go_on()) {
                self.evaluated.lock().unwrap().push(genome.clone());
                let top1 = genome.0.iter().map(|&x| f64::from(x)).sum();
                keep(Outcome { top1, loss: None, costs: vec![], violation: 0.0, bonus: 0.0 })?;
            }
            Ok(())
        }
    }

    impl Clock for Fake<'_> {
        fn elapsed(&self) -> Duration {
            Duration::from_secs(self.evaluated.lock().unwrap().len() as u64)
        }
    }

    /// Keeps every appended record.
    #[derive(Default)]
    struct Shelf(Vec<Record>);

    impl Journal for Shelf {
        fn append(&mut self, record: &Record) -> Result<()> {
            self.0.push(record.clone());
            Ok(())
        }
    }

    /// Proposes two genomes, each three times, for ever.
    struct Parrot;

    impl Algorithm for Parrot {
        fn name(&self) -> &'static str {
            "parrot"
        }

        fn ask(&mut self, _rng: &mut rand_chacha::ChaCha8Rng) -> Vec<Proposal> {
            [0, 1, 0, 1, 0, 1].map(|x| Proposal { genome: Genome(vec![x]), parent: None }).into()
        }

        fn tell(&mut self, evaluated: &[crate::search::Evaluated]) -> Result<()> {
            assert_eq!(evaluated.iter().map(|e| e.id).collect::<Vec<_>>(), [0, 1, 0, 1, 0, 1]);
            Ok(())
        }
    }

    struct Given {
        evaluations: usize,
        deadline: Option<u64>,
        interrupt_at: usize,
        recorded: Vec<Record>,
    }

    fn given(evaluations: usize) -> Given {
        Given { evaluations, deadline: None, interrupt_at: usize::MAX, recorded: vec![] }
    }

    /// Runs `algorithm`; returns what it left, the evaluations really made and the journal.
    fn go(algorithm: &mut dyn Algorithm, given: Given) -> (Result<Finished>, Vec<Genome>, Vec<Record>) {
        let evaluated = Mutex::new(vec![]);
        let mut shelf = Shelf::default();
        let finished = run(
            algorithm,
            &mut Fake { evaluated: &evaluated },
            &mut shelf,
            Run {
                seed: Seed::new(1),
                evaluations: given.evaluations,
                deadline: given.deadline.map(Duration::from_secs),
                clock: &Fake { evaluated: &evaluated },
                interrupted: &|| evaluated.lock().unwrap().len() >= given.interrupt_at,
                recorded: given.recorded,
            },
        );
        (finished, evaluated.into_inner().unwrap(), shelf.0)
    }

    fn random() -> RandomSearch {
        RandomSearch::new(Choices::new(vec![3; 3]).unwrap())
    }

    #[test]
    fn the_budget_is_spent_exactly_and_every_record_is_journalled() {
        for evaluations in [0, 1, 26, 27] {
            let (finished, evaluated, journal) = go(&mut random(), given(evaluations));
            let finished = finished.unwrap();
            assert_eq!(finished.stop, StopReason::EvaluationsSpent);
            assert_eq!((finished.records.len(), evaluated.len()), (evaluations, evaluations));
            assert_eq!(journal, finished.records);
        }
    }

    #[test]
    fn a_small_space_is_exhausted() {
        let finished = go(&mut random(), given(28)).0.unwrap();
        assert_eq!((finished.records.len(), finished.stop), (27, StopReason::SpaceExhausted));
    }

    #[test]
    fn time_up_and_interrupt_stop_before_the_next_evaluation() {
        let finished = go(&mut random(), Given { deadline: Some(5), ..given(20) }).0.unwrap();
        assert_eq!((finished.records.len(), finished.stop), (5, StopReason::TimeUp));
        let finished = go(&mut random(), Given { interrupt_at: 4, ..given(20) }).0.unwrap();
        assert_eq!((finished.records.len(), finished.stop), (4, StopReason::Interrupted));
    }

    #[test]
    fn repeats_are_free_come_back_as_known_and_end_as_a_stall() {
        let (finished, evaluated, _) = go(&mut Parrot, given(3));
        assert_eq!(evaluated.len(), 2);
        assert_eq!(finished.unwrap().stop, StopReason::Stalled);
    }

    #[test]
    fn replay_evaluates_only_what_is_missing() {
        let whole = go(&mut random(), given(20)).0.unwrap();
        let recorded = whole.records[..12].to_vec();
        let (resumed, evaluated, journal) = go(&mut random(), Given { recorded, ..given(20) });
        assert_eq!(resumed.unwrap(), whole);
        assert_eq!(evaluated.len(), 8);
        assert_eq!(journal, whole.records[12..]);
    }

    #[test]
    fn a_history_of_another_run_is_refused() {
        let mut recorded = go(&mut random(), given(5)).0.unwrap().records;
        recorded.swap(1, 3);
        let error = go(&mut random(), Given { recorded, ..given(9) }).0.unwrap_err();
        assert!(error.to_string().contains("recorded candidate 1"), "{error}");
    }

    #[test]
    fn each_generation_has_its_own_number() {
        let records = go(&mut random(), given(4)).0.unwrap().records;
        assert_eq!(records.iter().map(|record| record.generation).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}
