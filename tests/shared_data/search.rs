//! The search algorithms on NAS-Bench-Macro: 6,561 trained CIFAR-10 networks, so the regret is exact.
//!
//! Needs `nas-bench-macro_cifar10.json` in `../shared/data` or in BITFRONT_DATA; skipped, saying so, without it.

use bitfront::search::Measure;
use bitfront::search::load_table;
use bitfront::search::regret_bench;
use bitfront::stats::Verdict;

use super::shared;

#[test]
fn the_table_has_the_published_best_network() {
    let Some(path) = shared("nas-bench-macro_cifar10.json") else { return };
    let table = load_table(path).unwrap();
    assert_eq!(table.choices().options(), [3; 8]);
    assert_eq!(table.points().len(), 6561);
    assert!((table.best_top1() - 93.127).abs() < 5e-4);
}

#[test]
fn algorithms_beat_random_search_on_trained_networks() {
    let Some(path) = shared("nas-bench-macro_cifar10.json") else { return };
    let result = regret_bench(&load_table(path).unwrap(), 20, &[300, 1000]).unwrap();
    for row in &result.rows {
        assert!(row.mean >= 0.0 && (row.measure == Measure::Regret || row.mean <= result.full_hypervolume));
        if let Some(verdict) = row.verdict {
            let (measure, name, gain) = (row.measure, row.algorithm, row.gain);
            assert_eq!(verdict, Verdict::Held, "{measure:?} {name} at {}: gain {gain:?}", row.evaluations);
        }
    }
    let names = |measure| -> Vec<&str> {
        result.rows.iter().filter(|row| row.measure == measure).map(|row| row.algorithm).collect()
    };
    assert_eq!(names(Measure::Regret), ["random", "evolution", "policy-gradient"].repeat(2));
    assert_eq!(names(Measure::Hypervolume), ["random", "nsga2"].repeat(2));
}

/// Expected regret of the best of `draws` networks drawn without replacement, from the sorted accuracies alone:
/// the k-th best is the best drawn with probability draws / (n - k + 1) if none above it was.
fn expected_random_regret(mut accuracies: Vec<f64>, draws: usize) -> f64 {
    accuracies.sort_by(|a, b| b.total_cmp(a));
    let (mut above_missed, mut regret) = (1.0, 0.0);
    for (k, accuracy) in accuracies.iter().enumerate() {
        let hit = (draws as f64 / (accuracies.len() - k) as f64).min(1.0);
        regret += above_missed * hit * (accuracies[0] - accuracy);
        above_missed *= 1.0 - hit;
    }
    regret
}

#[test]
fn random_search_has_the_regret_that_counting_predicts() {
    let Some(path) = shared("nas-bench-macro_cifar10.json") else { return };
    let table = load_table(path).unwrap();
    let accuracies: Vec<f64> = table.points().iter().map(|(_, top1)| *top1).collect();
    let result = regret_bench(&table, 100, &[100, 300]).unwrap();
    let random = result.rows.iter().filter(|row| row.measure == Measure::Regret && row.algorithm == "random");
    for row in random {
        // Four standard errors: a false alarm in 16,000.
        let expected = expected_random_regret(accuracies.clone(), row.evaluations);
        assert!((row.mean - expected).abs() < 4.0 * row.standard_error, "{expected} against {row:?}");
    }
}
