//! `bitfront bench joint`: operators and formats searched together, against either alone, at equal evaluations.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::Common;
use super::demo::{demo_settings, run_or_read};
use crate::cli::common::print;
use crate::cli::common::result_file;
use crate::cli::common::write_result;
use crate::cli::common::written_by;
use crate::engine::Settings;
use crate::engine::Status;
use crate::engine::Summary;
use crate::error::Result;
use crate::formats::Format;
use crate::report::Difference;
use crate::report::gain_at_equal_cost;
use crate::report::markdown_table;
use crate::seed::Seed;
use crate::space::Space;

/// The joint search over seeds.
#[derive(Args, Debug)]
pub struct JointArgs {
    /// Space with elastic operators and several formats, int8 among them
    #[arg(long, value_name = "FILE", default_value = "search_spaces/mobilenet_v2_fashion_elastic.ron")]
    pub space: String,
    /// Number of seeds, counted from --seed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Passes over the training images, of each search
    #[arg(long, value_name = "N", default_value = "3")]
    pub epochs: String,
    /// Candidates that each search evaluates
    #[arg(long, value_name = "N", default_value = "100")]
    pub evaluations: String,
    /// Also write the tables to this Markdown file
    #[arg(long, value_name = "FILE", value_parser = result_file)]
    pub write: Option<PathBuf>,
}

/// What a search may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freedom {
    Joint,
    Formats,
    Operators,
}

impl Freedom {
    const ALL: [Self; 3] = [Self::Joint, Self::Formats, Self::Operators];

    fn name(self) -> &'static str {
        match self {
            Self::Joint => "joint",
            Self::Formats => "formats only",
            Self::Operators => "operators only, int8",
        }
    }

    /// The settings with what is not free left out of the space: the published operators, or int8.
    fn of(self, mut settings: Settings) -> Settings {
        match self {
            Self::Joint => {}
            Self::Formats => settings.space.elastic = None,
            Self::Operators => settings.space.formats = vec![Format::Int(8)],
        }
        settings
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Joint => "bench-joint",
            Self::Formats => "bench-joint-formats",
            Self::Operators => "bench-joint-operators",
        }
    }
}

/// One search of one seed.
struct Found {
    seed: u64,
    freedom: Freedom,
    run: Summary,
    /// Members of the front whose operators are not all the largest.
    smaller: usize,
}

/// Runs or continues all searches and prints the tables.
///
/// # Errors
/// Whatever a run fails with.
pub(super) fn run(args: &JointArgs, common: &Common) -> Result<()> {
    let line = ["--space", &args.space, "--epochs", &args.epochs, "--evaluations", &args.evaluations];
    let mut found: Vec<Found> = Vec::new();
    let mut rng = Seed::new(common.root()).child("bootstrap").rng();
    let mut gains: [Vec<Vec<f64>>; 2] = Default::default();
    for seed in common.root()..common.root() + args.seeds.max(1) {
        for freedom in Freedom::ALL {
            let settings = freedom.of(demo_settings(&line, common, seed)?);
            let started = Instant::now();
            let run = run_or_read(&settings, freedom.folder(), common)?.0;
            common.detail(&format!("{} of seed {seed}: {:.0} s", freedom.name(), started.elapsed().as_secs_f64()));
            found.push(Found { seed, freedom, smaller: smaller(&run)?, run });
        }
        let [joint, others @ ..] = &found[found.len() - 3..] else { continue };
        for (split, gains) in gains.iter_mut().enumerate() {
            let gain = |other: &Found| gain_at_equal_cost(&points(&joint.run, split), &points(&other.run, split));
            gains.push(others.iter().map(gain).collect::<Result<_>>()?);
        }
    }
    let mut differences = Vec::new();
    for (split, gains) in ["validation", "test"].into_iter().zip(&gains) {
        for (at, other) in Freedom::ALL[1..].iter().enumerate() {
            let per_seed = gains.iter().map(|of_seed| of_seed[at]).collect();
            differences.push((split, *other, Difference::of(per_seed, &mut rng)?));
        }
    }
    let text = markdown(&found, &differences, args);
    write_result(args.write.as_deref(), &text)?;
    if !common.json {
        return print(&text);
    }
    let rows: Vec<_> = differences
        .iter()
        .map(|(split, other, d)| json!({ "split": split, "joint_minus": other.name(), "mean": d.mean, "standard_error": d.standard_error, "verdict": d.verdict.to_string() }))
        .collect();
    print(&json!({ "seeds": args.seeds, "gains": rows }).to_string())
}

/// Cost and top-1: of all that was scored on the validation images (0), or of the front on the test images (1).
fn points(run: &Summary, split: usize) -> Vec<(f64, f64)> {
    if split == 1 {
        return run.front.iter().map(|member| (run.cost(&member.row), member.test_top1)).collect();
    }
    let scored = run.rows.iter().filter(|row| row.status == Status::Searched && row.feasible);
    scored.map(|row| (run.cost(row), row.top1)).collect()
}

/// How many members of the front have other operators than the largest.
fn smaller(run: &Summary) -> Result<usize> {
    let space = Space::new(run.settings.space.clone())?;
    let differs = |genome: &[u8]| space.spec_of(genome).operators != space.model_spec().operators;
    Ok(run.front.iter().filter(|member| differs(&member.row.genome.0)).count())
}

fn markdown(found: &[Found], differences: &[(&str, Freedom, Difference)], args: &JointArgs) -> String {
    let settings = &found[0].run.settings;
    let row = |found: &Found| {
        let front = &found.run.front;
        let costs: Vec<f64> = front.iter().map(|member| found.run.cost(&member.row)).collect();
        let (least, most) = (costs.first().copied().unwrap_or_default(), costs.last().copied().unwrap_or_default());
        let best = front.iter().map(|member| member.test_top1).fold(0.0, f64::max);
        vec![
            found.seed.to_string(),
            found.freedom.name().to_owned(),
            front.len().to_string(),
            found.smaller.to_string(),
            format!("{least:.4} to {most:.4}"),
            format!("{best:.2}"),
        ]
    };
    let header = ["seed", "search", "front", "not the largest", "gbops", "best test top-1"];
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    let difference = |(split, other, d): &(&str, Freedom, Difference)| {
        let error = d.standard_error.map_or("-".into(), |error| format!("{error:.2}"));
        vec![(*split).to_owned(), other.name().to_owned(), format!("{:+.2}", d.mean), error, d.verdict.to_string()]
    };
    let header2 = ["split", "joint minus", "points at equal gbops", "standard error", "verdict"];
    let differences: Vec<Vec<String>> = differences.iter().map(difference).collect();
    format!(
        "# Operators and formats searched together\n\n{} on `{}`: {} searches.\n\n\
         Joint chooses operators and formats; formats only has the published operators; operators only has int8\n\
         everywhere. Each trains a supernet of its own for as many epochs and scores as many candidates. Not the largest:\n\
         members of the front whose operators are not all the largest of the space. Points at equal gbops: by how much the\n\
         best network within a cost is better, averaged over the logarithm of the cost, from the least that both fronts\n\
         reach; validation counts every scored candidate and decides the verdict, test counts the fronts.\n\n{}\n{}",
        written_by(settings.threads),
        args.space,
        found.len(),
        markdown_table(&header, &rows),
        markdown_table(&header2, &differences)
    )
}
