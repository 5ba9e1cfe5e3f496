//! `bitfront bench spaceevo`: an evolved space against manual ones, from images to measured networks.
//!
//! The hyperspace is evolved on a table of its own blocks, then the evolved space and uniform ones (one block type
//! everywhere, as in hand-made networks) are searched with equal budgets; members of the fronts are measured in ONNX Runtime,
//! and those that are picked are exported and run on all test images. Every step leaves a CSV and is skipped when it is there.

mod arms;
mod measured;
mod proxies;
mod words;

use std::path::PathBuf;

use clap::{Args, Parser};
use serde_json::json;

use self::arms::{Arm, arms};
use self::measured::{Point, best_within, points};
use self::proxies::{Proxy, correlations, proxies};
use super::demo::{demo_settings, folder_of};
use crate::cli::at_once::{Job, run_at_once};
use crate::cli::common::{print, reason, result_file, write_result};
use crate::cli::evolve_space::{Found, answered};
use crate::cli::{Cli, Common, Verb};
use crate::engine::{RunDirectory, Session, Summary, summary};
use crate::error::{Error, Result};
use crate::onnx::Runtime;
use crate::report::{Difference, FrontGroup, FrontPoint, fronts, gain_at_equal_cost};
use crate::seed::Seed;
use crate::space::Hyperspace;

/// An evolved space against manual ones.
#[derive(Args, Debug)]
pub struct SpaceEvoArgs {
    /// Latency table of this machine
    #[arg(long, value_name = "DIR")]
    pub target: PathBuf,
    /// The hyperspace
    #[arg(long, value_name = "SPACE", default_value = "smallw")]
    pub space: String,
    /// Latency in ms that networks must meet; each gives a part of the score and a comparison
    #[arg(long, value_name = "MS", required = true)]
    pub budget_ms: Vec<f32>,
    /// Number of seeds of each search, counted from --seed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Passes over the training images of each supernet
    #[arg(long, value_name = "N", default_value = "5")]
    pub epochs: String,
    /// Of these, those in float32
    #[arg(long, value_name = "N", default_value = "4")]
    pub float_epochs: String,
    /// Images a training step
    #[arg(long, value_name = "N", default_value = "32")]
    pub batch: String,
    /// Candidates that each search evaluates
    #[arg(long, value_name = "N", default_value = "100")]
    pub evaluations: String,
    /// Searches at the same time, each on its share of --threads [default: one a thread]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub jobs: Option<u64>,
    /// The smaller networks of a supernet learn from the largest
    #[arg(long)]
    pub distil: bool,
    /// Folder of the table of blocks and of what is measured
    #[arg(long, value_name = "DIR", default_value = "runs/bench-spaceevo")]
    pub folder: PathBuf,
    /// More options of `evolve-space`, such as '--rows 60 --block-steps 90'
    #[arg(long, value_name = "OPTIONS", default_value = "", allow_hyphen_values = true)]
    pub evolve: String,
    /// Also write the tables to this Markdown file, and a picture beside it
    #[arg(long, value_name = "FILE", value_parser = result_file)]
    pub write: Option<PathBuf>,
}

/// One search of one seed and what was measured of it.
struct Searched {
    arm: usize,
    seed: u64,
    run: Summary,
    folder: RunDirectory,
    points: Vec<Point>,
}

/// Everything that is reported.
struct Report<'a> {
    args: &'a SpaceEvoArgs,
    space: &'a Hyperspace,
    arms: Vec<Arm>,
    searched: Vec<Searched>,
    /// Some networks of the evolved space.
    proxies: Vec<Proxy>,
    /// Test top-1 in percent of what the blocks were distilled from.
    teacher_top1: f64,
}

