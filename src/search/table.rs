//! A tabular benchmark: every network of a small space with its accuracy, so that the regret of a search is exact.
//!
//! Format of NAS-Bench-Macro (Su et al., CVPR 2021; github.com/xiusu/NAS-Bench-Macro): a JSON object from a string of
//! digits (one option a decision) to `mean_acc` (percent) and `flops`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::Deserialize;

use crate::error::Error;
use crate::error::Result;
use crate::genome::Choices;
use crate::genome::Genome;

use super::Evaluator;
use super::Outcome;

/// All networks of a space with top-1 and floating-point operations.
#[derive(Clone, Debug)]
pub struct Table {
    choices: Choices,
    networks: BTreeMap<Genome, Network>,
}

/// What the table says of one network.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Network {
    #[serde(rename = "mean_acc")]
    top1: f64,
    flops: f64,
}

/// Reads a table. The number of options of each decision is what the table uses; every combination must be there.
///
/// # Errors
/// If the file cannot be read, is not such a table, is incomplete, or holds an accuracy outside 0 to 100 or
/// operations that are not positive.
pub fn load_table(path: impl AsRef<Path>) -> Result<Table> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|source| Error::io(path, source))?;
    let rows: BTreeMap<String, Network> = serde_json::from_reader(BufReader::new(file))
        .map_err(|error| Error::bad_file(path, format!("not a table of networks: {error}")))?;
    let mut networks = BTreeMap::new();
    for (code, network) in rows {
        let digits = code.chars().map(|c| c.to_digit(10).map(|digit| digit as u8)).collect::<Option<Vec<u8>>>();
        let digits = digits.ok_or_else(|| Error::bad_file(path, format!("network `{code}`: expected digits")))?;
        if !(0.0..=100.0).contains(&network.top1) {
            let what = format!("network `{code}`: mean_acc is {}, expected 0 to 100", network.top1);
            return Err(Error::bad_file(path, what));
        }
        if !(network.flops > 0.0 && network.flops.is_finite()) {
            let what = format!("network `{code}`: flops is {}, expected a number > 0", network.flops);
            return Err(Error::bad_file(path, what));
        }
        networks.insert(Genome(digits), network);
    }
    let choices = choices_of(networks.keys()).map_err(|what| Error::bad_file(path, what))?;
    if choices.count() != networks.len() as u128 {
        let what = format!("{} networks, expected all {}", networks.len(), choices.count());
        return Err(Error::bad_file(path, what));
    }
    Ok(Table { choices, networks })
}

/// The options that the genomes use, if they all have the same number of decisions.
fn choices_of<'a>(genomes: impl Iterator<Item = &'a Genome>) -> std::result::Result<Choices, String> {
    let mut options: Vec<u8> = Vec::new();
    for genome in genomes {
        if options.is_empty() {
            options = vec![1; genome.0.len()];
        }
        if genome.0.len() != options.len() {
            return Err(format!("network `{genome}` has {} decisions, others {}", genome.0.len(), options.len()));
        }
        for (count, option) in options.iter_mut().zip(&genome.0) {
            *count = (*count).max(option + 1);
        }
    }
    Choices::new(options).map_err(|_| "no networks".to_string())
}

impl Table {
    /// The decisions.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// Top-1 of the best network, in percent.
    pub fn best_top1(&self) -> f64 {
        self.networks.values().map(|network| network.top1).fold(0.0, f64::max)
    }

    /// Smallest and largest number of floating-point operations.
    pub fn flops_range(&self) -> (f64, f64) {
        let flops = || self.networks.values().map(|network| network.flops);
        (flops().fold(f64::INFINITY, f64::min), flops().fold(0.0, f64::max))
    }

    fn outcome(&self, genome: &Genome) -> Result<Outcome> {
        let network = self.networks.get(genome);
        let network = network.ok_or_else(|| Error::bad_value("genome", genome, "not in the table"))?;
        Ok(Outcome { top1: network.top1, loss: None, costs: vec![network.flops], violation: 0.0, bonus: 0.0 })
    }

    /// (operations, top-1) of every network.
    pub fn points(&self) -> Vec<(f64, f64)> {
        self.networks.values().map(|network| (network.flops, network.top1)).collect()
    }
}

/// Evaluates genomes by looking them up; its one cost is floating-point operations.
#[derive(Clone, Copy, Debug)]
pub struct TableEvaluator<'a>(pub &'a Table);

impl Evaluator for TableEvaluator<'_> {
    fn evaluate(
        &mut self,
        genomes: &[Genome],
        go_on: &(dyn Fn() -> bool + Sync),
        keep: &mut dyn FnMut(Outcome) -> Result<()>,
    ) -> Result<()> {
        let genomes = genomes.iter().take_while(|_| go_on());
        genomes.map(|genome| self.0.outcome(genome)).try_for_each(|outcome| keep(outcome?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Table> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.json");
        std::fs::write(&path, text).unwrap();
        load_table(path)
    }

    fn message(text: &str) -> String {
        load(text).unwrap_err().to_string()
    }

    const SMALL: &str = r#"{"00": {"mean_acc": 50.0, "flops": 100, "params": 1},
        "01": {"mean_acc": 60.0, "flops": 200}, "02": {"mean_acc": 55.5, "flops": 300}}"#;

    #[test]
    fn a_small_table_reads_as_written() {
        let table = load(SMALL).unwrap();
        assert_eq!(table.choices().options(), [1, 3]);
        assert!((table.best_top1() - 60.0).abs() < 1e-12);
        assert_eq!(table.flops_range(), (100.0, 300.0));
        let outcome = table.outcome(&Genome(vec![0, 2])).unwrap();
        assert_eq!(outcome.objectives(), [44.5, 300.0]);
        assert!(table.outcome(&Genome(vec![0, 3])).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(load_table("/no/such/table.json").unwrap_err().to_string().contains("/no/such/table.json"));
        assert!(message("[1, 2]").contains("not a table"));
        assert!(message("{}").contains("no networks"));
        assert!(message(r#"{"0x": {"mean_acc": 1.0, "flops": 1}}"#).contains("`0x`: expected digits"));
        assert!(message(r#"{"0": {"mean_acc": 101.0, "flops": 1}}"#).contains("mean_acc is 101"));
        assert!(message(r#"{"0": {"mean_acc": 1.0, "flops": 0}}"#).contains("flops is 0"));
        assert!(
            message(r#"{"0": {"mean_acc": 1.0, "flops": 1}, "00": {"mean_acc": 1.0, "flops": 1}}"#)
                .contains("decisions")
        );
        assert!(message(r#"{"2": {"mean_acc": 1.0, "flops": 1}}"#).contains("1 networks, expected all 3"));
    }
}
