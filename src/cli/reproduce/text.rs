//! The report: claims with verdicts, every network, switching errors, and the published costs beside ours.

use std::time::Duration;

use serde_json::{Value, json};

use super::Plan;
use crate::engine::spoken;
use crate::error::Result;
use crate::report::markdown_table;
use crate::reproduce::{
    Cell, Claim, Extent, MARGIN, Point, Recomputed, Row, Rule, SwitchingSeries, claims, recomputed, recomputed_hawq,
};
use crate::stats::{mean, spearman, standard_error};

/// A claim beside what the published points say of it.
pub(super) struct Weighed {
    claim: Claim,
    /// Mean difference of the published points, where they have such pairs.
    published: Option<f64>,
}

impl Weighed {
    /// For `--json`.
    pub(super) fn json(&self) -> Value {
        let claim = &self.claim;
        json!({
            "claim": claim.text,
            "unit": claim.unit,
            "mean": claim.mean(),
            "standard_error": claim.standard_error(),
            "n": claim.per_seed.len(),
            "pairs": claim.pairs,
            "verdict": claim.verdict().to_string(),
            "published": self.published,
        })
    }

    fn row(&self) -> Vec<String> {
        let claim = &self.claim;
        let rule = match claim.rule {
            Rule::Above => "> 0".to_owned(),
            Rule::AtLeast => format!("> -{MARGIN}"),
            Rule::Equal => format!("0 +- {MARGIN}"),
        };
        vec![
            claim.text.to_owned(),
            rule,
            claim.unit.to_owned(),
            format!("{:+.2}", claim.mean()),
            claim.standard_error().map_or_else(|| "-".to_owned(), |error| format!("{error:.2}")),
            claim.per_seed.len().to_string(),
            claim.pairs.to_string(),
            claim.verdict().to_string(),
            self.published.map_or_else(|| "-".to_owned(), |mean| format!("{mean:+.2}")),
        ]
    }
}

/// The claims for which there are finished networks.
pub(super) fn weighed(rows: &[&Row], published: &[Point]) -> Vec<Weighed> {
    let points: Vec<Point> = rows.iter().map(|row| row.point()).collect();
    let switching: Vec<(Cell, SwitchingSeries)> =
        searches(rows).map(|row| (row.cell(), row.switching.clone())).collect();
    let theirs = claims(published, &[]);
    let of = |claim: Claim| {
        let published = theirs.iter().find(|other| other.text == claim.text).map(Claim::mean);
        Weighed { claim, published }
    };
    claims(&points, &switching).into_iter().map(of).collect()
}

/// The searches whose policy settles under an entropy penalty.
fn searches<'a>(rows: &'a [&Row]) -> impl Iterator<Item = &'a Row> {
    let searched = |row: &&Row| row.purpose == crate::reproduce::Purpose::Search && !row.switching.0.is_empty();
    rows.iter().copied().filter(searched)
}

/// The whole report.
///
/// # Errors
/// None in a program whose tests pass: the published tables are part of it.
pub(super) fn markdown(plan: &Plan, rows: &[&Row], claims: &[Weighed]) -> Result<String> {
    let training = spoken(Duration::from_secs_f64(rows.iter().map(|row| row.wall_s).sum()));
    let protocol = plan.protocol;
    let what = match protocol.extent {
        Extent::Scaled => {
            "The scaled protocol: a small network of the family on small images, not ImageNet. Compare differences with the\n\
             published ones, not levels."
        }
        Extent::Full => {
            "The full protocol on the images of --data. The published schedule is not known to us; this one is ours."
        }
    };
    let header = ["claim", "holds if", "difference in", "mean", "s.e.", "n", "pairs", "verdict", "published"];
    let picture =
        |path: std::path::PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(format!(
        "# Claims of mixed-precision search: {}\n\nWritten by\n`{}`\n(bitfront {}, data {}, protocol {}): {} networks, \
         {training} of training.\n{what}\n\n![our curves]({})\n\n![published curves, {} on ImageNet]({})\n\n## Claims\n\n{}\n\
         Points are of test top-1. Pairs of a seed are averaged, n counts seeds. Held, not held: the mean lies beyond the bound by\n\
         more than two standard errors, on the one side or the other; else undecided. Equal cost: uniform 4 and 8 bits,\n\
         interpolated over log cost. Published: the mean of the same differences of the published points.\n\n\
         In the pictures bars are standard errors, uniform formats of one width are joined; S and L are FLIQS-S and -L over\n\
         widths and targets.\n\n\
         ## Networks\n\n{}\nTop-1 on the test images, mean over n seeds. Target: share of the int8 cost that a search aims at.\n\
         Networks are trained from the same initial weights for as many epochs; those of a search keep the weights it left.\n\n\
         {}{}",
        protocol.name,
        plan.command,
        env!("CARGO_PKG_VERSION"),
        plan.conditions.data,
        protocol.version(),
        rows.len(),
        picture(plan.picture()),
        protocol.published[0],
        picture(plan.published_picture()),
        markdown_table(&header, &claims.iter().map(Weighed::row).collect::<Vec<_>>()),
        networks(plan, rows),
        switching(rows),
        costs(protocol.published)?
    ))
}

