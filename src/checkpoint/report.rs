//! How the arrays of a checkpoint match the ones a model wants.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::Checkpoint;
use crate::error::{Error, Result, nearest};

/// Names shown of each group.
const NAMES_SHOWN: usize = 8;

/// An array whose shape in the file is not the wanted one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The array.
    pub name: String,
    /// The shape the model has.
    pub wanted: Vec<usize>,
    /// The shape in the file.
    pub found: Vec<usize>,
}

/// Which wanted arrays a checkpoint has. All lists are sorted by name.
///
/// Its `Display` is one line for each group that is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Wanted and there, with the wanted shape.
    pub loaded: Vec<String>,
    /// Wanted and not there.
    pub missing: Vec<String>,
    /// There and not wanted.
    pub unexpected: Vec<String>,
    /// Wanted and there, with another shape.
    pub mismatched: Vec<Mismatch>,
    /// For some missing names, the most similar unexpected name of the same shape.
    pub suggestions: BTreeMap<String, String>,
}

/// Compares the `wanted` names and shapes with what the file has.
///
/// A batch norm's `num_batches_tracked` is never missing or unexpected: old files lack it, and nothing
/// depends on it.
pub fn match_names(wanted: &BTreeMap<String, Vec<usize>>, have: &Checkpoint) -> LoadReport {
    let mut report = LoadReport::default();
    let counts = |name: &str| name.rsplit('.').next() != Some("num_batches_tracked");
    for (name, shape) in wanted {
        match have.arrays.get(name) {
            Some(array) if array.shape == *shape => report.loaded.push(name.clone()),
            Some(array) => report.mismatched.push(Mismatch {
                name: name.clone(),
                wanted: shape.clone(),
                found: array.shape.clone(),
            }),
            None if counts(name) => report.missing.push(name.clone()),
            None => {}
        }
    }
    let unexpected = have.arrays.keys().filter(|name| counts(name) && !wanted.contains_key(*name));
    report.unexpected = unexpected.cloned().collect();
    for name in report.missing.iter().take(NAMES_SHOWN) {
        let same_shape = report.unexpected.iter().filter(|other| have.arrays[*other].shape == wanted[name]);
        if let Some(near) = nearest(name, same_shape.map(String::as_str)) {
            report.suggestions.insert(name.clone(), near.to_string());
        }
    }
    report
}

impl LoadReport {
    /// Refuses a checkpoint that does not fit; `path` is the file it came from.
    ///
    /// # Errors
    /// [`Error::BadFile`] if a shape differs, or if an array is missing and `allow_missing` is not set.
    pub fn check(&self, allow_missing: bool, path: impl AsRef<Path>) -> Result<()> {
        if self.mismatched.is_empty() && (allow_missing || self.missing.is_empty()) {
            return Ok(());
        }
        Err(Error::bad_file(path, format!("does not fit the model\n{self}")))
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = self.loaded.len() + self.missing.len() + self.mismatched.len();
        write!(f, "loaded {} of {wanted} arrays", self.loaded.len())?;
        group(f, "missing", &self.missing, |name| match self.suggestions.get(name) {
            Some(near) => format!("{name} (is it {near}?)"),
            None => name.clone(),
        })?;
        group(f, "unexpected", &self.unexpected, String::clone)?;
        group(f, "of another shape", &self.mismatched, |array| {
            format!("{} (wanted {:?}, found {:?})", array.name, array.wanted, array.found)
        })
    }
}

fn group<T>(f: &mut fmt::Formatter<'_>, title: &str, all: &[T], show: impl Fn(&T) -> String) -> fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = all.iter().take(NAMES_SHOWN).map(show).collect();
    write!(f, "\n{} {title}: {}", all.len(), shown.join(", "))?;
    match all.len().saturating_sub(NAMES_SHOWN) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Array;

    fn wanted(names: &[(&str, &[usize])]) -> BTreeMap<String, Vec<usize>> {
        names.iter().map(|(name, shape)| (name.to_string(), shape.to_vec())).collect()
    }

    fn have(names: &[(&str, &[usize])]) -> Checkpoint {
        let array = |shape: &[usize]| Array::floats(shape, vec![0.0; shape.iter().product()]);
        let arrays = names.iter().map(|(name, shape)| (name.to_string(), array(shape))).collect();
        Checkpoint { arrays, ..Checkpoint::default() }
    }

    #[test]
    fn each_name_lands_in_its_group_and_the_near_miss_is_named() {
        let wanted = wanted(&[
            ("bn.num_batches_tracked", &[]),
            ("bn.weight", &[4]),
            ("fc.weight", &[10, 4]),
            ("layer1.conv.weight", &[4, 4]),
        ]);
        let have = have(&[
            ("bn.weight", &[4]),
            ("bn2.num_batches_tracked", &[]),
            ("fc.weight", &[5, 4]),
            ("layer1.conv_weight", &[4, 4]),
            ("layer1.conv.weights", &[9]),
        ]);
        let report = match_names(&wanted, &have);
        assert_eq!(report.loaded, ["bn.weight"]);
        assert_eq!(report.missing, ["layer1.conv.weight"]);
        assert_eq!(report.unexpected, ["layer1.conv.weights", "layer1.conv_weight"]);
        let mismatch = Mismatch { name: "fc.weight".to_string(), wanted: vec![10, 4], found: vec![5, 4] };
        assert_eq!(report.mismatched, [mismatch]);
        // `layer1.conv.weights` is nearer but of another shape.
        assert_eq!(
            report.to_string(),
            "loaded 1 of 3 arrays\n1 missing: layer1.conv.weight (is it layer1.conv_weight?)\n\
             2 unexpected: layer1.conv.weights, layer1.conv_weight\n\
             1 of another shape: fc.weight (wanted [10, 4], found [5, 4])"
        );
    }

    #[test]
    fn missing_can_be_allowed_and_a_mismatch_never() {
        let check = |report: &LoadReport, allow| report.check(allow, "net.safetensors");
        let full = match_names(&wanted(&[("a", &[1])]), &have(&[("a", &[1]), ("b", &[1])]));
        assert!(check(&full, false).is_ok(), "unexpected arrays do no harm");
        let missing = match_names(&wanted(&[("a", &[1]), ("c", &[2])]), &have(&[("a", &[1])]));
        assert!(check(&missing, true).is_ok());
        let error = check(&missing, false).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with("net.safetensors: does not fit"), "{error}");
        let mismatch = match_names(&wanted(&[("a", &[2])]), &have(&[("a", &[1])]));
        assert!(check(&mismatch, true).is_err());
    }

    #[test]
    fn long_groups_are_cut_and_counted() {
        let names: Vec<String> = (0..10).map(|i| format!("a{i}")).collect();
        let report = LoadReport { missing: names, ..LoadReport::default() };
        let text = report.to_string();
        assert!(text.contains("10 missing: a0, ") && text.ends_with("a7 and 2 more"), "{text}");
    }
}
