//! Evaluating the candidates of a search: as the search does it, against one after another.

use std::time::Instant;

use serde_json::json;

use super::Found;
use crate::cli::Common;
use crate::cli::bench::demo::demo_settings;
use crate::cost::{Metric, Pricing};
use crate::engine::{JudgingImages, RunImages, Scorer, Session, Trained};
use crate::error::Result;
use crate::genome::Genome;
use crate::models::Weights;
use crate::progress::Progress;
use crate::report::markdown_table;
use crate::search::{Evaluator, Nsga2, Outcome, Run, WallClock, run};
use crate::seed::Seed;
use crate::space::Space;
use crate::stats::{median, quantile};
use crate::train::{evaluate, prepare};

/// Candidates of the search.
const EVALUATIONS: usize = 96;
const POPULATION: usize = 16;

/// Evaluates every generation twice and keeps the times in seconds.
struct Twice<'a> {
    scorer: Scorer<'a>,
    weights: &'a Weights,
    ours: Vec<f64>,
    single: Vec<f64>,
    progress: &'a Progress,
}

impl Evaluator for Twice<'_> {
    fn evaluate(
        &mut self,
        genomes: &[Genome],
        go_on: &(dyn Fn() -> bool + Sync),
        keep: &mut dyn FnMut(Outcome) -> Result<()>,
    ) -> Result<()> {
        let began = Instant::now();
        self.scorer.evaluate(genomes, go_on, keep)?;
        self.ours.push(began.elapsed().as_secs_f64() / genomes.len() as f64);
        let began = Instant::now();
        for genome in genomes {
            let ready = prepare(&self.scorer.space.network(&genome.0), self.weights, self.images().evaluation());
            evaluate(&ready, self.images().validation())?;
        }
        self.single.push(began.elapsed().as_secs_f64() / genomes.len() as f64);
        self.progress.step(genomes.len() as u64);
        Ok(())
    }
}

impl Twice<'_> {
    fn images(&self) -> &JudgingImages {
        self.scorer.images
    }
}

/// Measures.
///
/// # Errors
/// The images cannot be read; an evaluation fails.
pub(super) fn measured(threads: usize, common: &Common, session: &Session) -> Result<Found> {
    let settings = demo_settings(&[], common, common.root())?;
    let space = Space::new(settings.space.clone())?;
    let widest = space.network(&space.widest().0);
    let images = RunImages::load(&settings.training(), &widest, session.device)?;
    let weights = Weights::initialised(&widest, Seed::new(0), session.device);
    let trained = Trained::Shared(weights.shallow_clone());
    let (pricing, progress) = (Pricing::default(), Progress::new("candidates", EVALUATIONS as u64, session.quiet));
    let silent = Progress::new("", 0, true);
    let scorer = Scorer {
        space: &space,
        trained: &trained,
        images: &images.judging,
        threads,
        pricing: &pricing,
        objective: Metric::Gbops,
        constraints: &[],
        friendliness: None,
        progress: &silent,
    };
    let mut twice = Twice { scorer, weights: &weights, ours: Vec::new(), single: Vec::new(), progress: &progress };
    let how = Run {
        seed: Seed::new(common.root()),
        evaluations: EVALUATIONS,
        deadline: None,
        clock: &WallClock::start(),
        interrupted: &|| session.should_stop(),
        recorded: Vec::new(),
    };
    run(&mut Nsga2::new(space.genome_choices()?, POPULATION)?, &mut twice, &mut (), how)?;
    let Twice { ours, single, .. } = twice;
    progress.finish();
    session.check_interrupt("nothing is kept")?;
    let ratios: Vec<f64> = single.iter().zip(&ours).map(|(single, ours)| single / ours).collect();
    let at = |sample: &[f64], q| quantile(sample, q).unwrap_or(f64::NAN);
    let row = |name: &str, own: &[f64]| {
        let ms = [0.5, 0.1, 0.9].map(|q| format!("{:.1}", 1e3 * at(own, q)));
        [vec![name.to_owned()], ms.to_vec()].concat()
    };
    let rows = [row("as a search does", &ours), row("one after another", &single)];
    let table = markdown_table(&["a candidate", "median ms", "p10", "p90"], &rows);
    let ratio = median(&ratios).unwrap_or(f64::NAN);
    let text = format!(
        "## Candidates\n\nNSGA-II on the demo's space: {EVALUATIONS} candidates of {POPULATION} a generation on {threads} threads, weights \
         as they are drawn; each\ngeneration is evaluated by the search, then one folded candidate at a time on all threads.\n\n\
         {table}\nMedian over generations: {ratio:.2} times as many candidates a second.\n",
    );
    Ok((text, json!({ "search_s": ours, "single_s": single, "ratio": ratio })))
}