/// A row a setting.
fn networks(plan: &Plan, rows: &[&Row]) -> String {
    let header =
        ["numbers", "formats", "width", "purpose", "target", "n", "gbops", "w/a bits", "top-1", "s.e.", "cost/target"];
    let mut settings: Vec<Cell> = Vec::new();
    for cell in plan.cells.iter().map(|cell| Cell { seed: 0, ..*cell }) {
        if !settings.contains(&cell) {
            settings.push(cell);
        }
    }
    let line = |setting: Cell| {
        let own: Vec<&Row> = rows.iter().copied().filter(|row| Cell { seed: 0, ..row.cell() } == setting).collect();
        let all = |value: fn(&Row) -> Option<f64>| own.iter().filter_map(|row| value(row)).collect::<Vec<f64>>();
        let average = |value: fn(&Row) -> Option<f64>| mean(&all(value));
        let shown =
            |number: Option<f64>, digits: usize| number.map_or_else(|| "-".to_owned(), |x| format!("{x:.digits$}"));
        vec![
            setting.numbers.to_string(),
            setting.formats.to_string(),
            setting.width.to_string(),
            setting.purpose.to_string(),
            setting.target.map_or_else(|| "-".to_owned(), |share| share.to_string()),
            own.len().to_string(),
            shown(average(|row| Some(row.gbops)), 4),
            format!(
                "{}/{}",
                shown(average(|row| Some(row.avg_w_bits)), 1),
                shown(average(|row| Some(row.avg_a_bits)), 1)
            ),
            shown(average(|row| Some(row.test_top1)), 2),
            shown(standard_error(&all(|row| Some(row.test_top1))), 2),
            shown(average(|row| row.achieved_over_target), 3),
        ]
    };
    markdown_table(&header, &settings.into_iter().map(line).collect::<Vec<_>>())
}

/// Entropy and switching error by epoch; nothing where no search measured them.
fn switching(rows: &[&Row]) -> String {
    let all: Vec<&SwitchingSeries> = searches(rows).map(|row| &row.switching).collect();
    let epochs = all.iter().map(|series| series.0.len()).max().unwrap_or(0);
    if epochs == 0 {
        return String::new();
    }
    let at = |epoch: usize, value: fn(&(f64, f64, f64)) -> f64| {
        let values: Vec<f64> = all.iter().filter_map(|series| series.0.get(epoch)).map(value).collect();
        mean(&values).unwrap_or_default()
    };
    let line = |epoch: usize| {
        let percent = |value| format!("{:.2}", 100.0 * at(epoch, value));
        vec![(epoch + 1).to_string(), format!("{:.3}", at(epoch, |e| e.0)), percent(|e| e.1), percent(|e| e.2)]
    };
    let pairs: Vec<(f64, f64)> =
        all.iter().flat_map(|series| &series.0).map(|&(entropy, policy, _)| (entropy, policy)).collect();
    let rank = spearman(&pairs).map_or_else(|| "-".to_owned(), |rank| format!("{rank:.2}"));
    format!(
        "## Switching error\n\n{}\nAt the end of each epoch, on fixed weights and images: mean |y_i - y_j| over mean |y|, in percent, of the\n\
         layers' outputs in two networks drawn from the policy, or drawn evenly; means over {} searches. Spearman's rank\n\
         correlation of entropy and error, all epochs and searches: {rank} (n = {}).\n\n",
        markdown_table(
            &["epoch", "entropy", "drawn from policy", "drawn evenly"],
            &(0..epochs).map(line).collect::<Vec<_>>()
        ),
        all.len(),
        pairs.len()
    )
}

