//! Matching the classes of a data set with those of a model.

use crate::error::{Error, Result, nearest};

/// Folder names of ImageNet's 1,000 classes in the order of a model's logits, a line each.
const IMAGENET: &str = include_str!("../../data/imagenet/synsets.txt");

/// ImageNet's classes, if the data's classes `have` any of them and the model as many logits.
pub fn imagenet_classes(have: &[String], model_classes: usize) -> Option<Vec<String>> {
    let all: Vec<String> = IMAGENET.lines().map(ToOwned::to_owned).collect();
    (all.len() == model_classes && have.iter().any(|name| all.binary_search(name).is_ok())).then_some(all)
}

/// For each class of a data set, the class of the model that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassMap {
    to_model: Vec<u16>,
    names: Vec<String>,
}

impl ClassMap {
    /// The model's class for the data's class `label`.
    ///
    /// # Panics
    /// When `label` is no class of the data set.
    pub fn model_class(&self, label: u16) -> u16 {
        self.to_model[usize::from(label)]
    }

    /// Names of the model's classes, in the order of its logits.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// Maps the data's classes `have` to those of a model with `model_classes` logits. `wanted` are the names of the model's
/// classes, if known: then a subset of them maps by name. Without them, or where one side has only numbers for names (IDX),
/// the counts must agree and order decides.
///
/// # Errors
/// When the counts do not agree and there are no names to map by, or a class is not among the model's.
pub fn map_classes(have: &[String], wanted: Option<&[String]>, model_classes: usize) -> Result<ClassMap> {
    let wanted = wanted.unwrap_or(have);
    if wanted.len() == model_classes && !is_numbered(have) && !is_numbered(wanted) {
        return by_name(have, wanted);
    }
    if have.len() != model_classes {
        let expected = format!(
            "expected the model's {model_classes}; fewer map only by name, where the folders are classes of ImageNet \
             (n01440764, ...) and the model has its 1000"
        );
        return Err(Error::bad_value("classes in the data", have.len(), expected));
    }
    let names = if wanted.len() == model_classes { wanted } else { have };
    Ok(ClassMap { to_model: (0..=u16::MAX).take(have.len()).collect(), names: names.to_vec() })
}

fn by_name(have: &[String], wanted: &[String]) -> Result<ClassMap> {
    let find = |name: &String| {
        let place = wanted.iter().position(|known| known == name);
        place.and_then(|place| u16::try_from(place).ok()).ok_or_else(|| {
            let hint = nearest(name, wanted.iter().map(String::as_str));
            let hint = hint.map_or_else(String::new, |near| format!("; nearest is `{near}`"));
            Error::bad_value("class", name, format!("not among the model's {} classes{hint}", wanted.len()))
        })
    };
    let to_model = have.iter().map(find).collect::<Result<_>>()?;
    Ok(ClassMap { to_model, names: wanted.to_vec() })
}

/// Whether the names are 0, 1, 2, ...: what a data set without class names is given.
fn is_numbered(names: &[String]) -> bool {
    names.iter().enumerate().all(|(index, name)| *name == index.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::images::Images;
    use crate::network::Shape;

    #[test]
    fn folders_of_imagenet_map_to_its_logits() {
        let have = names(&["n01443537", "n15075141"]);
        let map = map_classes(&have, imagenet_classes(&have, 1000).as_deref(), 1000).unwrap();
        assert_eq!((map.model_class(0), map.model_class(1)), (1, 999));
        assert_eq!(imagenet_classes(&names(&["cat", "dog"]), 1000), None);
        assert_eq!(imagenet_classes(&have, 2), None);
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn subset_maps_by_name() {
        let wanted = names(&["n01", "n02", "n03", "n04"]);
        let map = map_classes(&names(&["n02", "n04"]), Some(&wanted), 4).unwrap();
        assert_eq!([map.model_class(0), map.model_class(1)], [1, 3]);
        let shape = Shape { c: 1, h: 1, w: 1 };
        let images = Images::new(vec![0; 3], vec![1, 0, 1], shape, names(&["n02", "n04"])).unwrap().relabelled(&map);
        assert_eq!(images.labels(), [3, 1, 3]);
        assert_eq!(images.classes(), wanted);
    }

    #[test]
    fn equal_counts_without_saved_names_keep_their_order() {
        let map = map_classes(&names(&["b", "a"]), None, 2).unwrap();
        assert_eq!([map.model_class(0), map.model_class(1)], [0, 1]);
    }

    #[test]
    fn numbered_classes_take_the_model_names_in_order() {
        let wanted = names(&["T-shirt/top", "Trouser"]);
        let map = map_classes(&names(&["0", "1"]), Some(&wanted), 2).unwrap();
        assert_eq!(map.model_class(1), 1);
        assert_eq!(map.names(), wanted);
        assert!(map_classes(&names(&["0"]), Some(&wanted), 2).is_err());
    }

    #[test]
    fn subset_without_saved_names_is_refused() {
        let message = map_classes(&names(&["n01", "n02"]), None, 1000).unwrap_err().to_string();
        assert!(message.contains("`2`") && message.contains("1000") && message.contains("by name"), "{message}");
    }

    #[test]
    fn unknown_class_is_refused_with_the_nearest() {
        let wanted = names(&["n01440764", "n01443537"]);
        let message = map_classes(&names(&["n01440765"]), Some(&wanted), 2).unwrap_err().to_string();
        assert!(message.contains("`n01440765`") && message.contains("nearest is `n01440764`"), "{message}");
    }
}
