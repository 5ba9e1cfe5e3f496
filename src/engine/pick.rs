//! Taking one network out of a finished run's front.

use std::fmt;
use std::str::FromStr;

use super::Algorithm;
use super::Mode;
use super::RunDirectory;
use super::RunImages;
use super::Session;
use super::Settings;
use super::Summary;
use super::Tested;
use super::Trained;
use super::post_training::calibrated;
use super::summary;
use super::supernet;
use super::workers::on_one_thread;
use crate::cost::Constraint;
use crate::cost::Convention;
use crate::cost::Costs;
use crate::data::Loader;
use crate::error::{Error, Result};
use crate::models::Folded;
use crate::models::Weights;
use crate::network::Network;
use crate::pareto;
use crate::space::NetworkFile;
use crate::space::Space;

/// Which member of a front: `107`, `knee`, `best:gbops<=0.05`.
#[derive(Clone, Debug, PartialEq)]
pub enum Pick {
    /// The candidate with this id.
    Id(usize),
    /// The member farthest above the front's chord.
    Knee,
    /// The most accurate member within a limit.
    Best(Constraint),
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Knee => f.write_str("knee"),
            Self::Best(limit) => write!(f, "best:{limit}"),
        }
    }
}

impl FromStr for Pick {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "knee" {
            return Ok(Self::Knee);
        }
        if let Some(limit) = text.strip_prefix("best:") {
            return limit.parse().map(Self::Best);
        }
        let id = text.trim_start_matches('#').parse();
        id.map(Self::Id).map_err(|_| Error::bad_value("--pick", text, "an id of the front, knee, or best:COST<=LIMIT"))
    }
}

/// A picked network, ready to run.
#[derive(Debug)]
pub struct Picked {
    /// The network as the run evaluated it.
    pub ready: Folded,
    /// The file that describes it.
    pub described: NetworkFile,
    /// Its id in the run.
    pub id: usize,
    /// The run's seed.
    pub seed: u64,
    /// Its top-1 on the test images, in percent, as the run measured it.
    pub test_top1: f64,
    /// The run's test images.
    pub test: Loader,
}

/// A member of a finished run's front, with what it is made from.
#[derive(Debug)]
pub struct Member {
    /// The network in its formats.
    pub network: Network,
    /// The file that describes it.
    pub described: NetworkFile,
    /// Its row.
    pub tested: Tested,
    /// The run's settings.
    pub settings: Settings,
    /// The run's images.
    pub images: RunImages,
    /// The weights that the run trained or was given.
    pub weights: Weights,
    space: Space,
}

/// Takes a member out of a finished run.
///
/// # Errors
/// The run is not finished or damaged, or no member is the wanted one.
pub fn member(folder: &RunDirectory, pick: &Pick, session: &Session) -> Result<Member> {
    let found = summary(folder)?;
    let mut space = Space::new(found.settings.space.clone())?;
    let tested = chosen(&found, pick, &space)?.clone();
    let settings = found.settings;
    let images = RunImages::load(&settings.training(), &space.network(&space.widest().0), session.device)?;
    space = space.with_classes(images.classes())?;
    let genome = &tested.row.genome.0;
    let network = space.network(genome);
    let path = match settings.algorithm {
        Algorithm::Fliqs => folder.front_folder().join(format!("{}.safetensors", tested.row.id)),
        Algorithm::Nsga2 | Algorithm::Random | Algorithm::Evolution => folder.supernet(),
    };
    let file = crate::checkpoint::read(&path)?;
    let weights = supernet::read(&space.largest_networks(), &file.arrays, session.device)?;
    let described = NetworkFile::from_network(&space.spec_of(genome), &network);
    Ok(Member { network, described, tested, settings, images, weights, space })
}

/// Takes a member out of a finished run and makes it ready as the run did.
///
/// # Errors
/// As [`member`].
pub fn picked(folder: &RunDirectory, pick: &Pick, session: &Session) -> Result<Picked> {
    let Member { network, described, tested, settings, images, weights, space } = member(folder, pick, session)?;
    let trained = match settings.mode {
        Mode::Supernet => Trained::Shared(weights),
        Mode::PostTraining => Trained::Calibrated(calibrated(&space, &weights, &images.judging)),
    };
    let judging = images.judging.shallow_clone();
    let ready = on_one_thread(|| {
        // Moved in whole: tensors may go to another thread, not be shared with it.
        let (trained, judging) = (trained, judging);
        trained.ready(&network, &judging)
    })?;
    let test = images.test(&network)?;
    Ok(Picked { ready, described, id: tested.row.id, seed: settings.seed, test_top1: tested.test_top1, test })
}

fn chosen<'a>(run: &'a Summary, pick: &Pick, space: &Space) -> Result<&'a Tested> {
    let ids = || run.front.iter().map(|member| member.row.id.to_string()).collect::<Vec<_>>().join(", ");
    let none = |why: String| Error::bad_value("--pick", pick, why);
    match pick {
        Pick::Id(id) => run
            .front
            .iter()
            .find(|member| member.row.id == *id)
            .ok_or_else(|| none(format!("no member of the front; its ids are {}", ids()))),
        Pick::Knee => {
            let points: Vec<(f64, f64)> = run.front.iter().map(|m| (run.cost(&m.row), m.row.top1)).collect();
            pareto::knee(&points)?.map(|at| &run.front[at]).ok_or_else(|| none("the front has no knee".into()))
        }
        Pick::Best(limit) => {
            let costs = |member: &Tested| Costs {
                latency_ms: member.latency_meas_ms.or(member.row.latency_ms),
                ..Costs::of(&space.network(&member.row.genome.0), Convention::Full)
            };
            let within = run.front.iter().filter(|member| limit.violation(&costs(member)) <= 0.0);
            within
                .max_by(|a, b| a.row.top1.total_cmp(&b.row.top1))
                .ok_or_else(|| none("no member of the front meets this limit".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_read_as_they_print() {
        for text in ["107", "knee", "best:gbops<=0.05"] {
            assert_eq!(text.parse::<Pick>().unwrap().to_string(), text);
        }
        assert_eq!("#3".parse::<Pick>().unwrap(), Pick::Id(3));
        assert!("cheapest".parse::<Pick>().unwrap_err().to_string().contains("knee"));
    }
}