/// Published costs of uniform networks beside ours.
fn costs(models: &[&str]) -> Result<String> {
    let mut all: Vec<(&str, Recomputed)> = Vec::new();
    for model in models {
        all.extend(recomputed(model)?.into_iter().map(|row| ("FLIQS", row)));
        let same_family = |row: &Recomputed| row.model.trim_end_matches("_v1") == *model;
        all.extend(recomputed_hawq()?.into_iter().filter(same_family).map(|row| ("HAWQ-V3", row)));
    }
    let fits = |row: &Recomputed| row.units_off() <= 0.5;
    let line = |(source, row): &(&str, Recomputed)| {
        let off = if fits(row) { "equal".to_owned() } else { format!("{:.1} units", row.units_off()) };
        let words = [source, row.model.as_str(), &row.network, row.format.name(), &row.published, &row.rounded(), &off];
        words.map(str::to_owned).to_vec()
    };
    let header = ["source", "model", "network", "format", "published gbops", "ours", "to rounding"];
    Ok(format!(
        "## Published costs\n\n{}\n{} of {} are equal to rounding; the others' distance is in units of the last published digit. Networks in\n\
         one format: of mixed ones only the cost is published, not the formats. Network: factor on the widths; of DeiT its\n\
         features (`bitfront cost --model deit_small --width` takes them over 384). Conventions: fliqs; for HAWQ-V3 full.\n\
         Sources: data/published, whose README names points that look like slips.\n",
        markdown_table(&header, &all.iter().map(line).collect::<Vec<_>>()),
        all.iter().filter(|(_, row)| fits(row)).count(),
        all.len()
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Verb};
    use crate::genome::Genome;
    use crate::reproduce::{FormatSet, Purpose, published_points};

    fn plan(line: &str) -> Plan {
        let cli = Cli::try_parse_from(["bitfront", "reproduce"].into_iter().chain(line.split(' '))).unwrap();
        let Verb::Reproduce(args) = &cli.verb else { panic!("not reproduce") };
        Plan::new(args, &cli.common).unwrap()
    }

    /// A row whose top-1 is that of its formats and grows by the seed, searches at twice the 4-bit cost.
    fn row(plan: &Plan, cell: &Cell) -> Row {
        let (gbops, top1) = match cell.formats {
            FormatSet::Uniform(4) => (1.0, 70.0),
            FormatSet::Uniform(_) => (4.0, 80.0),
            FormatSet::S => (2.0, 74.0),
            FormatSet::L => (2.0, 77.0),
        };
        let searched = cell.purpose == Purpose::Search;
        let series = SwitchingSeries(vec![(1.5, 0.4, 0.4), (0.1, 0.1, 0.3 - cell.seed as f64 / 100.0)]);
        Row {
            cell: cell.name(),
            numbers: cell.numbers,
            formats: cell.formats,
            width: cell.width,
            purpose: cell.purpose,
            target: cell.target,
            seed: cell.seed,
            protocol: plan.conditions.protocol.clone(),
            data: plan.conditions.data.clone(),
            weights: String::new(),
            epochs: plan.epochs,
            validation: plan.conditions.validation.clone(),
            test_top1: top1 + cell.seed as f64 / 10.0,
            top1,
            gbops,
            size_mb: 1.0,
            avg_w_bits: 4.0,
            avg_a_bits: 4.0,
            achieved_over_target: searched.then_some(1.0),
            least_certain: searched.then_some(0.99),
            genome: Genome(vec![0]),
            switching: if searched { series } else { SwitchingSeries::default() },
            threads: 1,
            wall_s: 30.0,
        }
    }

    #[test]
    fn a_report_says_what_held_and_what_did_not_and_nothing_of_what_was_not_trained() {
        let plan = plan("vit --threads 1");
        let all: Vec<Row> = plan.cells.iter().map(|cell| row(&plan, cell)).collect();
        let mut rows: Vec<&Row> = all.iter().collect();
        let published = published_points("deit_small").unwrap();
        let text = markdown(&plan, &rows, &weighed(&rows, &published)).unwrap();
        let line =
            |text: &str, part: &str| text.lines().find(|line| line.contains(part)).unwrap_or_default().to_owned();
        // At half of the two doublings uniform formats have 75; seeds shift both sides alike.
        assert!(line(&text, "FLIQS-L beats").contains("+2.00") && line(&text, "FLIQS-L beats").contains("| held "));
        assert!(line(&text, "FLIQS-S beats").contains("-1.00") && line(&text, "FLIQS-S beats").contains("not held"));
        assert!(line(&text, "the switching error falls").contains("+30.00"));
        for absent in ["integers", "wider", "scratch", "penalty beats", "operators"] {
            assert!(!text.contains(absent), "{absent}");
        }
        assert!(
            text.contains("`bitfront reproduce vit --seeds 3 --epochs 3 --validation 1000`")
                && text.contains("12 networks, 6 min 0 s")
        );
        assert!(text.contains("reproduce_vit_published.svg") && line(&text, "| FLIQS ").contains("deit_small"));
        // One seed decides nothing.
        rows.truncate(4);
        let text = markdown(&plan, &rows, &weighed(&rows, &published)).unwrap();
        assert!(line(&text, "FLIQS-L beats").contains("undecided"));
    }
}
