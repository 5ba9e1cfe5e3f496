//! The Markdown of `bench spaceevo`.

use super::proxies::{Proxy, correlations};
use super::{Compared, Report};
use crate::cli::common::written_by;
use crate::report::markdown_table;
use crate::stats::mean;

/// The whole report.
pub(super) fn markdown(report: &Report, comparisons: &[Compared], threads: usize) -> String {
    let budgets: Vec<String> = report.args.budget_ms.iter().map(f32::to_string).collect();
    format!(
        "# An evolved space against manual ones\n\n{}\non the hyperspace `{}`.\n\n\
         The space was evolved for {} ms on a table of blocks distilled from a teacher on the same images. Each space trains a\n\
         supernet of its own for as many epochs and scores as many candidates under int8; NSGA-II trades validation accuracy for\n\
         predicted latency. Members of the fronts are measured in ONNX Runtime, one thread; within a budget the member of the best\n\
         validation accuracy counts, and its test top-1 is shown.\n\n{}\n{}\n{}\n{}\n{}\n{}",
        written_by(threads),
        report.space.name,
        budgets.join(" and "),
        spaces(report),
        accuracies(report),
        verdicts(report, comparisons),
        proofs(report),
        teacher(report),
        proxies(report)
    )
}

fn spaces(report: &Report) -> String {
    let row = |arm: &super::Arm| vec![arm.name.to_owned(), arm.code.to_string()];
    let rows: Vec<Vec<String>> = report.arms.iter().map(row).collect();
    markdown_table(&["space", "code"], &rows)
}

fn accuracies(report: &Report) -> String {
    let mut rows = Vec::new();
    for &budget in &report.args.budget_ms {
        for (at, arm) in report.arms.iter().enumerate() {
            let best: Vec<_> = report.seeds().into_iter().map(|seed| report.best(at, seed, budget)).collect();
            let shown = |value: fn(&super::Point) -> f64, digits: usize| {
                let values: Option<Vec<f64>> = best.iter().map(|point| point.map(value)).collect();
                let mean = values.and_then(|values| mean(&values));
                mean.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.digits$}"))
            };
            let each = |point: &Option<&super::Point>| point.map_or("-".to_owned(), |p| format!("{:.2}", p.test_top1));
            rows.push(vec![
                budget.to_string(),
                arm.name.to_owned(),
                shown(|point| point.test_top1, 2),
                best.iter().map(each).collect::<Vec<_>>().join(", "),
                shown(|point| point.measured_ms, 4),
                shown(|point| point.predicted_ms, 4),
            ]);
        }
    }
    let header = ["budget ms", "space", "test top-1", "each seed", "measured ms", "predicted ms"];
    markdown_table(&header, &rows)
}

fn verdicts(report: &Report, comparisons: &[Compared]) -> String {
    let row = |found: &Compared| {
        let d = found.difference.as_ref();
        let missing = || "-".to_owned();
        vec![
            found.budget.map_or_else(|| "any".to_owned(), |budget| budget.to_string()),
            report.arms[found.arm].name.to_owned(),
            d.map_or_else(missing, |d| format!("{:+.2}", d.mean)),
            d.and_then(|d| d.standard_error).map_or_else(missing, |error| format!("{error:.2}")),
            d.map_or_else(|| "no member within the budget".to_owned(), |d| d.verdict.to_string()),
        ]
    };
    let rows: Vec<Vec<String>> = comparisons.iter().map(row).collect();
    let header = ["budget ms", "evolved minus", "points", "standard error", "verdict"];
    format!(
        "Verdict: held where the mean difference exceeds two standard errors. Any: the best within each measured latency that both fronts\n\
         reach, averaged over its logarithm.\n\n{}",
        markdown_table(&header, &rows)
    )
}

fn proofs(report: &Report) -> String {
    let exports = report.exports();
    let row = |(seed, point, off): &(u64, &super::Point, f64)| {
        let file = point.file_top1.map_or_else(|| "-".to_owned(), |top1| format!("{top1:.2}"));
        vec![seed.to_string(), format!("#{}", point.id), format!("{:.2}", point.test_top1), file, format!("{off:.2}")]
    };
    let rows: Vec<Vec<String>> = exports.iter().map(row).collect();
    let header = ["seed", "member", "test top-1", "in ONNX Runtime", "difference"];
    let largest = exports.iter().map(|(_, _, off)| *off).fold(0.0, f64::max);
    format!(
        "Exported members of the evolved space, the supernet's int8 accuracy against the file's on all test images; largest\n\
         difference {largest:.2} points.\n\n{}\n",
        markdown_table(&header, &rows)
    )
}

/// Whether what the blocks were distilled from is worth learning from.
fn teacher(report: &Report) -> String {
    let (teacher, student) = (report.teacher_top1, report.best_student());
    format!(
        "The teacher reaches {teacher:.2} % of the test images, the best member of any front {student:.2} %: {:.2} points less.\n",
        teacher - student
    )
}

/// Q-T losses against accuracies.
fn proxies(report: &Report) -> String {
    let alone: Vec<&Proxy> = report.proxies.iter().filter(|own| own.alone_top1.is_some()).collect();
    let row = |own: &&Proxy| {
        vec![
            format!("#{}", own.id),
            format!("{:.3}", own.loss),
            format!("{:.2}", own.shared_top1),
            own.alone_top1.map_or_else(|| "-".to_owned(), |top1| format!("{top1:.2}")),
        ]
    };
    let rows: Vec<Vec<String>> = alone.iter().map(row).collect();
    let named = |rho: Option<f64>| rho.map_or_else(|| "undefined".to_owned(), |rho| format!("{rho:.2}"));
    let [shared, of_alone, both] = correlations(&report.proxies).map(named);
    format!(
        "Q-T loss (noise of the stages, added up; lower is better) of {} networks of the evolved space against validation top-1 on\n\
         the weights of the supernet of seed {}, Spearman's correlation: {shared}. Of {} of them, each also trained alone as long: loss against\n\
         top-1 alone {of_alone}, top-1 shared against alone {both}.\n\n{}",
        report.proxies.len(),
        report.searched[0].seed,
        alone.len(),
        markdown_table(&["network", "Q-T loss", "top-1 shared", "top-1 alone"], &rows)
    )
}
