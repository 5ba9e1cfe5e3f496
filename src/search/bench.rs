//! How good the search algorithms are: exact regret and hypervolume on a table, against random search, over seeds.
//!
//! All are charged by distinct networks evaluated. Seeds are paired: the same seed for the algorithm and for random
//! search; the verdict needs two standard errors of the paired differences.

use rayon::iter::IntoParallelIterator;
use rayon::iter::ParallelIterator;
use serde::Serialize;
use serde::Serializer;

use crate::error::Error;
use crate::error::Result;
use crate::pareto::front_hypervolume;
use crate::seed::Seed;
use crate::stats::Verdict;
use crate::stats::mean;
use crate::stats::standard_error;
use crate::stats::verdict;

use super::Algorithm;
use super::Evolution;
use super::Goal;
use super::Nsga2;
use super::PolicyGradient;
use super::PolicySettings;
use super::RandomSearch;
use super::Record;
use super::Run;
use super::Table;
use super::TableEvaluator;
use super::WallClock;
use super::run;

/// What a row of the benchmark measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Top-1 of the table's best network less that of the best one found, in points; smaller is better.
    Regret,
    /// Hypervolume of the front found in (log2 operations, top-1); larger is better.
    Hypervolume,
}

/// One algorithm at one budget.
#[derive(Clone, Debug, Serialize)]
pub struct BenchRow {
    /// What is measured.
    pub measure: Measure,
    /// The algorithm's name.
    pub algorithm: &'static str,
    /// Distinct networks evaluated.
    pub evaluations: usize,
    /// Mean over seeds.
    pub mean: f64,
    /// Standard error of the mean.
    pub standard_error: f64,
    /// Mean paired improvement over random search (positive is better); none for random search itself.
    pub gain: Option<f64>,
    /// Whether the improvement over random search held.
    #[serde(serialize_with = "as_text")]
    pub verdict: Option<Verdict>,
}

/// The whole benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct BenchResult {
    /// Networks in the table.
    pub networks: usize,
    /// Seeds, from 0.
    pub seeds: usize,
    /// Top-1 of the table's best network, in percent.
    pub best_top1: f64,
    /// Hypervolume of the table's true front.
    pub full_hypervolume: f64,
    /// One row a measure, budget and algorithm.
    pub rows: Vec<BenchRow>,
}

/// A competitor, made anew for every seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entrant {
    Random,
    Evolution,
    PolicyGradient,
    Nsga2,
}

impl Entrant {
    fn enter(self, table: &Table, evaluations: usize) -> Result<Box<dyn Algorithm>> {
        let choices = table.choices().clone();
        Ok(match self {
            Self::Random => Box::new(RandomSearch::new(choices)),
            Self::Evolution => Box::new(Evolution::new(choices, Goal::default(), 20, 5)?),
            Self::PolicyGradient => {
                Box::new(PolicyGradient::new(choices, Goal::default(), PolicySettings::for_budget(evaluations)))
            }
            Self::Nsga2 => Box::new(Nsga2::new(choices, 20)?),
        })
    }
}

/// Runs random search, evolution and policy gradient (regret), and NSGA-II (hypervolume), `seeds` times for each of
/// `budgets`, in parallel over seeds.
///
/// # Errors
/// If there are fewer than 2 seeds (no standard error), or a budget is 0 or exceeds the table.
pub fn regret_bench(table: &Table, seeds: usize, budgets: &[usize]) -> Result<BenchResult> {
    if seeds < 2 {
        return Err(Error::bad_value("seeds", seeds, "expected at least 2"));
    }
    let networks = table.points().len();
    if let Some(&wrong) = budgets.iter().find(|&&budget| budget == 0 || budget > networks) {
        return Err(Error::bad_value("budget", wrong, format!("expected 1 to {networks}")));
    }
    let mut rows = Vec::new();
    for (measure, rivals) in [
        (Measure::Regret, [Entrant::Evolution, Entrant::PolicyGradient].as_slice()),
        (Measure::Hypervolume, [Entrant::Nsga2].as_slice()),
    ] {
        for &evaluations in budgets {
            let control = scores(table, Entrant::Random, measure, seeds, evaluations)?;
            rows.push(row(measure, evaluations, &control, None));
            for &rival in rivals {
                let own = scores(table, rival, measure, seeds, evaluations)?;
                rows.push(row(measure, evaluations, &own, Some(&control)));
            }
        }
    }
    let full_hypervolume = hypervolume_of(table, &table.points())?;
    Ok(BenchResult { networks, seeds, best_top1: table.best_top1(), full_hypervolume, rows })
}

/// The scores of one entrant, one a seed.
struct Scores {
    algorithm: &'static str,
    values: Vec<f64>,
}

