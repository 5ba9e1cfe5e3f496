//! `bitfront bench mixed`: formats mixed by the post-training search at a mean number of weight bits, before and after
//! refinement, against one format everywhere.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::Common;
use super::demo::{demo_settings, run_or_read};
use super::seeded::{Reading, Seeded, SeededArgs};
use crate::cli::common::write_result;
use crate::cli::common::written_by;
use crate::cli::point::Point;
use crate::cli::refinement::RefinementArgs;
use crate::cost::{Constraint, Convention, Costs, Metric};
use crate::engine::{Pick, member};
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::network::Network;
use crate::report::markdown_table;
use crate::stats::{mean, standard_error, verdict};

/// Mixed formats of a trained network, over seeds.
#[derive(Args, Debug)]
pub struct MixedArgs {
    /// What is quantized.
    #[command(flatten)]
    pub begin: SeededArgs,
    /// Formats to mix and mean weight bits: FORMAT+FORMAT[/ACTIVATIONS]<=BITS; without ACTIVATIONS they are the weights'
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "MIXES",
        default_value = "int4+int8/int8<=4.7,int4+int8<=4.7,int4+int8/int8<=5.94,int3+int4+int5+int6<=4"
    )]
    pub mixes: Vec<Mix>,
    /// One format everywhere to compare with: WEIGHTS[/ACTIVATIONS][@ENDS]
    #[arg(long, value_name = "POINT", default_value = "int4")]
    pub against: Point,
    /// Candidates that each search evaluates
    #[arg(long, value_name = "N", default_value = "48")]
    pub evaluations: String,
    /// How the found network is refined.
    #[command(flatten)]
    pub how: RefinementArgs,
}

/// Formats to mix, and how many bits a weight may take in the mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    formats: Vec<Format>,
    activations: Option<Format>,
    bits: f64,
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.formats.iter().map(Format::to_string).collect();
        write!(f, "{}", names.join("+"))?;
        self.activations.map_or(Ok(()), |activations| write!(f, "/{activations}"))?;
        write!(f, "<={}", self.bits)
    }
}

impl FromStr for Mix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            || Error::bad_value("--mixes", text, "FORMAT+FORMAT[/ACTIVATIONS]<=BITS, as in int4+int8/int8<=4.7");
        let (formats, bits) = text.split_once("<=").ok_or_else(wrong)?;
        let (weights, activations) = formats.split_once('/').map_or((formats, None), |(w, a)| (w, Some(a)));
        let bits: f64 = bits.parse().map_err(|_| wrong())?;
        if !(bits > 0.0 && bits <= 32.0) {
            return Err(Error::bad_value("--mixes", text, "mean weight bits above 0, at most 32"));
        }
        let formats = weights.split('+').map(str::parse).collect::<Result<_>>()?;
        Ok(Self { formats, activations: activations.map(str::parse).transpose()?, bits })
    }
}

impl Mix {
    /// The search space of a model in these formats.
    fn space(&self, model: impl fmt::Display) -> String {
        let names: Vec<String> = self.formats.iter().map(|format| format!("{:?}", format.to_string())).collect();
        let activations = self.activations.map_or("Tied".into(), |format| format!("Among([{:?}])", format.to_string()));
        format!("(model: \"{model}\", formats: [{}], activations: {activations})\n", names.join(", "))
    }

    fn limit(&self) -> Constraint {
        Constraint { metric: Metric::AvgWBits, limit: self.bits, strict: false }
    }

    /// Its name in files.
    fn slug(&self) -> String {
        self.to_string().replace("<=", "-").replace(['+', '/'], "-")
    }
}

/// One network with one seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    formats: String,
    seed: u64,
    avg_w_bits: f64,
    avg_a_bits: f64,
    before: Reading,
    after: Reading,
    seconds: f64,
}

/// Searches and refines every mix with every seed and prints the tables.
///
/// # Errors
/// A file that cannot be read or does not fit; whatever a search or a refinement fails with.
pub(super) fn run(args: &MixedArgs, common: &Common) -> Result<()> {
    args.how.check()?;
    let rows = |seeded: &Seeded| {
        let kept = |name: &str, network: &dyn Fn() -> Result<Network>| {
            let how = format!("of {} evaluations {:?}", args.evaluations, args.how);
            seeded.kept((name, &how), || row(args, name, network()?, seeded))
        };
        let uniform = kept(&args.against.to_string(), &|| Ok(seeded.in_formats(&args.against)));
        let mixed = args.mixes.iter().map(|mix| kept(&mix.to_string(), &|| searched(args, mix, seeded, common)));
        std::iter::once(uniform).chain(mixed).collect()
    };
    let threads = common.thread_count()?;
    args.begin.each(1 + args.mixes.len(), common, rows, |rows| markdown(args, rows, threads))
}