/// Evolves, searches, measures, exports and prints the comparison.
///
/// # Errors
/// Whatever a step fails with.
pub(super) fn run(args: &SpaceEvoArgs, common: &Common) -> Result<()> {
    // Said before anything is trained, not behind the first search.
    Runtime::load()?;
    demo_settings(&line(args), common, common.root())?.check()?;
    let found = evolved(args, common)?;
    let arms = arms(&found, &args.folder)?;
    let session = common.session(common.thread_count()?, None)?;
    let searched = searched(args, &arms, &session, common)?;
    let proxies = proxies(&args.folder, &searched[0], common)?;
    let teacher_top1 = found.teacher.map_or(f64::NAN, |teacher| teacher.test_top1);
    let report = Report { args, space: &found.space, arms, searched, proxies, teacher_top1 };
    let comparisons = report.comparisons(common.root())?;
    let text = words::markdown(&report, &comparisons, common.thread_count()?);
    write_result(args.write.as_deref(), &text)?;
    if let Some(path) = &args.write {
        write_result(Some(&path.with_extension("svg")), &report.picture()?)?;
    }
    if !common.json {
        return print(&text);
    }
    let rows: Vec<_> = comparisons
        .iter()
        .map(|found| {
            let d = found.difference.as_ref();
            json!({ "budget_ms": found.budget, "against": report.arms[found.arm].name, "mean": d.map(|d| d.mean),
                "standard_error": d.and_then(|d| d.standard_error), "verdict": d.map(|d| d.verdict.to_string()) })
        })
        .collect();
    let [shared, alone, both] = correlations(&report.proxies);
    let off = report.exports().iter().map(|(_, _, off)| *off).fold(0.0, f64::max);
    print(
        &json!({ "space": report.arms[0].code.to_string(), "comparisons": rows, "largest_export_difference": off,
        "teacher_top1": report.teacher_top1, "best_student_top1": report.best_student(),
        "spearman_shared": shared, "spearman_alone": alone, "spearman_shared_alone": both })
        .to_string(),
    )
}

/// Every space searched with every seed, side by side; then, when nothing else runs, measured.
fn searched(args: &SpaceEvoArgs, arms: &[Arm], session: &Session, common: &Common) -> Result<Vec<Searched>> {
    let threads = common.thread_count()?;
    let jobs = args.jobs.map_or(threads, |jobs| jobs as usize);
    let each = Common { threads: Some((threads / jobs).max(1)), ..common.clone() };
    let mut all = Vec::new();
    for seed in common.root()..common.root() + args.seeds.max(1) {
        for (at, arm) in arms.iter().enumerate() {
            let line = [line(args), vec!["--space", arm.file()]].concat();
            let settings = demo_settings(&line, &each, seed)?;
            let name = format!("bench-spaceevo-{}", arm.slug());
            all.push((at, seed, folder_of(&settings, &name)?));
        }
    }
    let left = all.iter().filter(|(_, _, folder)| !folder.pareto().exists());
    let searches: Vec<Job> = left.map(|(_, _, folder)| resumed(folder)).collect();
    session.say(&format!("cost: {} searches, {jobs} at a time", searches.len()));
    run_at_once(&searches, jobs, ("searches", session), &mut |_| Ok(()))?;
    let measured = |(arm, seed, folder): (usize, u64, RunDirectory)| {
        let run = summary(&folder)?;
        let budgets: &[f32] = if arm == 0 { &args.budget_ms } else { &[] };
        let points = points((&run, &folder), (&args.target, budgets), session)?;
        Ok(Searched { arm, seed, run, folder, points })
    };
    all.into_iter().map(measured).collect()
}

/// A search that goes on where it is.
fn resumed(folder: &RunDirectory) -> Job {
    let place = folder.folder();
    Job { name: format!("the search in {}", place.display()), arguments: vec!["resume".into(), place.into()] }
}

/// The evolved spaces, best first.
fn evolved(args: &SpaceEvoArgs, common: &Common) -> Result<Found> {
    let place = args.folder.display().to_string();
    let target = args.target.display().to_string();
    let budgets: Vec<String> = args.budget_ms.iter().map(f32::to_string).collect();
    let mut line = vec!["bitfront", "evolve-space", "--space", &args.space, "--target", &target, "--out", &place];
    budgets.iter().for_each(|ms| line.extend(["--budget-ms", ms]));
    line.extend(args.evolve.split_whitespace());
    let cli = Cli::try_parse_from(line).map_err(|error| Error::bad_value("--evolve", &args.evolve, reason(&error)))?;
    let Verb::EvolveSpace(own) = &cli.verb else { return Err(Error::Failed("it evolves spaces".into())) };
    let common = Common { out: Some(args.folder.clone()), ..common.clone() };
    answered(own, &common)
}