fn scores(table: &Table, entrant: Entrant, measure: Measure, seeds: usize, evaluations: usize) -> Result<Scores> {
    let algorithm = entrant.enter(table, evaluations)?.name();
    let score = |seed: usize| {
        let mut algorithm = entrant.enter(table, evaluations)?;
        let records = search(table, algorithm.as_mut(), Seed::new(seed as u64), evaluations)?;
        match measure {
            Measure::Regret => Ok(table.best_top1() - records.iter().map(|r| r.outcome.top1).fold(0.0, f64::max)),
            Measure::Hypervolume => {
                let points: Vec<(f64, f64)> = records.iter().map(|r| (r.outcome.costs[0], r.outcome.top1)).collect();
                hypervolume_of(table, &points)
            }
        }
    };
    let values: Result<Vec<f64>> = (0..seeds).into_par_iter().map(score).collect();
    Ok(Scores { algorithm, values: values? })
}

fn search(table: &Table, algorithm: &mut dyn Algorithm, seed: Seed, evaluations: usize) -> Result<Vec<Record>> {
    let settings = Run {
        seed,
        evaluations,
        deadline: None,
        clock: &WallClock::start(),
        interrupted: &|| false,
        recorded: Vec::new(),
    };
    let finished = run(algorithm, &mut TableEvaluator(table), &mut (), settings)?;
    if finished.records.len() < evaluations {
        let (name, found) = (algorithm.name(), finished.records.len());
        return Err(Error::Failed(format!("{name} evaluated {found} of {evaluations} networks: {}", finished.stop)));
    }
    Ok(finished.records)
}

/// Hypervolume with the table's cheapest and dearest network in place of the uniform formats.
fn hypervolume_of(table: &Table, points: &[(f64, f64)]) -> Result<f64> {
    let (smallest, largest) = table.flops_range();
    front_hypervolume(points, smallest, largest)
}

fn row(measure: Measure, evaluations: usize, own: &Scores, control: Option<&Scores>) -> BenchRow {
    let gains: Option<Vec<f64>> = control.map(|control| {
        let gain = |(own, control): (&f64, &f64)| match measure {
            Measure::Regret => control - own,
            Measure::Hypervolume => own - control,
        };
        own.values.iter().zip(&control.values).map(gain).collect()
    });
    BenchRow {
        measure,
        algorithm: own.algorithm,
        evaluations,
        mean: mean(&own.values).unwrap_or(0.0),
        standard_error: standard_error(&own.values).unwrap_or(0.0),
        gain: gains.as_deref().and_then(mean),
        verdict: gains.as_deref().map(verdict),
    }
}

fn as_text<S: Serializer>(verdict: &Option<Verdict>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    verdict.map(|verdict| verdict.to_string()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores_of(values: &[f64]) -> Scores {
        Scores { algorithm: "test", values: values.to_vec() }
    }

    #[test]
    fn a_gain_is_a_smaller_regret_and_a_larger_hypervolume() {
        let (own, control) = (scores_of(&[1.0, 1.5]), scores_of(&[3.0, 3.6]));
        let regret = row(Measure::Regret, 10, &own, Some(&control));
        // Differences 2.0 and 2.1: mean 2.05, standard error 0.05.
        assert!((regret.gain.unwrap() - 2.05).abs() < 1e-12);
        assert_eq!(regret.verdict, Some(Verdict::Held));
        let volume = row(Measure::Hypervolume, 10, &own, Some(&control));
        assert!((volume.gain.unwrap() + 2.05).abs() < 1e-12);
        assert_eq!(volume.verdict, Some(Verdict::NotHeld));
        assert!(row(Measure::Regret, 10, &own, None).verdict.is_none());
    }

    #[test]
    fn json_spells_the_verdict_and_the_measure() {
        let row = row(Measure::Regret, 10, &scores_of(&[1.0, 1.5]), Some(&scores_of(&[3.0, 3.6])));
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!((json["verdict"].as_str(), json["measure"].as_str()), (Some("held"), Some("regret")));
    }

    #[test]
    fn a_benchmark_of_the_whole_table_has_no_regret_and_odd_settings_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.json");
        let networks: Vec<String> = (0..9)
            .map(|i| format!(r#""{}{}": {{"mean_acc": {}, "flops": {}}}"#, i / 3, i % 3, 50 + i, 100 * (i + 1)))
            .collect();
        std::fs::write(&path, format!("{{{}}}", networks.join(","))).unwrap();
        let table = crate::search::load_table(&path).unwrap();
        let result = regret_bench(&table, 2, &[9]).unwrap();
        for row in &result.rows {
            let best = if row.measure == Measure::Regret { 0.0 } else { result.full_hypervolume };
            assert!((row.mean - best).abs() < 1e-9, "{row:?}");
        }
        assert!(regret_bench(&table, 1, &[9]).is_err());
        assert!(regret_bench(&table, 2, &[0]).is_err());
        assert!(regret_bench(&table, 2, &[10]).is_err());
    }
}
