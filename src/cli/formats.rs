//! `bitfront formats`: the number formats, their values, and rounding of numbers from standard input.

use std::io::{self, BufRead, BufWriter, ErrorKind, Write};

use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

use super::law::LawArgs;
use crate::error::{Error, Result};
use crate::formats::{Format, FormatRow, table};

/// List the number formats, show the values of one, or round numbers to one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bitfront formats\n  bitfront formats show fp4\n  \
                        echo 2.5 | bitfront formats cast --format float4_e2m1fn")]
pub struct FormatsArgs {
    /// What to do; without it, list the formats.
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show one format: limits, runtimes, and every value if it has at most 8 bits.
    #[command(after_help = "Example:\n  bitfront formats show float8_e4m3fn")]
    Show {
        /// Name or alias of the format.
        format: Format,
    },
    /// Round numbers from standard input, one a line, to a format at scale 1.
    ///
    /// Ties go to the even neighbour, numbers out of range (infinities too) to the largest value. NaN stays NaN where
    /// the format has it and is refused elsewhere. As JSON, what is not finite is null.
    #[command(after_help = "Example:\n  printf '0.3\\n1000\\n' | bitfront formats cast --format float8_e4m3fn")]
    Cast {
        /// Name or alias of the format.
        #[arg(long)]
        format: Format,
    },
    /// Rank float layouts of each width by the scaling law of low-precision training.
    #[command(after_help = "Example:\n  bitfront formats law --parameters 1e9 --block 128")]
    Law(LawArgs),
}

/// Runs the command; `json` writes one JSON object instead of text.
///
/// # Errors
/// [`Error::BadValue`] naming the line of standard input that is no number, or is NaN where the format has none.
/// [`Error::Io`] when a stream fails; a reader that closed the pipe is no failure.
pub fn run(args: &FormatsArgs, json: bool) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    match &args.action {
        None if json => finish(write_json(&mut out, &serde_json::json!({ "formats": table() }))),
        None => finish(writeln!(out, "{}", list())),
        Some(Action::Law(args)) if json => finish(write_json(&mut out, &args.json()?)),
        Some(Action::Law(args)) => finish(writeln!(out, "{}", args.text()?)),
        Some(Action::Show { format }) if json => finish(write_json(&mut out, &shown(*format))),
        Some(Action::Show { format }) => finish(show(*format, &mut out)),
        Some(Action::Cast { format }) if json => {
            let mut values = Vec::new();
            each_cast(*format, io::stdin().lock(), |value| {
                values.push(value);
                Ok(())
            })?;
            finish(write_json(&mut out, &serde_json::json!({ "format": format, "values": values })))
        }
        Some(Action::Cast { format }) => {
            each_cast(*format, io::stdin().lock(), |value| write_number(&mut out, value))?;
            finish(Ok(()))
        }
    }?;
    finish(out.flush())
}

/// A closed pipe ends the output without being a failure.
fn finish(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::io("standard output", error)),
        _ => Ok(()),
    }
}

fn write_json(out: &mut impl Write, value: &serde_json::Value) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Reads one number a line, rounds it and hands it to `sink`; stops when `sink` finds its pipe closed.
fn each_cast(format: Format, mut input: impl BufRead, mut sink: impl FnMut(f32) -> io::Result<()>) -> Result<()> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if input.read_until(b'\n', &mut line).map_err(|error| Error::io("standard input", error))? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        let refuse =
            |expected: String| Err(Error::bad_value(format!("standard input, line {number}:"), text, expected));
        let Ok(value) = text.parse::<f32>() else {
            return refuse("not a number; one decimal number, inf or nan a line".into());
        };
        if value.is_nan() && !format.has_nan() {
            return refuse(format!("{format} has no NaN; its values are {} to {}", format.min(), format.max()));
        }
        let written = sink(format.cast(value));
        if written.is_err() {
            return finish(written);
        }
    }
    Ok(())
}

/// The shortest digits that read back as the same float32, one line.
fn write_number(out: &mut impl Write, value: f32) -> io::Result<()> {
    let magnitude = value.abs();
    if value.is_nan() {
        out.write_all(b"nan\n")
    } else if magnitude >= 1e16 || (magnitude < 1e-5 && magnitude > 0.0) {
        writeln!(out, "{value:e}")
    } else {
        writeln!(out, "{value}")
    }
}

