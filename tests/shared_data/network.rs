//! The network's names and shapes against a public checkpoint in `../shared/data`; skipped where that is absent.

use std::collections::BTreeMap;

use bitfront::network::{ModelSpec, build};

use super::shared;

#[test]
fn resnet20_has_the_names_and_shapes_of_the_public_checkpoint() {
    let Some(path) = shared("weights/resnet20.safetensors") else { return };
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let stored: BTreeMap<String, Vec<usize>> =
        file.tensors().into_iter().map(|(name, view)| (name, view.shape().to_vec())).collect();
    let network = build(&ModelSpec::new("resnet20".parse().unwrap())).unwrap();
    assert_eq!(network.parameters(), stored);
}
