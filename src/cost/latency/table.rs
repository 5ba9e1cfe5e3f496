//! A table of measured kernels: `kernels.csv`.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Kernel, KernelOp};
use crate::error::nearest;
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::network::Act;

/// One measured kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was timed.
    pub kernel: Kernel,
    /// Images at a time.
    pub batch: usize,
    /// Timed runs that are no outliers.
    pub runs: usize,
    /// Median time in microseconds.
    pub median_us: f64,
    /// The time that a tenth of the runs is below.
    pub p10_us: f64,
    /// The time that a tenth of the runs is above.
    pub p90_us: f64,
    /// Median distance from the median.
    pub mad_us: f64,
}

/// A row as the file has it.
#[derive(Serialize, Deserialize)]
struct Line {
    op: KernelOp,
    c_in: usize,
    c_out: usize,
    h: usize,
    w: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
    #[serde(serialize_with = "write_act", deserialize_with = "read_act")]
    act: Act,
    w_format: Format,
    a_format: Format,
    batch: usize,
    runs: usize,
    median_us: f64,
    p10_us: f64,
    p90_us: f64,
    mad_us: f64,
}

fn write_act<S: Serializer>(act: &Act, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_str(act.name())
}

fn read_act<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Act, D::Error> {
    Act::named(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

/// The columns.
const COLUMNS: [&str; 17] = [
    "op",
    "c_in",
    "c_out",
    "h",
    "w",
    "kernel",
    "stride",
    "groups",
    "act",
    "w_format",
    "a_format",
    "batch",
    "runs",
    "median_us",
    "p10_us",
    "p90_us",
    "mad_us",
];

/// An hour in microseconds: no kernel takes that long, a column in nanoseconds may seem to.
const LONGEST_US: f64 = 3.6e9;

impl From<&Row> for Line {
    fn from(row: &Row) -> Self {
        let Kernel { op, c_in, c_out, h, w, kernel, stride, groups, act, w_format, a_format } = row.kernel;
        let Row { batch, runs, .. } = *row;
        // Clocks tell nanoseconds.
        let [median_us, p10_us, p90_us, mad_us] =
            [row.median_us, row.p10_us, row.p90_us, row.mad_us].map(|us| (us * 1e3).round() / 1e3);
        Self {
            op,
            c_in,
            c_out,
            h,
            w,
            kernel,
            stride,
            groups,
            act,
            w_format,
            a_format,
            batch,
            runs,
            median_us,
            p10_us,
            p90_us,
            mad_us,
        }
    }
}

impl From<Line> for Row {
    fn from(line: Line) -> Self {
        let Line { op, c_in, c_out, h, w, kernel, stride, groups, act, w_format, a_format, .. } = line;
        let kernel = Kernel { op, c_in, c_out, h, w, kernel, stride, groups, act, w_format, a_format };
        let Line { batch, runs, median_us, p10_us, p90_us, mad_us, .. } = line;
        Self { kernel, batch, runs, median_us, p10_us, p90_us, mad_us }
    }
}

impl Row {
    /// What is wrong with its numbers.
    fn fault(&self) -> Option<String> {
        for (column, us) in [("median_us", self.median_us), ("p10_us", self.p10_us), ("p90_us", self.p90_us)] {
            if !(us > 0.0 && us < LONGEST_US) {
                return Some(format!("{column} `{us}`: must be a number of microseconds above 0 and below an hour"));
            }
        }
        if !(self.mad_us >= 0.0 && self.mad_us.is_finite()) {
            return Some(format!("mad_us `{}`: must be a number of microseconds, 0 or more", self.mad_us));
        }
        if self.p10_us > self.median_us * 1.001 || self.p90_us < self.median_us * 0.999 {
            return Some(format!(
                "p10_us, median_us, p90_us `{}, {}, {}`: must not fall",
                self.p10_us, self.median_us, self.p90_us
            ));
        }
        let Kernel { op, c_in, c_out, h, w, stride, w_format, a_format, .. } = self.kernel;
        if [c_in, c_out, h, w, self.batch].contains(&0) {
            return Some("c_in, c_out, h, w and batch must be above 0".to_owned());
        }
        if (op == KernelOp::Transition) == (w_format == a_format) {
            return Some(format!("formats {w_format}, {a_format}: of a transition two, of other kernels one"));
        }
        let windowed =
            matches!(op, KernelOp::Conv | KernelOp::ConvDequantized | KernelOp::MaxPool | KernelOp::PadShortcut);
        let fits = || self.kernel.operator().is_some_and(|op| op.result(&[self.kernel.input()]).is_some());
        (windowed && !(stride > 0 && fits()))
            .then(|| "kernel, stride and groups do not fit the channels and the map".to_owned())
    }
}

/// Measured kernels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The rows, each kernel once.
    pub rows: Vec<Row>,
}

impl Table {
    /// Reads `kernels.csv`.
    ///
    /// # Errors
    /// The file is missing, lacks a column, or has a line that is no kernel; the line is named.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
        Self::parse(&text, path)
    }

    /// The table in a text; `path` is named in errors only.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        check_header(path, &mut reader)?;
        let (mut rows, mut seen) = (Vec::new(), HashSet::new());
        for line in reader.deserialize() {
            let line: Line = line.map_err(|error| Error::bad_file(path, explained(&error)))?;
            let row = Row::from(line);
            // The header is line 1.
            let bad = |what: String| Err(Error::bad_file(path, format!("line {}: {what}", rows.len() + 2)));
            if let Some(fault) = row.fault() {
                return bad(fault);
            }
            if !seen.insert(row.kernel) {
                return bad(format!("{} is in the table twice", row.kernel));
            }
            rows.push(row);
        }
        if rows.is_empty() {
            return Err(Error::bad_file(path, "has no kernels"));
        }
        Ok(Self { rows })
    }

    /// The table as CSV text.
    ///
    /// # Errors
    /// Never for numbers; a writer's failure is passed on.
    pub fn text(&self) -> Result<String> {
        let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("cannot write a CSV row: {error}"));
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in &self.rows {
            writer.serialize(Line::from(row)).map_err(|error| failed(&error))?;
        }
        let bytes = writer.into_inner().map_err(|error| failed(&error))?;
        String::from_utf8(bytes).map_err(|error| failed(&error))
    }
}