/// The table of all formats, at most 80 columns wide; the aliases wrap. ORT is ONNX Runtime.
fn list() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(80);
    table.set_header(["format", "aliases", "bits", "values", "max", "smallest", "ORT CPU"]);
    for row in crate::formats::table() {
        table.add_row([
            row.name.to_string(),
            row.aliases.join(" "),
            row.bits.to_string(),
            row.values.to_string(),
            short(row.max),
            short(row.smallest),
            row.onnxruntime_cpu.to_string(),
        ]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if index != 1 {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        if (2..6).contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A number in at most nine characters: plain if it fits, else with an exponent and four digits.
fn short(x: f64) -> String {
    let plain = format!("{x}");
    if plain.len() <= 9 { plain } else { format!("{x:.3e}") }
}

/// Formats of more bits have too many values to print.
const LISTED_BITS: u32 = 8;

fn show(format: Format, out: &mut impl Write) -> io::Result<()> {
    let row = FormatRow::of(format);
    writeln!(out, "{} ({} bits)", row.name, row.bits)?;
    if !row.aliases.is_empty() {
        writeln!(out, "also read as: {}", row.aliases.join(", "))?;
    }
    writeln!(out, "range: {} to {}, smallest positive {}", short(row.min), short(row.max), short(row.smallest))?;
    writeln!(out, "NaN: {}", if row.nan { "yes" } else { "no" })?;
    writeln!(out, "ONNX Runtime CPU: {}", row.onnxruntime_cpu)?;
    writeln!(out, "computed by: {}", row.runtimes)?;
    writeln!(out, "distinct finite values: {}", row.values)?;
    if row.bits > LISTED_BITS {
        return Ok(());
    }
    let texts: Vec<String> = format.grid().iter().map(|value| format!("{value}")).collect();
    let width = texts.iter().map(String::len).max().unwrap_or(0) + 2;
    for line in texts.chunks((80 / width).max(1)) {
        let line: String = line.iter().map(|text| format!("{text:>width$}")).collect();
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// What `show` prints as JSON: the row, and `grid` where it is listed.
fn shown(format: Format) -> serde_json::Value {
    let grid = (format.bits() <= LISTED_BITS).then(|| format.grid());
    serde_json::json!({ "format": FormatRow::of(format), "grid": grid })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        formats: FormatsArgs,
    }

    fn cast(name: &str, input: &str) -> (String, Result<()>) {
        let mut out = Vec::new();
        let result = each_cast(name.parse().unwrap(), input.as_bytes(), |value| write_number(&mut out, value));
        (String::from_utf8(out).unwrap(), result)
    }

    #[test]
    fn numbers_come_back_one_a_line() {
        let (text, result) = cast("float8_e4m3fn", "17\n -0.0 \n1e9\r\n-inf\n0.3\nNaN\n.001953125");
        result.unwrap();
        assert_eq!(text, "16\n-0\n448\n-448\n0.3125\nnan\n0.001953125\n");
        assert_eq!(cast("int4", "-0.2\n-9\ninf\n2.5\n").0, "0\n-8\n7\n2\n");
    }

    #[test]
    fn extreme_numbers_are_short_and_read_back() {
        let (text, _) = cast("float32", "3.4028235e38\n1e-45\n0.1\n123456.7\n1e-5\n");
        assert_eq!(text, "3.4028235e38\n1e-45\n0.1\n123456.7\n0.00001\n");
    }

    #[test]
    fn bad_lines_are_named_after_the_good_ones_are_written() {
        let (text, result) = cast("int8", "1\n2\nthree\n4\n");
        let error = result.unwrap_err();
        assert_eq!(text, "1\n2\n");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("line 3") && error.to_string().contains("three"), "{error}");
        let error = cast("float4_e2m1fn", "1\nnan\n").1.unwrap_err();
        assert!(error.to_string().contains("line 2") && error.to_string().contains("no NaN"), "{error}");
        assert_eq!(error.exit_code(), 2);
        assert!(cast("int8", "1\n\n2\n").1.is_err());
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = |_| Err(io::Error::from(ErrorKind::BrokenPipe));
        assert!(each_cast(Format::Int(8), &b"1\n2\n"[..], closed).is_ok());
        let full = |_| Err(io::Error::from(ErrorKind::StorageFull));
        assert!(each_cast(Format::Int(8), &b"1\n2\n"[..], full).is_err());
    }

    #[test]
    fn the_list_fits_eighty_columns_and_names_every_format() {
        let text = list().to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(Format::all().iter().all(|format| text.contains(format.name())), "{text}");
    }

    #[test]
    fn show_prints_every_value_within_eighty_columns() {
        for format in Format::all() {
            let mut out = Vec::new();
            show(format, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            let (_, values) = text.split_once("values: ").unwrap();
            let listed = values.split_whitespace().skip(1).count() as u64;
            assert_eq!(listed, if format.bits() <= 8 { format.grid_size() } else { 0 });
            let wide = |line: &&str| line.chars().count() > 80 && !line.starts_with("computed by");
            assert_eq!(text.lines().find(wide), None);
        }
    }

    #[test]
    fn arguments_take_names_and_aliases() {
        let parsed = Cli::try_parse_from(["formats", "cast", "--format", "e4m3"]).map(|cli| cli.formats.action);
        assert!(matches!(parsed, Ok(Some(Action::Cast { format })) if format.name() == "float8_e4m3fn"));
        let error = Cli::try_parse_from(["formats", "show", "itn8"]).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("did you mean `int8`"), "{error}");
    }

    #[test]
    fn json_holds_the_grid_of_narrow_formats_only() {
        assert_eq!(shown("fp4".parse().unwrap())["grid"].as_array().unwrap().len(), 15);
        assert!(shown(Format::Float32)["grid"].is_null());
        assert_eq!(shown(Format::Int(8))["format"]["onnxruntime_cpu"], "native");
    }
}
