//! FLIQS: formats and weights found in one training run (Dotzel et al. 2023, arXiv 2308.03290).
//!
//! Each step draws one network from the policy, trains the shared weights on it, and moves the policy by REINFORCE with
//! the reward of that network. A growing entropy penalty makes the policy deterministic. The last part of the run is
//! ordinary training of one network, so nothing needs retraining.
//!
//! Ours: independent decisions that settle together can end beside the target (simulated: 20 % off after 2,000 steps), so
//! when the schedule ends the arg-max is moved onto the target, least certain decision first, before that last part.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::Regime;
use super::StepReport;
use super::Trainer;
use crate::error::{Error, Result};
use crate::genome::Genome;
use crate::search::Baseline;
use crate::search::EntropySchedule;
use crate::search::EntropyShape;
use crate::search::Policy;
use crate::search::Reward;
use crate::seed::Seed;
use crate::space::Space;

/// What a sampled network's quality is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quality {
    /// Share of the training batch classified right, in `[0, 1]`.
    #[default]
    Accuracy,
    /// Minus the training loss of the batch, as in the authors' code.
    MinusLoss,
}

/// The knobs of the policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneShotConfig {
    /// Form of the reward.
    pub reward: Reward,
    /// Quality inside the reward.
    pub quality: Quality,
    /// Weight of the cost inside the reward.
    pub beta: f64,
    /// Share of the steps during which formats are drawn evenly and the policy rests.
    pub delay: f64,
    /// How the entropy penalty grows.
    pub entropy: EntropyShape,
    /// Weight of the entropy penalty at the end.
    pub entropy_end: f64,
    /// Share of the steps, at the end, that train the settled network alone.
    pub tail: f64,
    /// Learning rate of the policy; by default the larger of 5e-3 and 15 / policy steps, so that a short run can become
    /// deterministic.
    pub policy_lr: Option<f64>,
    /// Whether the switching error is measured at the end of every epoch.
    #[serde(default, skip_serializing_if = "is_off")]
    pub switching: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_off(switch: &bool) -> bool {
    !switch
}

impl Default for OneShotConfig {
    fn default() -> Self {
        Self {
            reward: Reward::Abs,
            quality: Quality::Accuracy,
            beta: 1.0,
            delay: 0.25,
            tail: 0.2,
            entropy: EntropyShape::Cosine,
            entropy_end: 0.5,
            policy_lr: None,
            switching: false,
        }
    }
}

/// Largest deviation from the target, summed over the constrained costs, that settling leaves where it can.
const ON_TARGET: f64 = 0.03;

/// Share that the reward baseline keeps at each step.
const BASELINE: f64 = 0.99;

/// What is kept of the policy between sessions.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    policy: Policy,
    baseline: Baseline,
    settled: Option<Genome>,
}

/// Cost over target of a genome, one entry a constrained cost.
type Ratios<'a> = Box<dyn Fn(&Genome) -> Vec<f64> + 'a>;

/// The regime of one target.
pub struct OneShot<'a> {
    space: &'a Space,
    ratios: Ratios<'a>,
    config: OneShotConfig,
    schedule: EntropySchedule,
    seed: Seed,
    state: State,
}

impl<'a> OneShot<'a> {
    /// A policy at rest, for a run of `total` steps.
    ///
    /// # Errors
    /// The space leaves nothing to decide.
    pub fn new(space: &'a Space, ratios: Ratios<'a>, config: &OneShotConfig, total: usize, seed: Seed) -> Result<Self> {
        let delay = (config.delay * total as f64).round() as usize;
        let end = total - (config.tail * total as f64).round() as usize;
        let rate = config.policy_lr.unwrap_or_else(|| (15.0 / end.saturating_sub(delay).max(1) as f64).max(5e-3));
        let schedule = EntropySchedule { shape: config.entropy, end: config.entropy_end, delay, total: end };
        let policy = Policy::new(&space.genome_choices()?, rate);
        let state = State { policy, baseline: Baseline::new(BASELINE), settled: None };
        Ok(Self { space, ratios, config: config.clone(), schedule, seed, state })
    }

    /// Continues from what [`Regime::state`] returned.
    ///
    /// # Errors
    /// The text is not such a state.
    pub fn restore(&mut self, state: &str) -> Result<()> {
        self.state = serde_json::from_str(state)
            .map_err(|error| Error::Failed(format!("the saved policy cannot be read: {error}")))?;
        Ok(())
    }

    /// The network that the policy settled on: its arg-max, moved onto the target.
    pub fn settled(&self) -> Genome {
        self.state.settled.clone().unwrap_or_else(|| self.on_target(self.state.policy.argmax()))
    }

    /// Moves decisions, the least certain first, each to the option that comes nearest to the target, until it is met.
    fn on_target(&self, mut genome: Genome) -> Genome {
        let miss = |genome: &Genome| (self.ratios)(genome).iter().map(|ratio| (1.0 - ratio).abs()).sum::<f64>();
        let mut best = miss(&genome);
        for at in self.state.policy.by_certainty().into_iter().rev() {
            let kept = genome.0[at];
            let mut choice = kept;
            for option in 0..self.space.choices()[at] {
                genome.0[at] = option;
                if best > ON_TARGET && miss(&genome) < best {
                    (best, choice) = (miss(&genome), option);
                }
            }
            genome.0[at] = choice;
        }
        genome
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.state.policy
    }
}

impl Regime for OneShot<'_> {
    fn step(&mut self, trainer: &mut Trainer, x: &Tensor, y: &Tensor) -> Result<StepReport> {
        let step = trainer.step;
        if step >= self.schedule.total {
            let settled = self.settled();
            let passed = trainer.pass(&self.space.network(&settled.0), (x, y), true)?;
            self.state.settled = Some(settled);
            trainer.update();
            return Ok(StepReport { loss: passed.loss, top1: passed.top1 });
        }
        let mut rng = self.seed.at(step as u64).rng();
        // Until the delay is over the policy is untouched and still even, so its own draw is the even one.
        let genome = self.state.policy.sample(&mut rng);
        let passed = trainer.pass(&self.space.network(&genome.0), (x, y), true)?;
        trainer.update();
        let quality = match self.config.quality {
            Quality::Accuracy => passed.top1 / 100.0,
            Quality::MinusLoss => -passed.loss,
        };
        let reward = self.config.reward.value(quality, (self.ratios)(&genome), self.config.beta);
        let advantage = self.state.baseline.advantage(reward);
        if step >= self.schedule.delay {
            self.state.policy.update(&genome, advantage, self.schedule.weight(step));
        }
        Ok(StepReport { loss: passed.loss, top1: passed.top1 })
    }

    fn state(&self) -> String {
        serde_json::to_string(&self.state).unwrap_or_default()
    }

    fn remark(&self) -> String {
        let certain = self.state.policy.max_probability().into_iter().fold(1.0, f64::min);
        format!("least certain decision {certain:.2}")
    }
}
