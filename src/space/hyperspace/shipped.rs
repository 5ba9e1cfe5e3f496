//! The hyperspaces that are part of the program.

use std::path::Path;

use super::Hyperspace;
use crate::error::{Error, Result};
use crate::ron_text;

/// Name and text of each.
const SHIPPED: [(&str, &str); 3] = [
    ("mobilew", include_str!("../../../search_spaces/mobilew.ron")),
    ("onnxw", include_str!("../../../search_spaces/onnxw.ron")),
    ("smallw", include_str!("../../../search_spaces/smallw.ron")),
];

impl Hyperspace {
    /// The hyperspace of a name.
    ///
    /// # Errors
    /// An unknown name, with the nearest known one.
    pub fn shipped(name: &str) -> Result<Self> {
        let found = SHIPPED.iter().find(|(known, _)| *known == name);
        let (_, text) = found.ok_or_else(|| Error::unknown_name("--space", name, Self::names()))?;
        ron_text::parse(text, format!("search_spaces/{name}.ron"))
    }

    /// The names of the shipped ones.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// The hyperspace that a user named: a file, or one of the shipped.
    ///
    /// # Errors
    /// A file that is missing or wrong, or an unknown name.
    pub fn named(text: &str) -> Result<Self> {
        let path = Path::new(text);
        let is_file = path.extension().is_some_and(|extension| extension == "ron") || path.is_file();
        if is_file { Self::load(path) } else { Self::shipped(text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_hyperspace_is_sound_and_bears_its_name() {
        for name in Hyperspace::names() {
            let file = Hyperspace::named(name).unwrap();
            file.check().unwrap();
            assert_eq!(file.name, name);
        }
        let message = Hyperspace::named("mobile").unwrap_err().to_string();
        assert!(message.contains("did you mean `mobilew`"), "{message}");
    }

    #[test]
    fn the_papers_hyperspaces_have_their_published_sizes() {
        // research/spaceevo.md 2.3: 7^6 x 10,080 and 6^6 x 2,048 spaces, 210 and 132 files of a table.
        for (name, spaces, files) in
            [("mobilew", 1_185_901_920, 210), ("onnxw", 95_551_488, 132), ("smallw", 20_736, 48)]
        {
            let file = Hyperspace::shipped(name).unwrap();
            assert_eq!((file.count(), file.cells()), (spaces, files), "{name}");
        }
    }
}
