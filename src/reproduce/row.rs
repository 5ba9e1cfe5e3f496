//! A finished cell as a row of CSV, and the conditions under which it may be taken again.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::cell::{Cell, FormatSet, Numbers, Purpose};
use super::claims::Point;
use crate::error::{Error, Result};
use crate::genome::Genome;

/// Switching errors by epoch: entropy of the policy, error between networks drawn from it, and between networks drawn evenly.
/// Written as `entropy:policy:even`, epochs apart by spaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SwitchingSeries(pub Vec<(f64, f64, f64)>);

impl SwitchingSeries {
    /// Fall of the error from the first epoch to the last, in percent of the mean output; `beyond_even` takes off by how much
    /// the error between networks drawn evenly fell. `None` below two epochs.
    pub fn fall(&self, beyond_even: bool) -> Option<f64> {
        let [first, .., last] = self.0.as_slice() else { return None };
        let even = if beyond_even { first.2 - last.2 } else { 0.0 };
        Some(100.0 * (first.1 - last.1 - even))
    }
}

impl From<SwitchingSeries> for String {
    fn from(series: SwitchingSeries) -> Self {
        let epoch = |(entropy, policy, even): &(f64, f64, f64)| format!("{entropy:.4}:{policy:.4}:{even:.4}");
        series.0.iter().map(epoch).collect::<Vec<_>>().join(" ")
    }
}

impl TryFrom<String> for SwitchingSeries {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let epoch = |word: &str| -> Option<(f64, f64, f64)> {
            let mut numbers = word.split(':').map(|number| number.parse::<f64>().ok());
            let epoch = (numbers.next()??, numbers.next()??, numbers.next()??);
            numbers.next().is_none().then_some(epoch)
        };
        let epochs: Option<Vec<_>> = text.split_whitespace().map(epoch).collect();
        epochs
            .map(Self)
            .ok_or_else(|| Error::bad_value("switching", text, "expected entropy:policy:even, epoch by epoch"))
    }
}

/// What the results of a protocol depend on beside the cell: rows of other conditions are not of the same table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// The protocol and its version.
    pub protocol: String,
    /// The images, without the folders that lead to them.
    pub data: String,
    /// The weights that trainings start from, by file name and content; empty where they start afresh.
    pub weights: String,
    /// Passes over the training images.
    pub epochs: usize,
    /// Training images held out.
    pub validation: String,
}

impl Conditions {
    fn columns(&self) -> [(&'static str, String); 5] {
        [
            ("protocol", self.protocol.clone()),
            ("data", self.data.clone()),
            ("weights", self.weights.clone()),
            ("epochs", self.epochs.to_string()),
            ("validation", self.validation.clone()),
        ]
    }
}

/// A finished cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Name of the cell.
    pub cell: String,
    /// As [`Cell::numbers`].
    pub numbers: Numbers,
    /// As [`Cell::formats`].
    pub formats: FormatSet,
    /// As [`Cell::width`].
    pub width: f64,
    /// As [`Cell::purpose`].
    pub purpose: Purpose,
    /// As [`Cell::target`].
    pub target: Option<f64>,
    /// As [`Cell::seed`].
    pub seed: u64,
    /// As [`Conditions::protocol`].
    pub protocol: String,
    /// As [`Conditions::data`].
    pub data: String,
    /// As [`Conditions::weights`].
    pub weights: String,
    /// As [`Conditions::epochs`].
    pub epochs: usize,
    /// As [`Conditions::validation`].
    pub validation: String,
    /// Test top-1 in percent.
    pub test_top1: f64,
    /// Validation top-1 in percent.
    pub top1: f64,
    /// Bit operations in 1e9, by the protocol's convention.
    pub gbops: f64,
    /// Size of the packed weights in 1e6 bytes.
    pub size_mb: f64,
    /// Mean weight bits.
    pub avg_w_bits: f64,
    /// Mean activation bits.
    pub avg_a_bits: f64,
    /// Cost that was found over the cost that was aimed at; of searches.
    pub achieved_over_target: Option<f64>,
    /// Probability of the chosen option in the policy's least certain decision; of searches.
    pub least_certain: Option<f64>,
    /// The choices in the space of the cell.
    pub genome: Genome,
    /// Switching errors, of searches of formats.
    pub switching: SwitchingSeries,
    /// Threads.
    pub threads: usize,
    /// Seconds of the session that finished the cell.
    pub wall_s: f64,
}

