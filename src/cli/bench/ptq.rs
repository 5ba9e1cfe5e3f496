//! `bitfront bench ptq`: ways to choose formats for a trained network, without training, at equal evaluations.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Common;
use super::demo::{demo_settings, folder_of};
use super::trained::trained_or_read;
use crate::cli::common::{print, result_file, write_result, written_by};
use crate::engine::{MethodResult, PtqMethod, Settings, compare_methods};
use crate::error::{Error, Result};
use crate::pareto::front_hypervolume;
use crate::report::{Difference, markdown_table};
use crate::seed::Seed;
use crate::space::Space;
use crate::stats::mean;

/// Post-training methods over seeds.
#[derive(Args, Debug)]
pub struct PtqArgs {
    /// Number of seeds, counted from --seed; each splits the images and searches anew, and trains where no --weights are given
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Candidates that each method scores, at most
    #[arg(long, value_name = "N", default_value = "100")]
    pub evaluations: String,
    /// Space of formats [default: the demo, ResNet-8 on Fashion-MNIST]
    #[arg(long, value_name = "FILE")]
    pub space: Option<String>,
    /// The trained network, in float32 [default: one is trained first]
    #[arg(long, value_name = "FILE")]
    pub weights: Option<String>,
    /// Images [default: the space's]
    #[arg(long)]
    pub data: Option<String>,
    /// Passes over the training images, where the network is trained first
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub epochs: usize,
    /// Also write the tables to this Markdown file
    #[arg(long, value_name = "FILE", value_parser = result_file)]
    pub write: Option<PathBuf>,
}

/// Costs at which the methods are read, as shares of the dearest uniform format's.
const SHARES: [f64; 4] = [0.12, 0.25, 0.4, 0.6];

/// What the methods found with one seed, in the order of [`PtqMethod::ALL`].
struct Found {
    seed: u64,
    methods: Vec<MethodResult>,
    /// Cheapest and dearest uniform format.
    ends: (f64, f64),
}

impl Found {
    fn new(seed: u64, methods: Vec<MethodResult>) -> Result<Self> {
        let uniform = methods.iter().find(|found| found.method == PtqMethod::Uniform);
        let costs = || uniform.iter().flat_map(|found| &found.scored).map(|point| point.0);
        let ends = (costs().fold(f64::INFINITY, f64::min), costs().fold(0.0, f64::max));
        if ends.0 >= ends.1 {
            let expected = "leaves at least two uniform formats, which the methods are compared by";
            return Err(Error::bad_value("--space", "", expected));
        }
        Ok(Self { seed, methods, ends })
    }

    /// Hypervolume of a method: all that it scored on validation images (0), or its front on test images (1).
    fn hypervolume(&self, method: usize, split: usize) -> Result<f64> {
        let found = &self.methods[method];
        front_hypervolume([&found.scored, &found.front][split], self.ends.0, self.ends.1)
    }

    /// Test top-1 of the best network within a share of the dearest uniform cost, as validation chooses it.
    fn top1(&self, method: usize, share: f64) -> Option<f64> {
        let within = |point: &&(f64, f64)| point.0 <= share * self.ends.1 * (1.0 + 1e-9);
        self.methods[method].front.iter().rfind(within).map(|point| point.1)
    }
}

/// Runs or continues every seed and prints the tables.
///
/// # Errors
/// Whatever a step fails with.
pub(super) fn run(args: &PtqArgs, common: &Common) -> Result<()> {
    let mut found = Vec::new();
    for seed in common.root()..common.root() + args.seeds.max(1) {
        let settings = settings(args, common, seed)?;
        let name = format!("bench-ptq-{}", settings.space.model);
        let folder = folder_of(&settings, &name)?;
        let session = common.session(settings.threads, None)?;
        session.say(&format!("run: {}", folder.folder().display()));
        found.push(Found::new(seed, compare_methods(&settings, &folder, &session)?)?);
    }
    let mut rng = Seed::new(common.root()).child("bootstrap").rng();
    let polished = PtqMethod::ALL.iter().position(|&method| method == PtqMethod::Polished).unwrap_or(0);
    let mut differences = Vec::new();
    for (split, name) in ["validation", "test"].into_iter().enumerate() {
        for (at, method) in PtqMethod::ALL.into_iter().enumerate().filter(|&(at, _)| at != polished) {
            let gain = |found: &Found| Ok(found.hypervolume(polished, split)? - found.hypervolume(at, split)?);
            let gains = found.iter().map(gain).collect::<Result<Vec<f64>>>()?;
            differences.push((name, method, Difference::of(gains, &mut rng)?));
        }
    }
    let text = markdown(&found, &differences, common)?;
    write_result(args.write.as_deref(), &text)?;
    if !common.json {
        return print(&text);
    }
    let rows: Vec<_> = differences
        .iter()
        .map(|(split, other, d)| json!({ "split": split, "polished_minus": other.name(), "mean": d.mean, "standard_error": d.standard_error, "verdict": d.verdict.to_string() }))
        .collect();
    let seeds: Vec<_> = found.iter().map(|found| json!({ "seed": found.seed, "methods": found.methods })).collect();
    print(&json!({ "hypervolume": rows, "seeds": seeds }).to_string())
}

