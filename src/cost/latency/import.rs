//! Tables measured elsewhere: any CSV with a row a shape, its columns named by the user.

use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;

use super::{Kernel, KernelOp, Row, Table};
use crate::error::nearest;
use crate::error::{Error, Result};
use crate::formats::Format;
use crate::network::Act;

/// Which column of a foreign table is what.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// `OURS=THEIRS`: `c_in=cin`; what is not named is looked for under our name.
    pub names: Vec<(String, String)>,
    /// `FORMAT=COLUMN`: the column with the times in a format; an empty field was not measured.
    pub times: Vec<(Format, String)>,
    /// `THEIRS=OURS`: names of operators; `depthwise` is a convolution of as many groups as channels.
    pub ops: Vec<(String, String)>,
    /// `COLUMN=VALUE`: rows with another value are left out.
    pub keep: Vec<(String, String)>,
    /// Microseconds in one unit of the times.
    pub unit_us: f64,
    /// The activation where there is no column for it.
    pub act: Option<Act>,
}

/// Our name for a convolution of as many groups as channels.
const DEPTHWISE: &str = "depthwise";

/// Reads a foreign table.
///
/// # Errors
/// A column is missing, a field is no number, a time is not above 0, an operator has no name, a kernel comes twice; the line is named.
pub fn import(path: &Path, columns: &Columns) -> Result<Table> {
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(|error| bad(path, 1, error))?;
    let header = reader.headers().map_err(|error| bad(path, 1, error))?.clone();
    let places = Places::find(path, &header, columns)?;
    let mut found: HashMap<Kernel, (f64, usize)> = HashMap::new();
    let (mut order, mut batch) = (Vec::new(), 1);
    for (at, record) in reader.records().enumerate() {
        let record = record.map_err(|error| bad(path, at + 2, error))?;
        let line = Line { path, number: at + 2, header: &header, record: &record };
        if places.keep.iter().any(|(column, value)| line.field(*column) != value) {
            continue;
        }
        batch = places.batch.map_or(Ok(1), |column| line.number(column))?;
        for (kernel, us) in line.times(&places, columns)? {
            if let Some((_, first)) = found.insert(kernel, (us, line.number)) {
                let why = format!("{kernel} stands in line {first} already; --keep COLUMN=VALUE tells such rows apart");
                return Err(line.bad(why));
            }
            order.push(kernel);
        }
    }
    if order.is_empty() {
        return Err(Error::bad_file(path, "no row has a time"));
    }
    let row = |kernel: Kernel| {
        let us = found[&kernel].0;
        Row { kernel, batch, runs: 1, median_us: us, p10_us: us, p90_us: us, mad_us: 0.0 }
    };
    Ok(Table { rows: order.into_iter().map(row).collect() })
}

/// Where the columns stand.
struct Places {
    /// `c_in, c_out, h, w, kernel, stride`.
    sizes: [usize; 6],
    op: Option<usize>,
    groups: Option<usize>,
    act: Option<usize>,
    batch: Option<usize>,
    times: Vec<(Format, usize)>,
    keep: Vec<(usize, String)>,
}

impl Places {
    fn find(path: &Path, header: &csv::StringRecord, columns: &Columns) -> Result<Self> {
        let place =
            |name: &str| header.iter().position(|column| column == name).ok_or_else(|| missing(path, name, header));
        let ours = |ours: &str| {
            let named = columns.names.iter().find(|(name, _)| name == ours).map(|(_, column)| column.as_str());
            place(named.unwrap_or(ours))
        };
        let optional = |name: &str| {
            let named = columns.names.iter().any(|(ours, _)| ours == name);
            if named { ours(name).map(Some) } else { Ok(ours(name).ok()) }
        };
        Ok(Self {
            sizes: [ours("c_in")?, ours("c_out")?, ours("h")?, ours("w")?, ours("kernel")?, ours("stride")?],
            op: optional("op")?,
            groups: optional("groups")?,
            act: optional("act")?,
            batch: optional("batch")?,
            times: columns.times.iter().map(|(format, name)| Ok((*format, place(name)?))).collect::<Result<_>>()?,
            keep: columns.keep.iter().map(|(name, value)| Ok((place(name)?, value.clone()))).collect::<Result<_>>()?,
        })
    }
}

/// A row of the file.
struct Line<'a> {
    path: &'a Path,
    number: usize,
    header: &'a csv::StringRecord,
    record: &'a csv::StringRecord,
}