impl Row {
    /// The cell.
    pub fn cell(&self) -> Cell {
        let Self { numbers, formats, width, purpose, target, seed, .. } = *self;
        Cell { numbers, formats, width, purpose, target, seed }
    }

    /// Its result, as claims compare it: by the test images, on which nothing was chosen.
    pub fn point(&self) -> Point {
        Point { cell: self.cell(), gbops: self.gbops, top1: self.test_top1 }
    }

    /// A number that no training gives: its column and value.
    fn impossible(&self) -> Option<(&'static str, f64)> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let percent = |value: f64| (0.0..=100.0).contains(&value);
        let columns = [
            ("width", self.width, positive(self.width)),
            ("test_top1", self.test_top1, percent(self.test_top1)),
            ("top1", self.top1, percent(self.top1)),
            ("gbops", self.gbops, positive(self.gbops)),
            ("size_mb", self.size_mb, positive(self.size_mb)),
            ("avg_w_bits", self.avg_w_bits, positive(self.avg_w_bits)),
            ("avg_a_bits", self.avg_a_bits, positive(self.avg_a_bits)),
            ("wall_s", self.wall_s, self.wall_s >= 0.0 && self.wall_s.is_finite()),
        ];
        columns.into_iter().find(|(_, _, possible)| !possible).map(|(column, value, _)| (column, value))
    }

    fn conditions(&self) -> Conditions {
        Conditions {
            protocol: self.protocol.clone(),
            data: self.data.clone(),
            weights: self.weights.clone(),
            epochs: self.epochs,
            validation: self.validation.clone(),
        }
    }
}

/// The row of a cell.
pub fn find<'a>(rows: &'a [Row], cell: &Cell) -> Option<&'a Row> {
    let name = cell.name();
    rows.iter().find(|row| row.cell == name)
}

