//! `bitfront bench options`: each option of a refinement alone.

use clap::{Args, Parser};
use serde::{Deserialize, Serialize};

use super::Common;
use super::seeded::{Reading, Seeded, SeededArgs};
use crate::cli::common::{reason, written_by};
use crate::cli::point::Point;
use crate::cli::refinement::RefinementArgs;
use crate::error::{Error, Result};
use crate::report::markdown_table;
use crate::stats::{mean, standard_error, verdict};

/// Each option of a refinement alone.
#[derive(Args, Debug)]
pub struct OptionsArgs {
    /// What is refined.
    #[command(flatten)]
    pub begin: SeededArgs,
    /// Formats: WEIGHTS[/ACTIVATIONS][@ENDS]
    #[arg(long, value_delimiter = ',', value_name = "POINTS", default_value = "int4@int8,e2m1@int8")]
    pub points: Vec<Point>,
    /// Options of `refine`, as one argument; repeat for several [default: every option alone]
    #[arg(long = "try", value_name = "OPTIONS", allow_hyphen_values = true)]
    pub tried: Vec<String>,
}

/// What is tried where nothing is named.
const EACH: [&str; 21] = [
    "--weight-clip min-max",
    "--act-clip percentile:99.9",
    "--equalise 0.5",
    "--joint output",
    "--joint output --flavours",
    "--joint fisher",
    "--preshift",
    "--scale-mode m1",
    "--scale-mode m2",
    "--reestimate",
    "--correct-biases",
    "--decouple",
    "--lorc 4",
    "--steps 200 --rounding learned --drop 0 --fixed-scales --fixed-biases --views 1",
    "--steps 200 --rounding scale-aware --drop 0 --fixed-scales --fixed-biases --views 1",
    "--steps 200 --drop 0 --views 1",
    "--steps 200 --views 1",
    "--steps 200 --views 4",
    "--finetune 4 --mix 0 --fixed-codes",
    "--finetune 4 --mix 0",
    "--finetune 4",
];

/// Options of `refine`, with no training but what they ask for.
#[derive(Parser, Debug)]
#[command(args_override_self = true, no_binary_name = true)]
struct Alone {
    #[command(flatten)]
    how: RefinementArgs,
}

impl Alone {
    fn parse(options: &str) -> Result<RefinementArgs> {
        let words = ["--steps", "0", "--finetune", "0"].into_iter().chain(options.split_whitespace());
        let Self { how } =
            Self::try_parse_from(words).map_err(|error| Error::bad_value("--try", options, reason(&error)))?;
        how.check()?;
        Ok(how)
    }
}

/// One option with one seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    point: String,
    options: String,
    seed: u64,
    test: Reading,
    /// Divergence from the float network on the validation images, in nats.
    divergence: f64,
    seconds: f64,
}

/// Tries every option with every seed and prints the table.
///
/// # Errors
/// An option that `refine` does not know; a file that cannot be read or does not fit; whatever a refinement fails with.
pub(super) fn run(args: &OptionsArgs, common: &Common) -> Result<()> {
    let texts: Vec<&str> =
        if args.tried.is_empty() { EACH.to_vec() } else { args.tried.iter().map(String::as_str).collect() };
    // What all others are compared with.
    let texts = std::iter::once("").chain(texts);
    let ways = texts.map(|text| Ok((text, Alone::parse(text)?))).collect::<Result<Vec<_>>>()?;
    let each: Vec<_> = args.points.iter().flat_map(|point| ways.iter().map(move |way| (point, way))).collect();
    let rows = |seeded: &Seeded| {
        let one = |(point, way): &(&Point, &(&str, RefinementArgs))| {
            seeded.kept((&format!("{point} {}", way.0), "alone"), || row(point, way, seeded))
        };
        each.iter().map(one).collect()
    };
    let texts: Vec<&str> = ways.iter().map(|(text, _)| *text).collect();
    let threads = common.thread_count()?;
    args.begin.each(each.len(), common, rows, |rows| markdown(args, &texts, rows, threads))
}

fn row(point: &Point, (text, how): &(&str, RefinementArgs), seeded: &Seeded) -> Result<Row> {
    let (refined, seconds) = seeded.refined(&seeded.in_formats(point), how)?;
    let (test, divergence) = (seeded.test.read(&refined.after), refined.harm[1]);
    seeded.say(&format!("{point} {text}, seed {}: {:.2} in {seconds:.0} s", seeded.seed, test.top1));
    let (point, options) = (point.to_string(), (*text).to_owned());
    Ok(Row { point, options, seed: seeded.seed, test, divergence, seconds })
}

fn markdown(args: &OptionsArgs, texts: &[&str], rows: &[Row], threads: usize) -> String {
    let mut text = format!(
        "# Each option of a refinement alone\n\n{}.\n\nTop-1 in \
         percent and signal to noise of the logits in decibels, on all test images; divergence from the\nfloat network on \
         1,000 validation images, in nats; means over seeds. Gain: top-1 less that of the first row, with its\nstandard error \
         and verdict. {} training images, labels not read. Nothing is trained but what the options say\n(`--steps 0 \
         --finetune 0`); s: seconds, with 2 seconds of calibration.\n",
        written_by(threads),
        args.begin.calibration,
    );
    let header = ["options", "top-1", "gain", "s.e.", "verdict", "dB", "nats", "s"];
    for point in &args.points {
        let point = point.to_string();
        let of =
            |options: &str| rows.iter().filter(|row| row.point == point && row.options == options).collect::<Vec<_>>();
        let without = of("");
        let line = |options: &&str| {
            let own = of(options);
            let average = |number: fn(&Row) -> f64| mean(&own.iter().map(|row| number(row)).collect::<Vec<_>>());
            let average = |number| average(number).unwrap_or_default();
            let gains: Vec<f64> = own.iter().zip(&without).map(|(a, b)| a.test.top1 - b.test.top1).collect();
            let base = options.is_empty();
            vec![
                if base { "none".into() } else { format!("`{options}`") },
                format!("{:.2}", average(|row| row.test.top1)),
                if base { "-".into() } else { format!("{:+.2}", mean(&gains).unwrap_or_default()) },
                standard_error(&gains).filter(|_| !base).map_or("-".into(), |error| format!("{error:.2}")),
                if base { "-".into() } else { verdict(&gains).to_string() },
                format!("{:.2}", average(|row| row.test.sqnr_db)),
                format!("{:.4}", average(|row| row.divergence)),
                format!("{:.0}", average(|row| row.seconds)),
            ]
        };
        let table = markdown_table(&header, &texts.iter().map(line).collect::<Vec<_>>());
        text += &format!("\n**{point}**\n\n{table}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_one_of_refine_and_trains_nothing_else() {
        for text in EACH {
            let how = Alone::parse(text).unwrap();
            assert_eq!(
                (how.steps > 0, how.finetune > 0),
                (text.contains("--steps"), text.contains("--finetune")),
                "{text}"
            );
        }
        let error = Alone::parse("--decuple").unwrap_err().to_string();
        assert!(error.contains("--decuple"), "{error}");
    }
}
