//! `bitfront reproduce`: the experiments behind published claims, cell by cell, with a verdict on each claim.

mod plan;
mod text;
mod work;

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use self::plan::Plan;
use self::work::Work;
use super::Common;
use super::at_once::{Job, run_at_once};
use super::common::{print, write_result};
use super::kept::{keep, kept};
use crate::data::{DataSource, Holdout};
use crate::engine::Session;
use crate::error::{Error, Result};
use crate::report::{FrontGroup, FrontPoint, fronts, markdown_table};
use crate::reproduce::{
    Cell, Curve, CurvePoint, Point, Protocol, Purpose, Row, check_conditions, curves, find, published_points,
};

/// Put published claims to the test.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  bitfront reproduce resnet                   small networks of the family, on the embedded images
  bitfront reproduce resnet20 --data cifar10:DIR --weights resnet20.safetensors
  bitfront reproduce resnet18 --data imagefolder:DIR --epochs 90
  bitfront reproduce resnet --list            the networks, and which are finished
Interrupted or repeated, it goes on with the next network.")]
pub struct ReproduceArgs {
    /// Experiments: on small networks (resnet, mobilenet, vit; resnet20 on CIFAR-10), or on ImageNet's (the others; without
    /// --data the small networks of the family)
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(Protocol::NAMES))]
    pub name: String,
    /// Images instead of the usual ones: imagefolder:DIR for ImageNet, cifar10:DIR for resnet20
    #[arg(long)]
    pub data: Option<DataSource>,
    /// resnet20: trained weights in float to start from
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Number of seeds, counted from --seed [default: 3; on ImageNet 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: Option<u64>,
    /// Passes over the training images, of every training [default: 5; mobilenet and vit 3; resnet20 2; on ImageNet 90]
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Training images held out: a number or a share
    #[arg(long, value_name = "N", default_value = "1000")]
    pub validation: Holdout,
    /// Folder of the table, the report and the pictures
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub write_folder: PathBuf,
    /// Networks trained at the same time, each on its share of --threads [default: one a thread; on ImageNet 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub jobs: Option<u64>,
    /// Only list the networks, and which are finished
    #[arg(long)]
    pub list: bool,
    /// Only this network; its row goes to its run's folder. The command starts itself with this
    #[arg(long, value_name = "CELL", hide = true)]
    pub only: Option<String>,
}

/// Runs the cells that are not finished, and writes the report over all.
///
/// # Errors
/// A kept row of other conditions; whatever a training fails with; an interrupt, with all finished cells kept.
pub fn run(args: &ReproduceArgs, common: &Common) -> Result<()> {
    let plan = Plan::new(args, common)?;
    let mut rows: Vec<Row> = kept(&plan.table())?.unwrap_or_default();
    check_conditions(&rows, &plan.conditions, &plan.table())?;
    if args.list {
        return list(&plan, &rows, common);
    }
    let session = common.session(plan.threads, None)?;
    if plan.protocol.name != args.name {
        let small = plan.protocol.name;
        session.say(&format!("{} without imagefolder:DIR: the scaled protocol of its family, `{small}`", args.name));
    }
    if let Some(name) = &args.only {
        return Work { plan: &plan, session: &session, common }.only(name, &rows);
    }
    finish(&plan, &mut rows, &session, common)?;
    let rows: Vec<&Row> = plan.cells.iter().filter_map(|cell| find(&rows, cell)).collect();
    let points: Vec<Point> = rows.iter().map(|row| row.point()).collect();
    let published = published_points(plan.protocol.published[0])?;
    for (points, path) in [(&points, plan.picture()), (&published, plan.published_picture())] {
        write_result(Some(&path), &picture(points)?)?;
    }
    let claims = text::weighed(&rows, &published);
    let report = text::markdown(&plan, &rows, &claims)?;
    write_result(Some(&plan.report()), &report)?;
    if !common.json {
        return print(&report);
    }
    let claims: Vec<_> = claims.iter().map(text::Weighed::json).collect();
    print(&json!({ "name": plan.protocol.name, "cells": rows.len(), "claims": claims, "rows": rows }).to_string())
}