/// Refuses rows that were made under other conditions, that no training gives, that come twice, or whose name is not that
/// of their columns.
///
/// # Errors
/// The first such row, with the file, its line, the column and both values.
pub fn check_conditions(rows: &[Row], conditions: &Conditions, path: &Path) -> Result<()> {
    for (index, row) in rows.iter().enumerate() {
        let line = index + 2;
        if row.cell != row.cell().name() {
            let what = format!("line {line}: cell `{}` has the columns of `{}`", row.cell, row.cell().name());
            return Err(Error::bad_file(path, what));
        }
        if let Some((column, value)) = row.impossible() {
            let what = format!("line {line}: cell {} has {column} `{value}`, which no training gives", row.cell);
            return Err(Error::bad_file(path, what));
        }
        if let Some(first) = rows[..index].iter().position(|other| other.cell == row.cell) {
            let what = format!("lines {} and {line} are both of cell {}; delete one", first + 2, row.cell);
            return Err(Error::bad_file(path, what));
        }
        let pairs = row.conditions().columns().into_iter().zip(conditions.columns());
        if let Some(((column, theirs), (_, ours))) = pairs.into_iter().find(|(theirs, ours)| theirs != ours) {
            let what = format!(
                "line {line}: cell {} has {column} `{theirs}`, this command `{ours}`; name another --write-folder, or move \
                 the file away to begin anew",
                row.cell
            );
            return Err(Error::bad_file(path, what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seed: u64) -> Row {
        let cell = Cell {
            numbers: Numbers::Fp,
            formats: FormatSet::L,
            width: 1.0,
            purpose: Purpose::Search,
            target: Some(0.375),
            seed,
        };
        Row {
            cell: cell.name(),
            numbers: cell.numbers,
            formats: cell.formats,
            width: cell.width,
            purpose: cell.purpose,
            target: cell.target,
            seed,
            protocol: "resnet 1".into(),
            data: "fashion-mnist-mini".into(),
            weights: String::new(),
            epochs: 5,
            validation: "1000".into(),
            test_top1: 81.25,
            top1: 82.0,
            gbops: 0.2,
            size_mb: 0.04,
            avg_w_bits: 4.5,
            avg_a_bits: 4.75,
            achieved_over_target: Some(1.01),
            least_certain: Some(0.99),
            genome: Genome(vec![0, 4, 2]),
            switching: SwitchingSeries(vec![(1.6094, 0.25, 0.25), (0.5, 0.125, 0.25)]),
            threads: 2,
            wall_s: 44.0,
        }
    }

    fn csv_of(rows: &[Row]) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        rows.iter().for_each(|row| writer.serialize(row).unwrap());
        String::from_utf8(writer.into_inner().unwrap()).unwrap()
    }

    #[test]
    fn rows_survive_csv() {
        let mut plain = row(1);
        (plain.target, plain.achieved_over_target, plain.least_certain) = (None, None, None);
        (plain.switching, plain.formats, plain.purpose) =
            (SwitchingSeries::default(), FormatSet::Uniform(8), Purpose::Uniform);
        plain.cell = plain.cell().name();
        let rows = [row(0), plain];
        let text = csv_of(&rows);
        let read: Vec<Row> = csv::Reader::from_reader(text.as_bytes()).deserialize().map(|row| row.unwrap()).collect();
        assert_eq!(read, rows);
        assert_eq!(find(&read, &rows[1].cell()), Some(&rows[1]));
        assert_eq!(find(&read, &Cell { seed: 9, ..rows[0].cell() }), None);
        assert!(
            csv::Reader::from_reader(text.replace("0.2500:0", "0.2500;0").as_bytes())
                .deserialize::<Row>()
                .any(|row| row.is_err())
        );
    }

    #[test]
    fn rows_of_other_conditions_are_refused_by_name() {
        let rows = [row(0), row(1)];
        let path = Path::new("results/reproduce_resnet.csv");
        let same = rows[0].conditions();
        check_conditions(&rows, &same, path).unwrap();
        let other = Conditions { epochs: 1, ..same.clone() };
        let message = check_conditions(&rows, &other, path).unwrap_err().to_string();
        for part in ["reproduce_resnet.csv", "line 2", "fp-l-w1-t0.375-seed0", "epochs `5`", "`1`", "--write-folder"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        for (test_top1, gbops, part) in
            [(f64::NAN, 1.0, "test_top1 `NaN`"), (101.0, 1.0, "`101`"), (1.0, 0.0, "gbops `0`")]
        {
            let damaged = [row(0), Row { test_top1, gbops, ..row(1) }];
            let message = check_conditions(&damaged, &same, path).unwrap_err().to_string();
            assert!(message.contains("line 3") && message.contains(part), "{message}");
        }
        let message = check_conditions(&[row(0), row(1), row(0)], &same, path).unwrap_err().to_string();
        assert!(message.contains("lines 2 and 4"), "{message}");
        let mut renamed = rows;
        renamed[1].cell = "fp-l-w2-seed1".into();
        assert!(check_conditions(&renamed, &same, path).unwrap_err().to_string().contains("line 3"));
    }

    #[test]
    fn a_fall_needs_two_epochs() {
        assert_eq!(SwitchingSeries(vec![(1.0, 0.5, 0.5)]).fall(false), None);
        let series = row(0).switching;
        assert!((series.fall(false).unwrap() - 12.5).abs() < 1e-9 && (series.fall(true).unwrap() - 12.5).abs() < 1e-9);
    }
}