impl Line<'_> {
    fn field(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or_default()
    }

    fn number<T: FromStr>(&self, column: usize) -> Result<T> {
        let (name, field) = (&self.header[column], self.field(column));
        field.parse().map_err(|_| self.bad(format!("{name} `{field}`: is no number")))
    }

    fn bad(&self, what: impl std::fmt::Display) -> Error {
        bad(self.path, self.number, what)
    }

    /// The row's kernel in every format that it was measured in, with the time in microseconds.
    fn times(&self, places: &Places, columns: &Columns) -> Result<Vec<(Kernel, f64)>> {
        let mut sizes = [0; 6];
        for (size, column) in sizes.iter_mut().zip(places.sizes) {
            *size = self.number(column)?;
        }
        let [c_in, c_out, h, w, kernel, stride] = sizes;
        let (op, depthwise) =
            operator(self.path, self.number, places.op.map_or("conv", |op| self.field(op)), &columns.ops)?;
        let groups = match places.groups {
            Some(column) => self.number(column)?,
            None if depthwise => c_in,
            None => 1,
        };
        let act = match places.act {
            Some(column) => Act::named(self.field(column)).map_err(|error| self.bad(error))?,
            None => columns.act.unwrap_or(Act::None),
        };
        let mut times = Vec::new();
        for &(format, column) in places.times.iter().filter(|(_, column)| !self.field(*column).is_empty()) {
            let us = self.number::<f64>(column)? * columns.unit_us;
            if !(us > 0.0 && us.is_finite()) {
                return Err(self.bad(format!("{} `{}`: must be above 0", &self.header[column], self.field(column))));
            }
            let (w_format, a_format) = (format, format);
            times.push((Kernel { op, c_in, c_out, h, w, kernel, stride, groups, act, w_format, a_format }, us));
        }
        Ok(times)
    }
}

fn operator(path: &Path, line: usize, name: &str, ops: &[(String, String)]) -> Result<(KernelOp, bool)> {
    let ours = ops.iter().find(|(theirs, _)| theirs == name).map_or(name, |(_, ours)| ours);
    if ours == DEPTHWISE {
        return Ok((KernelOp::Conv, true));
    }
    let found = ours.parse().map_err(|error| bad(path, line, format!("{error}; --op {name}=OURS names it")))?;
    Ok((found, false))
}

fn bad(path: &Path, line: usize, what: impl std::fmt::Display) -> Error {
    Error::bad_file(path, format!("line {line}: {what}"))
}

fn missing(path: &Path, name: &str, header: &csv::StringRecord) -> Error {
    let near = nearest(name, header.iter()).map(|near| format!(" (is it `{near}`?)")).unwrap_or_default();
    let all: Vec<&str> = header.iter().collect();
    bad(path, 1, format!("no column `{name}`{near}; --column OURS=THEIRS names it; there are {}", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "type,cin,h,w,cout,k,stride,fused,a_ms,b_ms\n\
        Regular,16,14,14,32,3,1,0,0.5,0.25\nDepthwise,16,14,14,16,3,1,0,0.1,\nRegular,16,14,14,32,3,1,1,9,9\n";

    fn columns() -> Columns {
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Columns {
            names: pairs(&[("op", "type"), ("c_in", "cin"), ("c_out", "cout"), ("kernel", "k")]),
            times: vec![(Format::Float32, "a_ms".into()), (Format::Int(8), "b_ms".into())],
            ops: pairs(&[("Regular", "conv"), ("Depthwise", "depthwise")]),
            keep: pairs(&[("fused", "0")]),
            unit_us: 1e3,
            act: None,
        }
    }

    fn imported(text: &str, columns: &Columns) -> Result<Table> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("theirs.csv");
        std::fs::write(&path, text).unwrap();
        import(&path, columns)
    }

    #[test]
    fn columns_are_mapped_and_empty_times_left_out() {
        let table = imported(TEXT, &columns()).unwrap();
        let shown: Vec<String> = table.rows.iter().map(|row| format!("{} {}", row.kernel, row.median_us)).collect();
        assert_eq!(
            shown,
            [
                "conv 16->32 on 14x14 kernel 3 float32 500",
                "conv 16->32 on 14x14 kernel 3 int8 250",
                "conv 16->16 on 14x14 kernel 3 groups 16 float32 100",
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_line() {
        let message = |text: &str, columns: &Columns| imported(text, columns).unwrap_err().to_string();
        let without = Columns { names: vec![], ..columns() };
        assert!(message(TEXT, &without).contains("no column `c_in` (is it `cin`?)"));
        assert!(message(&TEXT.replace("0.25", "-1"), &columns()).contains("line 2: b_ms `-1`"));
        assert!(message(&TEXT.replace("0.1,", "x,"), &columns()).contains("line 3: a_ms `x`: is no number"));
        let merged = Columns { keep: vec![], ..columns() };
        assert!(
            message(TEXT, &merged).contains("line 4: conv 16->32 on 14x14 kernel 3 float32 stands in line 2 already")
        );
        let unnamed = Columns { ops: vec![], ..columns() };
        assert!(message(TEXT, &unnamed).contains("--op Regular=OURS"));
    }
}