/// The options of every search, but for its space.
fn line(args: &SpaceEvoArgs) -> Vec<&str> {
    let mut line = vec!["--objective", "latency_ms", "--learned-ranges"];
    line.extend(["--target", args.target.to_str().unwrap_or_default()]);
    line.extend(["--epochs", &args.epochs, "--float-epochs", &args.float_epochs, "--batch", &args.batch]);
    line.extend(["--evaluations", &args.evaluations]);
    if args.distil {
        line.push("--distil");
    }
    line
}

/// The evolved space's top-1 less that of a manual one.
struct Compared {
    /// Within this latency; without one at every measured latency that both fronts reach, averaged over its logarithm.
    budget: Option<f32>,
    arm: usize,
    /// None where a front has no member within the budget.
    difference: Option<Difference>,
}

impl Report<'_> {
    /// The best member of a search within a budget, by validation accuracy and measured latency.
    fn best(&self, arm: usize, seed: u64, budget: f32) -> Option<&Point> {
        let own = self.searched.iter().find(|search| search.arm == arm && search.seed == seed)?;
        best_within(&own.points, budget)
    }

    /// Measured latency and test top-1 of all members of a search's front.
    fn front(&self, arm: usize, seed: u64) -> Vec<(f64, f64)> {
        let own = self.searched.iter().filter(|search| search.arm == arm && search.seed == seed);
        own.flat_map(|search| &search.points).map(|point| (point.measured_ms, point.test_top1)).collect()
    }

    fn seeds(&self) -> Vec<u64> {
        self.searched.iter().filter(|search| search.arm == 0).map(|search| search.seed).collect()
    }

    fn comparisons(&self, root: u64) -> Result<Vec<Compared>> {
        let mut rng = Seed::new(root).child("bootstrap").rng();
        let mut all = Vec::new();
        for &budget in &self.args.budget_ms {
            for arm in 1..self.arms.len() {
                let gain =
                    |&seed: &u64| Some(self.best(0, seed, budget)?.test_top1 - self.best(arm, seed, budget)?.test_top1);
                let gains: Option<Vec<f64>> = self.seeds().iter().map(gain).collect();
                let difference = gains.map(|gains| Difference::of(gains, &mut rng)).transpose()?;
                all.push(Compared { budget: Some(budget), arm, difference });
            }
        }
        for arm in 1..self.arms.len() {
            let gain = |&seed: &u64| gain_at_equal_cost(&self.front(0, seed), &self.front(arm, seed));
            let gains = self.seeds().iter().map(gain).collect::<Result<_>>()?;
            all.push(Compared { budget: None, arm, difference: Some(Difference::of(gains, &mut rng)?) });
        }
        Ok(all)
    }

    /// The best test top-1 in percent of any member of any front.
    fn best_student(&self) -> f64 {
        let all = self.searched.iter().flat_map(|search| &search.points);
        all.map(|point| point.test_top1).fold(0.0, f64::max)
    }

    /// Exported members: seed, member, and by how many points top-1 differs in ONNX Runtime.
    fn exports(&self) -> Vec<(u64, &Point, f64)> {
        let own = self.searched.iter().filter(|search| search.arm == 0);
        let all = own.flat_map(|search| search.points.iter().map(move |point| (search.seed, point)));
        all.filter_map(|(seed, point)| Some((seed, point, (point.file_top1? - point.test_top1).abs()))).collect()
    }

    fn picture(&self) -> Result<String> {
        let drawn = |front: Vec<(f64, f64)>| front.into_iter().map(FrontPoint::from).collect();
        let group = |(at, arm): (usize, &Arm)| FrontGroup {
            name: arm.name.to_owned(),
            fronts: self.seeds().into_iter().map(|seed| drawn(self.front(at, seed))).collect(),
        };
        let groups: Vec<FrontGroup> = self.arms.iter().enumerate().map(group).collect();
        let budgets: Vec<f64> = self.args.budget_ms.iter().map(|&ms| f64::from(ms)).collect();
        fronts("measured latency (ms)", "test top-1 (%)", &groups, &budgets)
    }
}