/// Refuses a file without all columns; a column in another unit is named.
fn check_header(path: &Path, reader: &mut csv::Reader<&[u8]>) -> Result<()> {
    let header = reader.headers().map_err(|error| Error::bad_file(path, error.to_string()))?;
    let Some(missing) = COLUMNS.iter().find(|column| !header.iter().any(|name| name == **column)) else {
        return Ok(());
    };
    let stem = missing.strip_suffix("_us");
    let other_unit = stem.and_then(|stem| {
        header.iter().find(|name| name.strip_prefix(stem).is_some_and(|unit| ["_ms", "_ns", "_s", ""].contains(&unit)))
    });
    let what = match other_unit {
        Some(found) => format!("line 1: column `{found}` where `{missing}` is expected: times are in microseconds"),
        None => {
            let near = nearest(missing, header.iter()).map(|near| format!(" (is it `{near}`?)")).unwrap_or_default();
            format!("line 1: no column `{missing}`{near}; the columns are {}", COLUMNS.join(", "))
        }
    };
    Err(Error::bad_file(path, what))
}

/// A reader's error with its line, without what a user cannot see.
fn explained(error: &csv::Error) -> String {
    let line = error.position().map_or(0, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => {
            let column = err.field().and_then(|field| COLUMNS.get(field as usize));
            let column = column.map_or_else(String::new, |column| format!("{column}: "));
            format!("line {line}: {column}{}", err.kind())
        }
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("line {line}: {len} fields where {expected_len} are expected; is the file cut off?")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "op,c_in,c_out,h,w,kernel,stride,groups,act,w_format,a_format,batch,runs,median_us,p10_us,p90_us,mad_us";
    const LINE: &str = "conv,16,32,14,14,3,2,1,relu,int8,int8,1,50,20.5,19,23,0.5";

    fn parse(text: &str) -> Result<Table> {
        Table::parse(text, Path::new("kernels.csv"))
    }

    #[test]
    fn a_table_is_read_as_it_is_written() {
        let text = format!("{HEADER}\n{LINE}\ntransition,16,16,7,7,0,0,0,none,float32,int8,1,9,3.0,2.0,4.0,0.1\n");
        let table = parse(&text).unwrap();
        assert_eq!(table.rows.len(), 2);
        assert_eq!(table.rows[0].kernel.to_string(), "conv 16->32 on 14x14 kernel 3 stride 2 relu int8");
        assert_eq!(table.rows[1].kernel.to_string(), "transition 16->16 on 7x7 int8 to float32");
        assert_eq!(parse(&table.text().unwrap()).unwrap(), table);
    }

    #[test]
    fn damage_is_named_with_its_line() {
        let text = |line: &str| format!("{HEADER}\n{LINE}\n{line}\n");
        let other = LINE.replace("14,14", "28,28");
        for (damaged, part) in [
            (text(&other.replace("20.5", "-20.5")), "line 3: median_us `-20.5`"),
            (text(&other.replace("20.5", "NaN")), "line 3: median_us `NaN`"),
            (text(&other.replace("20.5", "x")), "line 3: median_us: "),
            (text(&other.replace("int8", "int9")), "line 3: format `int9`"),
            (text(&other.replace("conv", "convolution")), "line 3: op `convolution`"),
            (text(&other.replace(",19,", ",22,")), "line 3: p10_us, median_us, p90_us"),
            (text("conv,16,32,14"), "line 3: 4 fields where 17"),
            (text(LINE), "line 3: conv 16->32 on 14x14 kernel 3 stride 2 relu int8 is in the table twice"),
            (HEADER.replace("median_us", "median_ms"), "microseconds"),
            (HEADER.replace("c_out", "cout"), "no column `c_out` (is it `cout`?)"),
            (format!("{HEADER}\n"), "no kernels"),
            (String::new(), "no column `op`"),
        ] {
            let message = parse(&damaged).unwrap_err().to_string();
            assert!(message.contains(part), "{message} does not contain {part}");
        }
    }
}
