//! The table of a sensitivity, as its CSV file keeps it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::formats::Format;
use crate::network::Network;

/// What is quantized, all else in float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Part {
    /// The layer's weights.
    Weights,
    /// What the layer reads, and what else its format decides.
    Activations,
    /// Both.
    Both,
}

pub(super) const PARTS: [Part; 3] = [Part::Weights, Part::Activations, Part::Both];

/// One measurement: all of the network in float but this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub layer: String,
    pub tensor: Part,
    pub format: Format,
    /// Signal to noise of the logits; infinite where the layer decides no tensor of its own, so that nothing changed.
    pub sqnr_db: f64,
    /// Divergence of the predicted classes from the float network's, in nats.
    pub divergence: f64,
    /// Rise of the mean cross entropy, in nats.
    pub loss_change: f64,
    /// Signal to noise of the layer's own output.
    pub output_sqnr_db: f64,
    /// The same from histograms of its tensors, by theory.
    pub analytic_sqnr_db: f64,
    /// Sum over the layer's weights of the mean squared gradient of the loss.
    pub fisher_trace: f64,
    /// Images measured on.
    pub images: usize,
    pub data: String,
    /// Hash of network, weights, images, labels and seed: rows of equal subject belong together.
    pub subject: String,
}

/// All rows of a file, those of the subject at hand among them.
#[derive(Debug)]
pub(super) struct Rows {
    rows: Vec<Row>,
    /// The subject at hand.
    pub(super) subject: String,
}

impl Rows {
    /// The rows of a file, none where there is none yet.
    ///
    /// # Errors
    /// The file is something else.
    pub(super) fn read(path: Option<&Path>, subject: String) -> Result<Self> {
        let Some(path) = path.filter(|path| path.exists()) else { return Ok(Self { rows: Vec::new(), subject }) };
        let bad = |error: csv::Error| {
            let what = format!(
                "is no table of sensitivities that this version wrote ({error}); name another file or remove it"
            );
            Error::bad_file(path, what)
        };
        let rows = csv::Reader::from_path(path).map_err(bad)?.into_deserialize().collect::<csv::Result<_>>();
        Ok(Self { rows: rows.map_err(bad)?, subject })
    }

    /// The row of a measurement of the subject, if it is there.
    pub(super) fn get(&self, layer: &str, tensor: Part, format: Format) -> Option<&Row> {
        let is = |row: &&Row| {
            row.subject == self.subject && row.layer == layer && row.tensor == tensor && row.format == format
        };
        self.rows.iter().find(is)
    }

    /// Trace of a layer's Fisher information, if a row of the subject has it.
    pub(super) fn trace(&self, layer: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.subject == self.subject && row.layer == layer).map(|row| row.fisher_trace)
    }

    pub(super) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// The rows of the subject in these formats, by part, layer and format.
    pub(super) fn chosen(&self, network: &Network, formats: &[Format]) -> Vec<Row> {
        let mut found = Vec::new();
        for part in PARTS {
            for index in network.weighted() {
                let layer = &network.layers[index].name;
                found.extend(formats.iter().filter_map(|&format| self.get(layer, part, format).cloned()));
            }
        }
        found
    }

    /// All rows as CSV.
    ///
    /// # Errors
    /// A row cannot be written.
    pub(super) fn csv(&self) -> Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("cannot write a CSV row: {error}"));
        self.rows.iter().try_for_each(|row| writer.serialize(row)).map_err(|error| failed(&error))?;
        writer.into_inner().map_err(|error| failed(&error))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::network::{ModelSpec, build};

    pub(in crate::cli::sensitivity) fn row(layer: &str, tensor: Part, format: &str, subject: &str) -> Row {
        Row {
            layer: layer.to_owned(),
            tensor,
            format: format.parse().unwrap(),
            sqnr_db: 21.25,
            divergence: 1.5e-3,
            loss_change: -2e-5,
            output_sqnr_db: f64::INFINITY,
            analytic_sqnr_db: 19.5,
            fisher_trace: 0.125,
            images: 8,
            data: "idx:x".to_owned(),
            subject: subject.to_owned(),
        }
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_other_subjects_are_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.csv");
        let mut rows = Rows::read(Some(&path), "a".to_owned()).unwrap();
        rows.push(row("conv1", Part::Both, "fp4", "a"));
        rows.push(row("conv1", Part::Weights, "int4", "b"));
        std::fs::write(&path, rows.csv().unwrap()).unwrap();
        let again = Rows::read(Some(&path), "a".to_owned()).unwrap();
        assert_eq!(again.rows, rows.rows);
        assert!(again.get("conv1", Part::Both, "fp4".parse().unwrap()).is_some());
        assert!(again.get("conv1", Part::Weights, Format::Int(4)).is_none());
        assert_eq!(again.trace("conv1"), Some(0.125));
        let network = build(&ModelSpec::new("resnet8".parse().unwrap())).unwrap();
        assert_eq!(again.chosen(&network, &["fp4".parse().unwrap(), Format::Int(4)]).len(), 1);
        std::fs::write(&path, "layer,tensor,format,sqnr_db,divergence\nconv1,weights,int4,1,2\n").unwrap();
        let error = Rows::read(Some(&path), "a".to_owned()).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("s.csv"), "{error}");
    }
}
