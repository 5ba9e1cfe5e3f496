//! The search algorithms through the public loop, on a problem whose true front can be enumerated.

use std::collections::BTreeSet;

use bitfront::error::Result;
use bitfront::genome::Choices;
use bitfront::genome::Genome;
use bitfront::search::Algorithm;
use bitfront::search::Evaluator;
use bitfront::search::Evolution;
use bitfront::search::Finished;
use bitfront::search::Goal;
use bitfront::search::Nsga2;
use bitfront::search::Outcome;
use bitfront::search::PolicyGradient;
use bitfront::search::PolicySettings;
use bitfront::search::RandomSearch;
use bitfront::search::Record;
use bitfront::search::Run;
use bitfront::search::StopReason;
use bitfront::search::WallClock;
use bitfront::search::front;
use bitfront::search::run;
use bitfront::seed::Seed;

/// Six layers in 2 to 8 bits (4 options). Each layer costs its bits; its error falls fourfold with each option,
/// weighed by a sensitivity of its own. So the front is a convex trade-off in which sensitive layers get bits first.
struct Layers;

const SENSITIVITY: [f64; 6] = [7.0, 1.3, 3.1, 0.4, 11.0, 2.2];

impl Layers {
    fn choices() -> Choices {
        Choices::new(vec![4; SENSITIVITY.len()]).unwrap()
    }
}

impl Evaluator for Layers {
    fn evaluate(
        &mut self,
        genomes: &[Genome],
        go_on: &(dyn Fn() -> bool + Sync),
        keep: &mut dyn FnMut(Outcome) -> Result<()>,
    ) -> Result<()> {
        genomes.iter().take_while(|_| go_on()).try_for_each(|genome| keep(Self::outcome(genome)))
    }
}

impl Layers {
    fn outcome(genome: &Genome) -> Outcome {
        let error = |(option, weight): (&u8, &f64)| weight * 0.25_f64.powi(i32::from(*option));
        let lost: f64 = genome.0.iter().zip(&SENSITIVITY).map(error).sum();
        let bits: f64 = genome.0.iter().map(|&option| 2.0 + 2.0 * f64::from(option)).sum();
        // More than 40 bits in all break a limit.
        Outcome {
            top1: 95.0 - lost,
            loss: None,
            costs: vec![bits],
            violation: (bits / 40.0 - 1.0).max(0.0),
            bonus: 0.0,
        }
    }
}

fn go(algorithm: &mut dyn Algorithm, seed: u64, evaluations: usize, recorded: Vec<Record>) -> Finished {
    let settings = Run {
        seed: Seed::new(seed),
        evaluations,
        deadline: None,
        clock: &WallClock::start(),
        interrupted: &|| false,
        recorded,
    };
    run(algorithm, &mut Layers, &mut (), settings).unwrap()
}

/// Every algorithm, made anew, with settings that do not depend on how far it will run.
fn algorithms() -> Vec<Box<dyn Algorithm>> {
    let choices = Layers::choices();
    let goal = || Goal { beta: 0.1, targets: vec![24.0], ..Goal::default() };
    vec![
        Box::new(RandomSearch::new(choices.clone())),
        Box::new(Evolution::new(choices.clone(), goal(), 12, 4).unwrap()),
        Box::new(PolicyGradient::new(choices.clone(), goal(), PolicySettings::for_budget(120))),
        Box::new(Nsga2::new(choices, 16).unwrap()),
    ]
}

#[test]
fn a_resumed_run_ends_like_an_uninterrupted_one_record_by_record() {
    // 50 is no multiple of the population, so NSGA-II stops within a generation.
    for ((mut whole, mut half), mut resumed) in algorithms().into_iter().zip(algorithms()).zip(algorithms()) {
        let whole = go(whole.as_mut(), 3, 100, vec![]);
        let half = go(half.as_mut(), 3, 50, vec![]);
        assert_eq!(half.records, whole.records[..50], "{}", resumed.name());
        assert_eq!(go(resumed.as_mut(), 3, 100, half.records), whole, "{}", resumed.name());
    }
}

#[test]
fn same_seed_same_candidates_and_another_seed_others() {
    for ((mut a, mut b), mut c) in algorithms().into_iter().zip(algorithms()).zip(algorithms()) {
        let name = a.name();
        let first = go(a.as_mut(), 0, 60, vec![]);
        assert_eq!(go(b.as_mut(), 0, 60, vec![]), first, "{name}");
        assert_ne!(go(c.as_mut(), 1, 60, vec![]).records, first.records, "{name}");
    }
}

#[test]
fn no_candidate_is_evaluated_twice_and_the_budget_holds() {
    for mut algorithm in algorithms() {
        let finished = go(algorithm.as_mut(), 5, 120, vec![]);
        assert_eq!(finished.stop, StopReason::EvaluationsSpent);
        let distinct: BTreeSet<&Genome> = finished.records.iter().map(|record| &record.genome).collect();
        assert_eq!((finished.records.len(), distinct.len()), (120, 120), "{}", algorithm.name());
    }
}

#[test]
fn nsga2_reaches_the_true_front() {
    let choices = Layers::choices();
    let all: Vec<Record> = (0..choices.count())
        .map(|index| {
            let genome = choices.nth(index);
            let outcome = Layers::outcome(&genome);
            Record { id: index as usize, generation: 0, parent: None, genome, outcome }
        })
        .collect();
    let true_front: BTreeSet<&Genome> = front(&all).unwrap().into_iter().map(|i| &all[i].genome).collect();
    // One network a bit total: 12, 14, ... 40.
    assert_eq!(true_front.len(), 15);
    // Half of the space: random search finds all 15 with probability 2^-15; NSGA-II did with each of 200 seeds.
    for seed in 0..5 {
        let finished = go(&mut Nsga2::new(choices.clone(), 24).unwrap(), seed, 2000, vec![]);
        let found: BTreeSet<&Genome> =
            front(&finished.records).unwrap().into_iter().map(|i| &finished.records[i].genome).collect();
        let random = go(&mut RandomSearch::new(choices.clone()), seed, 2000, vec![]);
        let by_chance =
            front(&random.records).unwrap().iter().filter(|&&i| true_front.contains(&random.records[i].genome)).count();
        assert_eq!(found, true_front, "seed {seed}");
        assert!(by_chance < 15, "seed {seed}: random search finds the front too, so this proves nothing");
    }
}

#[test]
fn parents_are_earlier_candidates() {
    let finished = go(&mut Nsga2::new(Layers::choices(), 16).unwrap(), 0, 100, vec![]);
    let (first, later) = finished.records.split_at(16);
    assert!(first.iter().all(|record| record.parent.is_none() && record.generation == 0));
    assert!(later.iter().all(|record| record.parent.is_none_or(|parent| parent < record.id)));
    assert!(later.iter().filter(|record| record.parent.is_some()).count() > 70);
}