/// The network of the best validation accuracy within a mix's bits, by a search in `runs/bench-mixed-<mix>-seed<N>`.
fn searched(args: &MixedArgs, mix: &Mix, seeded: &Seeded, common: &Common) -> Result<Network> {
    let begin = &args.begin;
    let model = begin.network.model.ok_or_else(|| Error::missing_option("--model", "mixes are of a model by name"))?;
    let runs = Path::new("runs");
    std::fs::create_dir_all(runs).map_err(|error| Error::io(runs, error))?;
    let space = runs.join(format!("bench-mixed-{}.ron", mix.slug()));
    write_result(Some(&space), &mix.space(model))?;
    let (space, weights) = (space.display().to_string(), begin.weights.display().to_string());
    let (data, limit) = (begin.network.data.to_string(), mix.limit().to_string());
    let mut line = vec!["--mode", "ptq", "--objective", "avg_w_bits", "--evaluations", &args.evaluations];
    let given = [("--space", &space), ("--weights", &weights), ("--data", &data), ("--constraint", &limit)];
    given.iter().for_each(|(option, value)| line.extend([*option, value.as_str()]));
    let calibration = begin.calibration.to_string();
    line.extend(["--calibration", &calibration]);
    let settings = demo_settings(&line, common, seeded.seed)?;
    let (_, folder) = run_or_read(&settings, &format!("bench-mixed-{}", mix.slug()), common)?;
    let session = common.session(settings.threads, None)?;
    Ok(member(&folder, &Pick::Best(mix.limit()), &session)?.network)
}

fn row(args: &MixedArgs, name: &str, network: Network, seeded: &Seeded) -> Result<Row> {
    let (refined, seconds) = seeded.refined(&network, &args.how)?;
    let before = seeded.test.read(&refined.before);
    let after = if refined.helped() { seeded.test.read(&refined.after) } else { before };
    seeded.say(&format!("{name}, seed {}: {:.2} -> {:.2} in {seconds:.0} s", seeded.seed, before.top1, after.top1));
    let Costs { avg_w_bits, avg_a_bits, .. } = Costs::of(&network, Convention::Full);
    Ok(Row { formats: name.to_owned(), seed: seeded.seed, avg_w_bits, avg_a_bits, before, after, seconds })
}

fn markdown(args: &MixedArgs, rows: &[Row], threads: usize) -> String {
    let against = args.against.to_string();
    let of = |name: &str| rows.iter().filter(|row| row.formats == name).collect::<Vec<_>>();
    let uniform = of(&against);
    let line = |name: String| {
        let own = of(&name);
        let average = |number: fn(&Row) -> f64| {
            mean(&own.iter().map(|row| number(row)).collect::<Vec<_>>()).map_or("-".into(), |mean| format!("{mean:.2}"))
        };
        let gains: Vec<f64> = own.iter().zip(&uniform).map(|(a, b)| a.after.top1 - b.after.top1).collect();
        let base = name == against;
        vec![
            format!("`{name}`"),
            average(|row| row.avg_w_bits),
            average(|row| row.avg_a_bits),
            average(|row| row.before.top1),
            average(|row| row.after.top1),
            if base { "-".into() } else { format!("{:+.2}", mean(&gains).unwrap_or_default()) },
            standard_error(&gains).filter(|_| !base).map_or("-".into(), |error| format!("{error:.2}")),
            if base { "-".into() } else { verdict(&gains).to_string() },
        ]
    };
    let header = ["formats", "w bits", "a bits", "before", "after", "gain", "s.e.", "verdict"];
    let mixes = args.mixes.iter().map(Mix::to_string);
    let lines: Vec<Vec<String>> = std::iter::once(against.clone()).chain(mixes).map(line).collect();
    format!(
        "# Mixed formats of a trained network\n\n{}.\n\nTop-1 in percent on all test images, means \
         over seeds, before and after refinement. Each mix is the member of the best\nvalidation accuracy that `search --mode \
         ptq` finds within the mean weight bits; gain: its top-1 after refinement less that of\n`{against}`, with standard \
         error and verdict. {} training images, labels not read. No layer is in float.\n\n{}",
        written_by(threads),
        args.begin.calibration,
        markdown_table(&header, &lines)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_are_read_as_they_are_written() {
        for text in ["int4+int8/int8<=4.7", "int2+float4_e2m1fn<=3"] {
            assert_eq!(text.parse::<Mix>().unwrap().to_string(), text);
        }
        for wrong in ["int4+int8", "int4+int9<=4", "int4<=0", "int4<=x", "int4/int8/int8<=4"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mix_makes_a_space_of_its_formats() {
        let mix: Mix = "int4+int8/int8<=4.7".parse().unwrap();
        let file: crate::space::SpaceFile = crate::ron_text::parse(&mix.space("resnet20"), "mix.ron").unwrap();
        assert_eq!(file.formats, [Format::Int(4), Format::Int(8)]);
        assert_eq!(mix.slug(), "int4-int8-int8-4.7");
    }
}