/// Trains what is missing; every finished cell is on disk before the next begins.
fn finish(plan: &Plan, rows: &mut Vec<Row>, session: &Session, common: &Common) -> Result<()> {
    let left: Vec<Cell> = plan.cells.iter().filter(|cell| find(rows, cell).is_none()).copied().collect();
    let folder = &plan.folder;
    std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
    let work = Work { plan, session, common };
    work.state_cost(&left)?;
    if plan.jobs > 1 {
        return side_by_side(&work, &left, rows);
    }
    for (index, cell) in left.iter().enumerate() {
        session.check_interrupt(&format!("{}; the same command goes on with the next", plan.kept(rows)))?;
        session.say(&format!("{}, {} of {}", cell.name(), index + 1, left.len()));
        let row = work.finished(cell, rows).map_err(|error| resumable(error, plan, rows, "this one"))?;
        add(plan, rows, row, session)?;
    }
    Ok(())
}

/// Trains cells in processes of their own, those that need another's result last.
fn side_by_side(work: &Work, left: &[Cell], rows: &mut Vec<Row>) -> Result<()> {
    let (last, first): (Vec<Cell>, Vec<Cell>) = left.iter().partition(|cell| cell.purpose == Purpose::Scratch);
    for cells in [first, last].iter().filter(|cells| !cells.is_empty()) {
        let jobs: Vec<Job> = cells.iter().map(|cell| work.job(cell)).collect();
        let mut finished = |at: usize| add(work.plan, rows, work.row(&cells[at])?, work.session);
        let ended = run_at_once(&jobs, work.plan.jobs, ("networks", work.session), &mut finished);
        ended.map_err(|error| resumable(error, work.plan, rows, "the next"))?;
    }
    Ok(())
}

/// An interrupt says what is kept and how to go on.
fn resumable(error: Error, plan: &Plan, rows: &[Row], next: &str) -> Error {
    match error {
        Error::Interrupted(_) => {
            Error::Interrupted(format!(": {}; the same command goes on with {next}", plan.kept(rows)))
        }
        other => other,
    }
}

/// Keeps a finished row, in the order of the cells.
fn add(plan: &Plan, rows: &mut Vec<Row>, row: Row, session: &Session) -> Result<()> {
    session.say(&format!(
        "{}: test top-1 {:.2} % at {:.4} gbops, {:.0} s",
        row.cell, row.test_top1, row.gbops, row.wall_s
    ));
    rows.push(row);
    rows.sort_by_key(|row| plan.cells.iter().position(|cell| cell.name() == row.cell));
    keep(&plan.table(), rows)
}

fn list(plan: &Plan, rows: &[Row], common: &Common) -> Result<()> {
    if common.json {
        let cell = |cell: &Cell| json!({ "cell": cell.name(), "finished": find(rows, cell).is_some() });
        let cells: Vec<_> = plan.cells.iter().map(cell).collect();
        return print(&json!({ "name": plan.protocol.name, "cells": cells }).to_string());
    }
    let line = |cell: &Cell| {
        let top1 = find(rows, cell).map_or_else(|| "-".to_owned(), |row| format!("{:.2}", row.test_top1));
        vec![cell.name(), cell.purpose.to_string(), top1]
    };
    let lines: Vec<Vec<String>> = plan.cells.iter().map(line).collect();
    print(&markdown_table(&["network", "purpose", "test top-1"], &lines))
}

/// Top-1 over cost, a colour a method, with standard errors.
fn picture(points: &[Point]) -> Result<String> {
    let point = |point: CurvePoint| FrontPoint { cost: point.gbops, value: point.top1, error: point.error };
    let line = |line: Vec<CurvePoint>| line.into_iter().map(point).collect();
    let group = |curve: Curve| FrontGroup { name: curve.name, fronts: curve.lines.into_iter().map(line).collect() };
    let groups: Vec<FrontGroup> = curves(points).into_iter().map(group).collect();
    fronts("bit operations (1e9)", "top-1 (%)", &groups, &[])
}
