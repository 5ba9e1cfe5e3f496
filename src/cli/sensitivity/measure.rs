//! Measuring what a table of sensitivities lacks.

use sha2::{Digest, Sha256};
use tch::{Device, Tensor};

use super::rows::{PARTS, Part, Row, Rows};
use super::{Labels, SensitivityArgs};
use crate::cli::Common;
use crate::cli::ready::weights_of;
use crate::engine::Session;
use crate::error::{Error, Result};
use crate::formats::{Format, QuantSpec};
use crate::network::Network;
use crate::progress::Progress;
use crate::ptq::{Calibrated, Clips, OutputNoise, Prober};
use crate::ptq::{analytic_noise, drawn_labels, fisher_traces, output_noise};
use crate::seed::Seed;
use crate::space::NetworkFile;

/// What is measured.
pub(super) struct Subject<'a> {
    pub args: &'a SensitivityArgs,
    /// The network, all of it in float.
    pub float: &'a Network,
    /// Batches of images and labels.
    pub images: &'a [(Tensor, Tensor)],
    pub formats: &'a [Format],
}

/// A layer's row that is not there: rank of the layer, part, format.
type Missing = (usize, Part, Format);

impl Subject<'_> {
    /// Hash of all that the figures depend on but the format.
    pub(super) fn id(&self, seed: u64) -> Result<String> {
        let path = &self.args.weights;
        let weights = std::fs::read(path).map_err(|source| Error::io(path, source))?;
        let mut digest = Sha256::new();
        let spec = self.args.network.described()?.0.model;
        digest.update(NetworkFile::from_network(&spec, self.float).hash()?);
        digest.update(Sha256::digest(weights));
        digest.update([u8::from(self.args.labels == Labels::Data)]);
        digest.update(seed.to_le_bytes());
        for (images, labels) in self.images {
            let flat = |x: &Tensor| x.to_device(Device::Cpu).contiguous().view([-1]);
            let values: Vec<f32> = Vec::try_from(flat(images)).unwrap_or_default();
            values.iter().for_each(|value| digest.update(value.to_le_bytes()));
            if self.args.labels == Labels::Data {
                let labels: Vec<i64> = Vec::try_from(flat(labels)).unwrap_or_default();
                labels.iter().for_each(|label| digest.update(label.to_le_bytes()));
            }
        }
        Ok(digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    fn name(&self, rank: usize) -> &str {
        &self.float.layers[self.float.weighted()[rank]].name
    }

    fn missing(&self, rows: &Rows) -> Vec<Missing> {
        let ranks = 0..self.float.weighted().len();
        let all = ranks.flat_map(|rank| PARTS.map(|part| (rank, part)));
        let all = all.flat_map(|(rank, part)| self.formats.iter().map(move |&format| (rank, part, format)));
        all.filter(|&(rank, part, format)| rows.get(self.name(rank), part, format).is_none()).collect()
    }

    /// Adds the rows that are not there yet; after an interrupt those that were measured.
    ///
    /// # Errors
    /// The weights do not fit; an interrupt.
    pub(super) fn complete(&self, rows: &mut Rows, session: &Session, common: &Common) -> Result<()> {
        let missing = self.missing(rows);
        let total = self.float.weighted().len() * PARTS.len() * self.formats.len();
        let count: i64 = self.images.iter().map(|(x, _)| x.size()[0]).sum();
        session.say(&format!(
            "cost: {} measurements on {count} images; {} are known",
            missing.len(),
            total - missing.len()
        ));
        if missing.is_empty() {
            return Ok(());
        }
        let weights = weights_of(&self.args.weights, false, self.float, session, common)?;
        let images: Vec<&Tensor> = self.images.iter().map(|(x, _)| x).collect();
        let calibrated = Calibrated::new(self.float, &weights, &images, Clips::default());
        let how = match self.args.csv {
            Some(_) => "the CSV file holds what was measured; the same command measures the rest",
            None => "nothing was written",
        };
        let traces = self.traces(rows, &calibrated, (session, how), Seed::new(common.root()))?;
        let mut formats: Vec<Format> = missing.iter().map(|(_, _, format)| *format).collect();
        formats.sort();
        formats.dedup();
        let networks: Vec<Network> = formats.iter().map(|&format| uniform(self.float, format)).collect();
        let measured = output_noise(&calibrated, &networks, &images, &mut || session.check_interrupt(how))?;
        let analytic: Vec<_> = networks.iter().map(|network| analytic_noise(&calibrated, network)).collect();
        let prober = Prober::new(&calibrated, self.float, &images);
        let prober = match self.args.labels {
            Labels::Own => prober,
            Labels::Data => prober.labelled(&self.images.iter().map(|(_, labels)| labels).collect::<Vec<_>>()),
        };
        let progress = Progress::new("sensitivity", missing.len() as u64, session.quiet);
        for (rank, part, format) in missing {
            session.check_interrupt(how)?;
            let distance = prober.distance(&with(self.float, rank, format, part));
            let at = formats.binary_search(&format).unwrap_or_default();
            rows.push(Row {
                layer: self.name(rank).to_owned(),
                tensor: part,
                format,
                sqnr_db: distance.sqnr_db,
                divergence: distance.divergence,
                loss_change: distance.loss_change,
                output_sqnr_db: of_part(measured[at][rank], part),
                analytic_sqnr_db: of_part(analytic[at][rank], part),
                fisher_trace: traces[rank],
                images: usize::try_from(count).unwrap_or_default(),
                data: self.args.network.data.to_string(),
                subject: rows.subject.clone(),
            });
            progress.step(1);
        }
        progress.finish();
        Ok(())
    }

    /// Each layer's trace of the Fisher information: as it is known, else measured.
    fn traces(
        &self,
        rows: &Rows,
        calibrated: &Calibrated,
        (session, how): (&Session, &str),
        seed: Seed,
    ) -> Result<Vec<f64>> {
        let ranks = 0..self.float.weighted().len();
        if let Some(known) = ranks.map(|rank| rows.trace(self.name(rank))).collect() {
            return Ok(known);
        }
        let exact = calibrated.exact(session.device);
        let label = |(at, (x, labels)): (usize, &(Tensor, Tensor))| match self.args.labels {
            Labels::Own => drawn_labels(&exact.logits(x), seed.child("labels").at(at as u64)),
            Labels::Data => labels.shallow_clone(),
        };
        let labels: Vec<Tensor> = self.images.iter().enumerate().map(label).collect();
        let batches: Vec<(&Tensor, &Tensor)> = self.images.iter().map(|(x, _)| x).zip(&labels).collect();
        let count: i64 = self.images.iter().map(|(x, _)| x.size()[0]).sum();
        let progress = Progress::new("traces", count as u64, session.quiet);
        let mut step = || {
            progress.step(1);
            session.check_interrupt(how)
        };
        let traces = fisher_traces(calibrated, &batches, &mut step)?;
        progress.finish();
        Ok(traces)
    }
}

fn of_part(noise: OutputNoise, part: Part) -> f64 {
    match part {
        Part::Weights => noise.weights,
        Part::Activations => noise.activations,
        Part::Both => noise.both,
    }
}

/// The network with every layer in a format.
fn uniform(float: &Network, format: Format) -> Network {
    let (mut network, count) = (float.clone(), float.weighted().len());
    network.assign(&vec![QuantSpec::per_channel(format); count], &vec![QuantSpec::per_tensor(format); count]);
    network
}

/// The float network with one layer's weights, the activations that it decides, or both in a format.
fn with(float: &Network, rank: usize, format: Format, part: Part) -> Network {
    let (mut weights, mut activations) = float.assigned();
    if part != Part::Activations {
        weights[rank] = QuantSpec::per_channel(format);
    }
    if part != Part::Weights {
        activations[rank] = QuantSpec::per_tensor(format);
    }
    let mut network = float.clone();
    network.assign(&weights, &activations);
    network
}
