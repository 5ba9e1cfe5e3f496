//! What the command line changes about a space: `--formats`, `--forbid`, `--pin`, `--mean`, `--std`.

use crate::error::Error;
use crate::error::Result;
use crate::formats::Format;

use super::SpaceFile;

/// Changes to a [`SpaceFile`], as the command line gives them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Replaces the space's formats when not empty.
    pub formats: Vec<String>,
    /// Formats to take out of every choice; each must be in the space.
    pub forbid: Vec<String>,
    /// `PATTERN=FORMAT`, as in `layer4.*=int8`.
    pub pins: Vec<String>,
    /// Mean of each channel, instead of the model's.
    pub mean: Option<Vec<f32>>,
    /// Standard deviation of each channel, likewise.
    pub std: Option<Vec<f32>>,
}

impl Overrides {
    /// The space with these changes.
    ///
    /// # Errors
    /// When a format is not known or, for `--forbid`, not in the space; when a pin is not `PATTERN=FORMAT`. (A pattern
    /// that matches no layer is found when the space is built.)
    pub fn apply(&self, mut file: SpaceFile) -> Result<SpaceFile> {
        if !self.formats.is_empty() {
            file.formats = self.formats.iter().map(|name| format_of("--formats", name)).collect::<Result<_>>()?;
            let formats = &file.formats;
            file.forbid.retain(|format| formats.contains(format));
        }
        for name in &self.forbid {
            let format = format_of("--forbid", name)?;
            if !file.forbid.contains(&format) {
                file.forbid.push(format);
            }
        }
        for pin in &self.pins {
            let (pattern, format) = pin
                .split_once('=')
                .ok_or_else(|| Error::bad_value("--pin", pin, "PATTERN=FORMAT, as in `layer4.*=int8`"))?;
            file.pins.push((pattern.trim().to_owned(), format_of("--pin", format)?));
        }
        file.mean = self.mean.clone().or(file.mean);
        file.std = self.std.clone().or(file.std);
        file.check()?;
        Ok(file)
    }
}

fn format_of(key: &str, name: &str) -> Result<Format> {
    name.parse().map_err(|_| Error::unknown_name(key, name, Format::all().iter().map(|format| format.name())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Space;

    fn with(formats: &[&str], forbid: &[&str], pins: &[&str]) -> Result<SpaceFile> {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let overrides =
            Overrides { formats: own(formats), forbid: own(forbid), pins: own(pins), ..Overrides::default() };
        overrides.apply(SpaceFile::demo()?)
    }

    #[test]
    fn each_option_changes_its_list() {
        let file = with(&["int4", "fp8", "int8"], &["e4m3"], &["layer3.* = int8"]).unwrap();
        assert_eq!(file.weight_choices(), [Format::Int(4), Format::Int(8)]);
        assert_eq!(file.pins, [("layer3.*".to_owned(), Format::Int(8))]);
        assert_eq!(with(&[], &[], &[]).unwrap(), SpaceFile::demo().unwrap());
    }

    #[test]
    fn a_normalisation_of_ones_own_reaches_the_networks() {
        let overrides = Overrides { mean: Some(vec![0.25]), std: Some(vec![0.125]), ..Overrides::default() };
        let space = Space::new(overrides.apply(SpaceFile::demo().unwrap()).unwrap()).unwrap();
        let transform = space.network(&space.widest().0).transform;
        assert_eq!((transform.mean, transform.std), (vec![0.25], vec![0.125]));
        let wrong = Overrides { mean: Some(vec![0.25; 3]), ..Overrides::default() };
        let message = Space::new(wrong.apply(SpaceFile::demo().unwrap()).unwrap()).unwrap_err().to_string();
        assert!(message.contains("mean") && message.contains("1 finite numbers"), "{message}");
    }

    #[test]
    fn what_is_not_in_the_space_cannot_be_forbidden() {
        let message = with(&["int4", "int8"], &["int6"], &[]).unwrap_err().to_string();
        assert!(message.contains("int6") && message.contains("int4, int8"), "{message}");
        assert!(with(&["int4", "int8"], &["int4", "int8"], &[]).is_err());
    }

    #[test]
    fn misspelt_formats_and_pins_name_the_option() {
        assert!(with(&["in4"], &[], &[]).unwrap_err().to_string().contains("--formats `in4`"));
        assert!(with(&[], &[], &["fc:int8"]).unwrap_err().to_string().contains("PATTERN=FORMAT"));
        assert!(with(&[], &[], &["fc=nt8"]).unwrap_err().to_string().contains("did you mean"));
    }
}
