//! `bitfront search --algorithm fliqs`: one training run for each target cost, and one for each uniform format to
//! compare with, all with equal epochs.

use std::path::{Path, PathBuf};

use tch::{Device, Tensor};

use super::History;
use super::Row;
use super::RunDirectory;
use super::RunImages;
use super::Session;
use super::Settings;
use super::Status;
use super::Summary;
use super::TargetRow;
use super::Trained;
use super::finish::TrainedOf;
use super::finish::finish;
use super::plan::Pace;
use super::plan::spoken;
use super::repair::Limits;
use super::supernet;
use super::supernet::Training;
use super::supernet::begin;
use super::supernet::train;
use super::switching;
use super::switching::Watch;
use super::switching::Watched;
use super::targets::write_targets;
use super::violation;
use super::workers::on_one_thread;
use crate::cost::Constraint;
use crate::cost::Pricing;
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::formats::QuantSpec;
use crate::genome::Genome;
use crate::models::Weights;
use crate::network::Network;
use crate::seed::Seed;
use crate::space::Space;
use crate::train::Ended;
use crate::train::OneShot;
use crate::train::Single;
use crate::train::evaluate;
use crate::train::prepare;

/// One training of the run.
#[derive(Clone, Debug)]
enum Job {
    /// Formats and weights for a target cost (a share of the uniform 8-bit cost).
    Target(f64),
    /// The weights of one uniform format.
    Uniform(Format, Genome),
}

/// A finished training: its network, and how its policy ended.
struct Found {
    genome: Genome,
    status: Status,
    target: Option<TargetRow>,
}

struct OneShotRun<'a> {
    settings: &'a Settings,
    folder: &'a RunDirectory,
    session: &'a Session,
    space: &'a Space,
    pricing: &'a Pricing,
    images: &'a RunImages,
}

/// Runs or continues all trainings.
///
/// # Errors
/// As [`run_search`](super::run_search).
pub(super) fn run_one_shot(
    settings: &Settings,
    folder: &RunDirectory,
    session: &Session,
    (space, pricing): (&Space, &Pricing),
    images: &RunImages,
    history: &mut History,
) -> Result<Summary> {
    let run = OneShotRun { settings, folder, session, space, pricing, images };
    let uniform = |format| Some(Job::Uniform(format, Genome(space.uniform(format)?)));
    let mut jobs: Vec<Job> = settings.targets.iter().map(|&share| Job::Target(share)).collect();
    if settings.train_uniform {
        jobs.extend(space.formats().into_iter().filter_map(uniform));
    }
    run.state_cost(jobs.len())?;
    let mut targets = Vec::new();
    for (id, job) in jobs.iter().enumerate() {
        let (found, weights) = run.trained(id, job)?;
        targets.extend(found.target.clone());
        if history.rows.len() <= id {
            history.append(run.row(id, &found, &weights)?)?;
        }
    }
    write_targets(folder, &targets)?;
    let trained = || {
        let device = session.device;
        let of = move |row: &Row| {
            weights(&job_snapshot(folder, row.id), &space.largest_networks(), device).map(Trained::Shared)
        };
        Box::new(of) as TrainedOf<'_>
    };
    let summary =
        finish(settings, folder, session, (space, pricing), images, &history.rows, &trained, "all targets trained")?;
    for member in &summary.front {
        let to = folder.front_folder().join(format!("{}.safetensors", member.row.id));
        std::fs::copy(job_snapshot(folder, member.row.id), &to).map_err(|error| Error::io(&to, error))?;
    }
    Ok(summary)
}

/// The snapshot of a training; also where its finished weights are.
fn job_snapshot(folder: &RunDirectory, id: usize) -> PathBuf {
    folder.state().join(format!("job-{id}.safetensors"))
}

fn weights(snapshot: &Path, networks: &[Network], device: Device) -> Result<Weights> {
    supernet::read(networks, &crate::checkpoint::read(snapshot)?.arrays, device)
}

