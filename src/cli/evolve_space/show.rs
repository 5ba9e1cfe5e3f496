//! How scored spaces are shown.

use serde_json::{Value, json};

use super::describe::mmacs;
use crate::cli::Common;
use crate::cli::common::print;
use crate::engine::TeacherResult;
use crate::error::Result;
use crate::report::markdown_table;
use crate::search::{QtScore, QtSettings};
use crate::space::{Hyperspace, SpaceCode};

/// Spaces to show, best first.
pub(in crate::cli) struct Found {
    pub(in crate::cli) space: Hyperspace,
    pub(super) settings: QtSettings,
    pub(in crate::cli) spaces: Vec<(SpaceCode, QtScore)>,
    /// Number of spaces they are the best of; none where they were given.
    pub(super) evaluations: Option<usize>,
    pub(super) seconds: f64,
    /// What the table's blocks were distilled from, where the table is our own.
    pub(in crate::cli) teacher: Option<TeacherResult>,
}

/// Prints spaces with their scores, as a table or as one JSON object.
pub(super) fn spaces(found: &Found, common: &Common) -> Result<()> {
    let (scored, settings) = (&found.spaces, &found.settings);
    if common.json {
        let list = scored.iter().map(|(code, score)| one(found, code, score)).collect::<Result<Vec<_>>>()?;
        return print(
            &json!({ "spaces": list, "space": found.space.name, "budgets_ms": settings.budgets_ms, "samples": settings.samples,
            "evaluations": found.evaluations, "seed": common.root(), "seconds": found.seconds })
            .to_string(),
        );
    }
    let budgets = &settings.budgets_ms;
    let mut header = vec!["space".to_owned(), "score".to_owned()];
    for ms in budgets {
        header.extend([format!("loss at {ms} ms"), "share".to_owned()]);
    }
    header.push("MMACs".to_owned());
    let mut rows = Vec::with_capacity(scored.len());
    for (code, score) in scored {
        let mut row = vec![code.to_string(), format!("{:.4}", score.score)];
        for budget in &score.budgets {
            let loss = budget.loss.map_or_else(|| "-".to_owned(), |loss| format!("{loss:.3}"));
            row.extend([loss, format!("{:.2}%", 100.0 * budget.share)]);
        }
        row.push(range(mmacs_of(&found.space, code)?));
        rows.push(row);
    }
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let table = markdown_table(&header, &rows);
    let best = scored.first().map_or_else(String::new, |(code, _)| format!("\n{code}: {}", words(&found.space, code)));
    print(&format!("{}\n\n{table}{best}", heading(found)))
}

fn heading(found: &Found) -> String {
    let Found { space, settings, seconds, .. } = found;
    let budgets = settings.budgets_ms.iter().map(f32::to_string).collect::<Vec<_>>().join(" and ");
    let what = match found.evaluations {
        Some(count) => format!("best of {count} scored spaces out of {}", space.count()),
        None => "scores".to_owned(),
    };
    format!(
        "{} within {budgets} ms: {what}, {} networks sampled of each, {seconds:.1} s\n\
         loss: noise to signal of the best {} within the budget; share: sampled networks within it; MMACs: smallest to largest",
        space.name, settings.samples, settings.top
    )
}

/// A space as JSON.
fn one(found: &Found, code: &SpaceCode, score: &QtScore) -> Result<Value> {
    let space = &found.space;
    let budgets = score
        .budgets
        .iter()
        .zip(&found.settings.budgets_ms)
        .map(|(budget, ms)| json!({ "budget_ms": ms, "loss": budget.loss, "share": budget.share }));
    let kinds: Vec<&str> = code.blocks.iter().map(|&kind| space.blocks[usize::from(kind)].kind.name()).collect();
    let widths = space.stages.iter().zip(&code.windows).map(|(stage, &window)| stage.window(usize::from(window)));
    let (least, most) = mmacs_of(space, code)?;
    Ok(json!({ "code": code.to_string(), "score": score.score, "budgets": budgets.collect::<Vec<_>>(), "blocks": kinds,
        "widths": widths.collect::<Vec<_>>(), "mmacs": [least, most] }))
}

/// Millions of multiplications of a space's smallest and largest network.
fn mmacs_of(space: &Hyperspace, code: &SpaceCode) -> Result<(f64, f64)> {
    Ok((mmacs(&space.smallest(code)?), mmacs(&space.largest(code)?)))
}

fn range((least, most): (f64, f64)) -> String {
    format!("{least:.0}-{most:.0}")
}

/// Block types and widths of a space, stage by stage.
fn words(space: &Hyperspace, code: &SpaceCode) -> String {
    let stage = |(index, (&kind, &window)): (usize, (&u8, &u8))| {
        let widths = space.stages[index].window(usize::from(window));
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        format!("{} {first}-{last}", space.blocks[usize::from(kind)].kind.name())
    };
    let stages: Vec<String> = code.blocks.iter().zip(&code.windows).enumerate().map(stage).collect();
    stages.join(", ")
}