/// The settings of one seed, its network trained if need be.
fn settings(args: &PtqArgs, common: &Common, seed: u64) -> Result<Settings> {
    let mut line = vec!["--evaluations", &args.evaluations];
    line.extend(args.space.iter().flat_map(|space| ["--space", space]));
    line.extend(args.data.iter().flat_map(|data| ["--data", data]));
    let weights = match &args.weights {
        Some(weights) => weights.clone(),
        None => {
            let mut settings = demo_settings(&line, common, seed)?;
            settings.train.epochs = args.epochs;
            let space = Space::new(settings.space.clone())?;
            let network = space.network(&space.widest().0).in_float();
            let name = format!("{}-{}", network.model, settings.train.flow);
            trained_or_read(&name, &settings.training(), &network, common)?.1.supernet().display().to_string()
        }
    };
    line.extend(["--mode", "ptq", "--weights", &weights]);
    demo_settings(&line, common, seed)
}

fn markdown(found: &[Found], differences: &[(&str, PtqMethod, Difference)], common: &Common) -> Result<String> {
    let row = |(at, method): (usize, &PtqMethod)| -> Result<Vec<String>> {
        let over = |pick: &dyn Fn(&Found) -> Result<f64>| -> Result<f64> {
            Ok(mean(&found.iter().map(pick).collect::<Result<Vec<f64>>>()?).unwrap_or_default())
        };
        let scored = over(&|found| Ok(found.methods[at].scored.len() as f64))?;
        let mut row = vec![method.name().to_owned(), format!("{scored:.0}")];
        for split in [0, 1] {
            row.push(format!("{:.2}", over(&|found| found.hypervolume(at, split))?));
        }
        for share in SHARES {
            let top1: Vec<f64> = found.iter().filter_map(|found| found.top1(at, share)).collect();
            let all = top1.len() == found.len();
            row.push(mean(&top1).filter(|_| all).map_or("-".to_owned(), |top1| format!("{top1:.2}")));
        }
        Ok(row)
    };
    let rows = PtqMethod::ALL.iter().enumerate().map(row).collect::<Result<Vec<_>>>()?;
    let shares = SHARES.map(|share| format!("within {:.0} %", 100.0 * share));
    let header = ["method", "scored", "hypervolume", "of the test front"].into_iter();
    let header: Vec<&str> = header.chain(shares.iter().map(String::as_str)).collect();
    let difference = |(split, other, d): &(&str, PtqMethod, Difference)| {
        let error = d.standard_error.map_or("-".into(), |error| format!("{error:.2}"));
        vec![(*split).to_owned(), other.name().to_owned(), format!("{:+.2}", d.mean), error, d.verdict.to_string()]
    };
    let differences: Vec<Vec<String>> = differences.iter().map(difference).collect();
    let header2 = ["split", "solver and polish minus", "hypervolume", "standard error", "verdict"];
    Ok(format!(
        "# Formats for a trained network, by method\n\n{}: means over {} seeds.\n\n\
         Every method chooses formats for the same trained weights, calibrated once, and scores networks on validation\n\
         images. Greedy, solver and polish first measure each choice of each decision by itself on 256 images without labels.\n\
         Hypervolume in points x doublings of cost; of all that was scored on validation images, and of the front so chosen on test\n\
         images. Within: test top-1 of the best network, by validation, within a share of the dearest uniform format's cost.\n\n{}\n{}",
        written_by(common.thread_count()?),
        found.len(),
        markdown_table(&header, &rows),
        markdown_table(&header2, &differences)
    ))
}
