//! What a command line of `reproduce` asks for: its protocol, cells and files, and what the kept rows must have been made with.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ReproduceArgs;
use crate::cli::Common;
use crate::cli::kept::{fingerprint, name_of};
use crate::data::{DataSource, Holdout};
use crate::error::{Error, Result};
use crate::reproduce::{Cell, Conditions, Extent, Protocol, Row, find};

/// A resolved command line.
pub(super) struct Plan {
    /// The experiments.
    pub(super) protocol: &'static Protocol,
    /// Their networks.
    pub(super) cells: Vec<Cell>,
    /// The images.
    pub(super) data: DataSource,
    /// Weights to start from.
    pub(super) weights: Option<PathBuf>,
    /// Passes over the training images.
    pub(super) epochs: usize,
    /// Training images held out.
    pub(super) validation: Holdout,
    /// What kept rows must have been made with.
    pub(super) conditions: Conditions,
    /// Networks trained at the same time.
    pub(super) jobs: usize,
    /// Threads of each.
    pub(super) threads: usize,
    /// Where results go.
    pub(super) folder: PathBuf,
    /// The command, without folders.
    pub(super) command: String,
}

impl Plan {
    /// Resolves a command line.
    ///
    /// # Errors
    /// Data or weights that the protocol does not take or lacks; weights that cannot be read.
    pub(super) fn new(args: &ReproduceArgs, common: &Common) -> Result<Self> {
        let protocol = Protocol::named(&args.name, args.data.as_ref())?;
        let data = args.data.clone().map_or_else(|| protocol.usual_data(), Ok)?;
        match (&args.weights, protocol.pretrained) {
            (None, true) => return Err(Error::missing_option("--weights", "name the trained weights to start from")),
            (Some(path), false) => {
                let expected = format!("has no effect on `{}`, which trains from the start", protocol.name);
                return Err(Error::bad_value("--weights", path.display(), expected));
            }
            _ => {}
        }
        let epochs = args.epochs.unwrap_or(protocol.epochs);
        if !(1..=1_000_000).contains(&epochs) {
            return Err(Error::bad_value("--epochs", epochs, "must be from 1 to 1000000"));
        }
        let conditions = Conditions {
            protocol: protocol.version(),
            data: identified(&data)?,
            weights: args.weights.as_deref().map(fingerprint).transpose()?.unwrap_or_default(),
            epochs,
            validation: args.validation.to_string(),
        };
        let threads = common.thread_count()?;
        let usual = if protocol.extent == Extent::Scaled && common.device == "cpu" { threads } else { 1 };
        let jobs = args.jobs.map_or(usual, |jobs| jobs as usize);
        let first = common.root();
        let seeds = args.seeds.unwrap_or(protocol.seeds);
        Ok(Self {
            protocol,
            cells: protocol.cells(first..first + seeds)?,
            data,
            weights: args.weights.as_deref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned())),
            epochs,
            validation: args.validation,
            conditions,
            jobs,
            threads: (threads / jobs).max(1),
            folder: args.write_folder.clone(),
            command: command(args, common, seeds, epochs),
        })
    }

    /// The finished cells.
    pub(super) fn table(&self) -> PathBuf {
        self.file(".csv")
    }

    /// How many of the networks are finished, and where.
    pub(super) fn kept(&self, rows: &[Row]) -> String {
        let finished = self.cells.iter().filter(|cell| find(rows, cell).is_some()).count();
        format!("{finished} of {} networks are in {}", self.cells.len(), self.table().display())
    }

    /// The report.
    pub(super) fn report(&self) -> PathBuf {
        self.file(".md")
    }

    /// Where trainings keep their state: another place for other conditions, so that none clears another's.
    pub(super) fn state(&self, device: &str) -> PathBuf {
        let conditions =
            format!("{:?}\n{}\n{:?}\n{device}\n{}", self.conditions, self.data, self.weights, self.threads);
        let digits: String = Sha256::digest(conditions).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        PathBuf::from("runs").join("reproduce").join(self.protocol.name).join(digits)
    }

    /// Our curves.
    pub(super) fn picture(&self) -> PathBuf {
        self.file(".svg")
    }

    /// The published curves.
    pub(super) fn published_picture(&self) -> PathBuf {
        self.file("_published.svg")
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("reproduce_{}{ending}", self.protocol.name))
    }
}

/// The command as another machine would be given it.
fn command(args: &ReproduceArgs, common: &Common, seeds: u64, epochs: usize) -> String {
    let mut words = vec!["bitfront reproduce".to_owned(), args.name.clone()];
    if let Some(data) = &args.data {
        let text = data.to_string();
        let kind = text.split_once(':').map_or(text.clone(), |(kind, _)| format!("{kind}:DIR"));
        words.push(format!("--data {kind}"));
    }
    words.extend(args.weights.as_deref().map(|path| format!("--weights {}", name_of(path))));
    words.push(format!("--seeds {seeds} --epochs {epochs} --validation {}", args.validation));
    if common.root() > 0 {
        words.push(format!("--seed {}", common.root()));
    }
    words.join(" ")
}

/// The data set's text form with the last part of its folder alone, and what tells its images from others.
fn identified(data: &DataSource) -> Result<String> {
    let text = data.to_string();
    let short = match text.split_once(':') {
        Some((kind, folder)) => format!("{kind}:{}", name_of(Path::new(folder))),
        None => text,
    };
    Ok(format!("{short} {}", data.identity()?).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Verb};

    fn plan(line: &str) -> Result<Plan> {
        let words = ["bitfront", "reproduce"].into_iter().chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| Error::Failed(error.to_string()))?;
        let Verb::Reproduce(args) = &cli.verb else { panic!("not reproduce") };
        Plan::new(args, &cli.common)
    }

    #[test]
    fn files_bear_the_protocols_name_and_conditions_no_folder() {
        let full =
            plan("resnet18 --data imagefolder:some/where/images --seeds 2 --threads 1 --write-folder out").unwrap();
        assert_eq!(full.table(), Path::new("out/reproduce_resnet18.csv"));
        assert_eq!(full.published_picture(), Path::new("out/reproduce_resnet18_published.svg"));
        assert_eq!((full.conditions.data.as_str(), full.conditions.epochs), ("imagefolder:images", 90));
        let command = "bitfront reproduce resnet18 --data imagefolder:DIR --seeds 2 --epochs 90 --validation 1000";
        assert_eq!(full.command, command);
        let small = plan("resnet18 --seed 7 --threads 2").unwrap();
        assert_eq!((small.report(), small.cells[0].seed), (PathBuf::from("results/reproduce_resnet.md"), 7));
    }

    #[test]
    fn what_does_not_fit_the_protocol_is_refused_by_name() {
        for (line, part) in [
            ("resnet20", "--data"),
            ("resnet20 --data cifar10:x", "--weights"),
            ("resnet20 --data cifar10:x --weights missing.safetensors", "missing.safetensors"),
            ("resnet --weights w.safetensors", "trains from the start"),
            ("resnet18 --data cifar10:x", "imagefolder:DIR"),
            ("vit --epochs 0", "--epochs"),
            ("alexnet", "possible values"),
        ] {
            let message = plan(line).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains(part), "{line}: {message}");
        }
    }
}