impl OneShotRun<'_> {
    fn state_cost(&self, jobs: usize) -> Result<()> {
        let network = self.space.network(&self.space.widest().0);
        let pace = Pace::measure(&network, &self.settings.training(), self.images, 1)?;
        let steps = self.images.training.steps() * self.settings.train.epochs;
        let targets = self.settings.targets.len();
        self.session.say(&format!(
            "cost: {targets} targets and {} uniform formats, {} epochs each, about {} a training; together about {}",
            jobs - targets,
            self.settings.train.epochs,
            spoken(pace.time(steps, 1)),
            spoken(pace.time(steps * jobs, jobs))
        ));
        Ok(())
    }

    /// Trains one job to its end, from its snapshot if there is one.
    fn trained(&self, id: usize, job: &Job) -> Result<(Found, Weights)> {
        let seed = Seed::new(self.settings.seed);
        let snapshot = job_snapshot(self.folder, id);
        let label = match job {
            Job::Target(share) => format!("target {share}"),
            Job::Uniform(format, _) => format!("uniform {format}"),
        };
        // Every training starts from the same weights, so that targets and formats are compared and nothing else.
        let from = self.settings.weights.as_deref();
        let training = Training { label: &label, snapshot: &snapshot, seed: seed.child("weights"), from };
        let networks = self.space.largest_networks();
        let steps = self.images.training.steps();
        let (mut trainer, state) = begin(training, &networks, &self.settings.training(), steps, self.session)?;
        let found = match job {
            Job::Uniform(_, genome) => {
                let mut regime = Single(self.space.network(&genome.0));
                let ended = train(training, &mut trainer, &mut regime, self.images, self.session)?;
                self.refuse_stop(ended)?;
                Found { genome: genome.clone(), status: Status::Uniform, target: None }
            }
            Job::Target(share) => {
                let target = share * self.eight_bit_cost();
                let ratios = Box::new(|genome: &Genome| self.ratios(genome, target));
                let stream = seed.child("policy").at(id as u64);
                let mut regime = OneShot::new(self.space, ratios, &self.settings.one_shot, trainer.total, stream)?;
                if let Some(state) = state {
                    regime.restore(&state)?;
                }
                let ended = if self.settings.one_shot.switching {
                    let mut watched = Watched { search: &mut regime, watch: self.watch(id, seed, steps) };
                    train(training, &mut trainer, &mut watched, self.images, self.session)?
                } else {
                    train(training, &mut trainer, &mut regime, self.images, self.session)?
                };
                self.refuse_stop(ended)?;
                self.settled(id, *share, target, &regime)?
            }
        };
        Ok((found, trainer.weights))
    }

    fn watch(&self, id: usize, seed: Seed, steps: usize) -> Watch<'_> {
        let images = self.images.judging.calibration().first().map_or_else(Tensor::new, |x| x.shallow_clone());
        let seed = seed.child("switching").at(id as u64);
        Watch { space: self.space, images, steps, id, path: switching::file(self.folder), seed }
    }

    /// Half a training gives no network worth showing: its weights were never trained on it alone.
    fn refuse_stop(&self, ended: Ended) -> Result<()> {
        match ended {
            Ended::Finished => Ok(()),
            Ended::Stopped => Err(Error::Interrupted(
                ": the time budget ended inside a training; the state is saved, `bitfront resume --time-budget` continues".into(),
            )),
        }
    }

    /// What the policy settled on, repaired where it breaks a hard limit: least certain decision first.
    fn settled(&self, id: usize, share: f64, target: f64, regime: &OneShot<'_>) -> Result<Found> {
        let policy = regime.policy();
        let chosen = regime.settled();
        let moved = policy.argmax().0.iter().zip(&chosen.0).filter(|(a, b)| a != b).count();
        let mut order = policy.by_certainty();
        order.reverse();
        let limits = Limits::new(self.space, self.pricing, &self.settings.constraints);
        let genome = limits.inside(&chosen, &order).ok_or_else(|| {
            Error::Infeasible(format!(
                "target {share}: neither the narrowest formats and smallest operators nor the fastest meet every limit"
            ))
        })?;
        let repaired = genome != chosen;
        if repaired {
            self.session.say(&format!(
                "target {share}: the searched network broke a hard limit; repaired, least certain decision first: {} became {}",
                self.space.describe(&chosen.0),
                self.space.describe(&genome.0)
            ));
        }
        let least_certain = policy.max_probability().into_iter().fold(1.0, f64::min);
        if least_certain < 0.99 {
            self.session.say(&format!(
                "target {share}: the least certain decision stands at {least_certain:.3}, not above 0.99; more --epochs would settle it"
            ));
        }
        let achieved = self.cost(&genome);
        let row = TargetRow {
            id,
            target_share: share,
            target,
            achieved,
            achieved_over_target: achieved / target,
            least_certain,
            mean_entropy: policy.mean_entropy(),
            moved,
            repaired,
        };
        let status = if repaired { Status::Repaired } else { Status::Searched };
        Ok(Found { genome, status, target: Some(row) })
    }

    /// Cost over target, then cost over each hard limit (no reward for staying below a limit).
    fn ratios(&self, genome: &Genome, target: f64) -> Vec<f64> {
        let costs = self.pricing.costs(&self.space.network(&genome.0));
        let limit = |constraint: &Constraint| Some((constraint.metric.of(&costs)? / constraint.limit).max(1.0));
        let own = self.settings.objective.of(&costs).unwrap_or_default() / target;
        std::iter::once(own).chain(self.settings.constraints.iter().filter_map(limit)).collect()
    }

    fn cost(&self, genome: &Genome) -> f64 {
        let costs = self.pricing.costs(&self.space.network(&genome.0));
        self.settings.objective.of(&costs).unwrap_or_default()
    }

    /// The objective cost with every weight and activation in int8.
    fn eight_bit_cost(&self) -> f64 {
        let mut network = self.space.network(&self.space.widest().0);
        let layers = network.weighted().len();
        let int8 = Format::Int(8);
        network.assign(&vec![QuantSpec::per_channel(int8); layers], &vec![QuantSpec::per_tensor(int8); layers]);
        self.settings.objective.of(&self.pricing.costs(&network)).unwrap_or_default()
    }

    fn row(&self, id: usize, found: &Found, weights: &Weights) -> Result<Row> {
        let network = self.space.network(&found.genome.0);
        let handles = (weights.shallow_clone(), self.images.judging.shallow_clone());
        let score = on_one_thread(|| {
            let (weights, images) = handles;
            evaluate(&prepare(&network, &weights, images.evaluation()), images.validation())
        })??;
        let row = Row {
            id,
            status: found.status,
            feasible: violation(&self.settings.constraints, &self.pricing.costs(&network)) <= 0.0,
            top1: score.top1,
            loss: Some(score.loss),
            wall_s: (self.session.started.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            seed: self.settings.seed,
            genome: found.genome.clone(),
            ..Row::default()
        };
        Ok(row.with_costs(&self.pricing.costs(&network)))
    }
}
