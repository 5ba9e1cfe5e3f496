//! Checkpoints of the shared data folder: one real network, as a legacy torch file and as safetensors.

use bitfront::checkpoint::{Checkpoint, read};

use super::shared;

fn resnet20(file: &str) -> Option<Checkpoint> {
    Some(read(shared(&format!("weights/{file}"))?).unwrap())
}

#[test]
fn resnet20_is_the_same_in_both_files() {
    let Some((torch, tensors)) = resnet20("resnet20-12fca82f.th").zip(resnet20("resnet20.safetensors")) else { return };
    assert!(torch.stripped_module_prefix);
    assert_eq!(torch.arrays.keys().collect::<Vec<_>>(), tensors.arrays.keys().collect::<Vec<_>>());
    for (name, array) in &torch.arrays {
        assert_eq!(array, &tensors.arrays[name], "{name}");
    }
    // 19 convolutions, 19 batch norms of 4 arrays, one linear layer of 2: 97 arrays.
    assert_eq!(torch.arrays.len(), 19 + 19 * 4 + 2);
    let trained = torch.arrays.iter().filter(|(name, _)| !name.contains("running_"));
    assert_eq!(trained.map(|(_, array)| array.data.len()).sum::<usize>(), 269_722);
    assert_eq!(torch.metadata["best_prec1"], "91.78000183105469");
}
