//! Tables measured elsewhere: any CSV with a row a shape, its columns named by the user.

use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;

use super::{Kernel, KernelOp, Row, Table};
use crate::error::{Error, Result};
use crate::error::nearest;
use crate::formats::Format;
use crate::network::Act;
use crate::stats::median;

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

/// Reads a foreign table. A kernel that comes several times has the median of its times.
///
/// # Errors
/// A column is missing, a field is no number, a time is not above 0, an operator has no name; the line is named.
pub fn import(path: &Path, columns: &Columns) -> Result<Table> {
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(|error| bad(path, 1, error))?;
    let header = reader.headers().map_err(|error| bad(path, 1, error))?.clone();
    let place = |name: &str| header.iter().position(|column| column == name);
    let theirs = |ours: &str| {
        let named = columns.names.iter().find(|(name, _)| name == ours).map(|(_, column)| column.as_str());
        place(named.unwrap_or(ours)).ok_or_else(|| missing(path, named.unwrap_or(ours), &header))
    };
    let sizes = ["c_in", "c_out", "h", "w", "kernel", "stride"].map(theirs);
    let [c_in, c_out, h, w, kernel, stride] = sizes;
    let sizes = [c_in?, c_out?, h?, w?, kernel?, stride?];
    let optional = |ours: &str| theirs(ours).ok();
    let (op, groups, batch, act) = (optional("op"), optional("groups"), optional("batch"), optional("act"));
    let known = |name: &str| place(name).ok_or_else(|| missing(path, name, &header));
    let times = columns.times.iter().map(|(format, name)| Ok((*format, known(name)?))).collect::<Result<Vec<_>>>()?;
    let keep = columns.keep.iter().map(|(name, value)| Ok((known(name)?, value))).collect::<Result<Vec<_>>>()?;
    let mut found: HashMap<Kernel, Vec<f64>> = HashMap::new();
    let (mut order, mut batches) = (Vec::new(), 1);
    for (at, record) in reader.records().enumerate() {
        let line = at + 2;
        let record = record.map_err(|error| bad(path, line, error))?;
        let field = |column: usize| record.get(column).unwrap_or_default();
        if keep.iter().any(|(column, value)| field(*column) != value.as_str()) {
            continue;
        }
        let size = |column: usize| number::<usize>(path, line, &header[column], field(column));
        let [c_in, c_out, h, w, kernel, stride] = sizes.map(size);
        let (c_in, c_out) = (c_in?, c_out?);
        let (op, depthwise) = operator(path, line, op.map_or("conv", field), &columns.ops)?;
        let groups = match groups {
            Some(column) => size(column)?,
            None if depthwise => c_in,
            None => 1,
        };
        let act = match act {
            Some(column) => Act::named(field(column)).map_err(|error| bad(path, line, error))?,
            None => columns.act.unwrap_or(Act::None),
        };
        batches = batch.map_or(Ok(1), size)?;
        let (h, w, kernel, stride) = (h?, w?, kernel?, stride?);
        for &(format, column) in &times {
            if field(column).is_empty() {
                continue;
            }
            let time = number::<f64>(path, line, &header[column], field(column))? * columns.unit_us;
            if !(time > 0.0 && time.is_finite()) {
                return Err(bad(path, line, format!("{} `{}`: must be above 0", &header[column], field(column))));
            }
            let kernel = Kernel { op, c_in, c_out, h, w, kernel, stride, groups, act, w_format: format, a_format: format };
            let known = found.entry(kernel).or_default();
            if known.is_empty() {
                order.push(kernel);
            }
            known.push(time);
        }
    }
    if order.is_empty() {
        return Err(Error::bad_file(path, "no row has a time"));
    }
    let row = |kernel: Kernel| {
        let times = &found[&kernel];
        let us = median(times).unwrap_or_default();
        Row { kernel, batch: batches, runs: times.len(), median_us: us, p10_us: us, p90_us: us, mad_us: 0.0 }
    };
    Ok(Table { rows: order.into_iter().map(row).collect() })
}

fn operator(path: &Path, line: usize, name: &str, ops: &[(String, String)]) -> Result<(KernelOp, bool)> {
    let ours = ops.iter().find(|(theirs, _)| theirs == name).map_or(name, |(_, ours)| ours);
    if ours == DEPTHWISE {
        return Ok((KernelOp::Conv, true));
    }
    let found = ours.parse().map_err(|error| bad(path, line, format!("{error}; --op {name}=OURS names it")))?;
    Ok((found, false))
}

fn number<T: FromStr>(path: &Path, line: usize, column: &str, field: &str) -> Result<T> {
    field.parse().map_err(|_| bad(path, line, format!("{column} `{field}`: is no number")))
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
        let unnamed = Columns { ops: vec![], ..columns() };
        assert!(message(TEXT, &unnamed).contains("--op Regular=OURS"));
    }
}
