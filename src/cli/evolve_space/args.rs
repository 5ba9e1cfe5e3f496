//! The options of `bitfront evolve-space`.

use std::path::PathBuf;

use clap::Args;

use super::own_table::OwnTableArgs;
use crate::search::{QtSettings, SpaceSearch};

/// Evolve the search space itself for a device's latency budgets.
///
/// A hyperspace offers block types and windows of widths for every stage (SpaceEvo, arXiv 2303.08308). Each space is scored by the
/// losses of sampled quantized networks within the budgets (Q-T score); aging evolution finds the best space. Losses
/// and latencies come from a table of blocks: one that is given (--lut), or one that is made from your images and your device's
/// latency table (--target), in --out: teacher, blocks distilled from it, rows. A rerun makes only what is missing. --out also
/// gets the best space as a file that `bitfront search` takes.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  bitfront evolve-space --lut ../shared/data/spaceevo/block_lut/mobilew --budget-ms 25 --budget-ms 30
  bitfront evolve-space --lut block_lut/onnxw --budget-ms 10 --budget-ms 15 --score 151122-023231
  bitfront evolve-space --space smallw --target latency_tables/epyc-avx2 --budget-ms 0.2 --budget-ms 0.3 --out runs/evolved
  bitfront evolve-space --space smallw --count")]
pub struct EvolveSpaceArgs {
    /// Folder of the table of blocks: a file stageS_B_W.csv for each stage, block type and window
    #[arg(long, value_name = "DIR")]
    pub lut: Option<PathBuf>,
    /// The hyperspace: mobilew, onnxw, smallw or a RON file [default: the one the table's folder is called after]
    #[arg(long, value_name = "SPACE")]
    pub space: Option<String>,
    /// Latency in ms that networks must meet; each gives a part of the score
    #[arg(long, value_name = "MS")]
    pub budget_ms: Vec<f32>,
    /// Only score these spaces
    #[arg(long, value_name = "CODE")]
    pub score: Vec<String>,
    /// Number of spaces listed [default: 10, with --json 50]
    #[arg(long, value_name = "N")]
    pub show: Option<usize>,
    /// Spaces that are scored
    #[arg(long, value_name = "N", default_value_t = SpaceSearch::default().evaluations)]
    pub evaluations: usize,
    /// Members of the population
    #[arg(long, value_name = "N", default_value_t = SpaceSearch::default().population)]
    pub population: usize,
    /// Members drawn, of which the best is a parent [default: 125, at most the population]
    #[arg(long, value_name = "N")]
    pub sample: Option<usize>,
    /// Scorings of each of the best spaces, whose mean is its score; 1 as in the paper
    #[arg(long, value_name = "N", default_value_t = SpaceSearch::default().scorings, value_parser = clap::value_parser!(u64).range(1..))]
    pub scorings: u64,
    /// Sampled networks of a space
    #[arg(long, value_name = "N", default_value_t = QtSettings::default().samples)]
    pub samples: usize,
    /// Samples in a row that share a resolution
    #[arg(long, value_name = "N", default_value_t = QtSettings::default().batch)]
    pub batch: usize,
    /// Sampled networks whose mean loss counts, the best within a budget
    #[arg(long, value_name = "N", default_value_t = QtSettings::default().top)]
    pub top: usize,
    /// Share of sampled networks within a budget below which a space is punished
    #[arg(long, value_name = "SHARE", default_value_t = QtSettings::default().share)]
    pub share: f64,
    /// Power of that punishment
    #[arg(long, value_name = "A", default_value_t = QtSettings::default().power)]
    pub power: f64,
    /// Only say how many spaces there are, how large their networks, and what a table must hold
    #[arg(long, conflicts_with_all = ["score", "network", "verify"])]
    pub count: bool,
    /// Only count one network of a space, as the authors write it: `SPACE:d.._k.._w.._e.._r..`
    #[arg(long, value_name = "CODE", conflicts_with_all = ["score", "verify"])]
    pub network: Option<String>,
    /// Only compare the table's multiplications with those counted here
    #[arg(long, conflicts_with = "score")]
    pub verify: bool,
    /// A table of one's own blocks.
    #[command(flatten)]
    pub own: OwnTableArgs,
}

impl EvolveSpaceArgs {
    /// How spaces are sampled and scored.
    pub(super) fn settings(&self) -> QtSettings {
        QtSettings {
            budgets_ms: self.budget_ms.clone(),
            samples: self.samples,
            batch: self.batch,
            top: self.top,
            share: self.share,
            power: self.power,
        }
    }

    /// How spaces evolve.
    pub(super) fn search(&self, json: bool) -> SpaceSearch {
        let usual = SpaceSearch::default();
        SpaceSearch {
            evaluations: self.evaluations,
            population: self.population,
            sample: self.sample.unwrap_or(usual.sample.min(self.population)),
            finalists: usual.finalists.max(self.shown(json)),
            scorings: self.scorings,
        }
    }

    /// Number of spaces listed.
    pub(super) fn shown(&self, json: bool) -> usize {
        self.show.unwrap_or(if json { 50 } else { 10 })
    }
}
