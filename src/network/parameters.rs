//! Names and shapes of a network's parameters and buffers, as public checkpoints have them.

use std::collections::BTreeMap;

use super::Network;
use super::Op;

impl Network {
    /// Every parameter and buffer: weights, biases, and of each batch normalisation `weight`, `bias`, `running_mean` and
    /// `running_var`. Torch's `num_batches_tracked` counters are left out: nothing needs them.
    pub fn parameters(&self) -> BTreeMap<String, Vec<usize>> {
        let mut all = BTreeMap::new();
        for layer in &self.layers {
            match layer.op {
                Op::Embed => {
                    all.insert("cls_token".to_owned(), vec![1, 1, layer.output.c]);
                    all.insert(layer.name.clone(), vec![1, layer.output.h, layer.output.c]);
                }
                Op::LayerNorm => drop(all.insert(format!("{}.weight", layer.name), vec![layer.output.c])),
                _ => {}
            }
            if let Some(shape) = layer.op.weight_shape() {
                all.insert(format!("{}.weight", layer.name), shape);
            }
            if layer.bias {
                all.insert(format!("{}.bias", layer.name), vec![layer.output.c]);
            }
            for part in ["weight", "bias", "running_mean", "running_var"] {
                if let Some(norm) = &layer.norm {
                    all.insert(format!("{norm}.{part}"), vec![layer.output.c]);
                }
            }
        }
        all
    }

    /// The same network with a head of `classes` outputs.
    #[must_use]
    pub fn with_classes(&self, classes: usize) -> Self {
        let mut other = Self { classes, ..self.clone() };
        if let Some(head) = other.layers.last_mut() {
            if let Op::Linear { c_out, .. } = &mut head.op {
                *c_out = classes;
            }
            head.output.c = classes;
        }
        other
    }

    /// Number of trained parameters: weights, biases, scale and shift of the batch normalisations; no running statistics.
    pub fn parameter_count(&self) -> u64 {
        let trained = |name: &str| !name.ends_with(".running_mean") && !name.ends_with(".running_var");
        self.parameters().iter().filter(|(name, _)| trained(name)).map(|(_, shape)| elements(shape)).sum()
    }
}

fn elements(shape: &[usize]) -> u64 {
    shape.iter().map(|&length| length as u64).product()
}

#[cfg(test)]
mod tests {
    use crate::network::{ModelSpec, ShortcutKind, build};

    fn count(model: &str) -> u64 {
        build(&ModelSpec::new(model.parse().unwrap())).unwrap().parameter_count()
    }

    #[test]
    fn resnet20_has_269722_parameters() {
        // 3x3 convolutions: stem 9*3*16 = 432; stage 1: 6 * 9*16*16 = 13,824; stage 2: 9*16*32 + 5 * 9*32*32 = 50,688;
        // stage 3: 9*32*64 + 5 * 9*64*64 = 202,752; together 267,696. Batch norm: 2 * (7*16 + 6*32 + 6*64) = 1,376.
        // Linear: 64*10 + 10 = 650.
        assert_eq!(267_696 + 1_376 + 650, 269_722);
        assert_eq!(count("resnet20"), 269_722);
        // Projections add 16*32 + 32*64 weights and 2 * (32 + 64) of batch norm.
        let spec = ModelSpec { shortcut: Some(ShortcutKind::B), ..ModelSpec::new("resnet20".parse().unwrap()) };
        assert_eq!(build(&spec).unwrap().parameter_count(), 269_722 + 512 + 2_048 + 192);
    }

    #[test]
    fn imagenet_models_have_torchvisions_parameter_counts() {
        // From torchvision's model documentation, `num_params`.
        assert_eq!(count("resnet18"), 11_689_512);
        assert_eq!(count("resnet34"), 21_797_672);
        assert_eq!(count("resnet50"), 25_557_032);
        assert_eq!(count("resnet50_v1"), 25_557_032);
    }

    #[test]
    fn another_head_changes_the_last_layer_alone() {
        let spec = ModelSpec::new("resnet18".parse().unwrap());
        let other = build(&spec).unwrap().with_classes(10);
        assert_eq!(other, build(&ModelSpec { classes: Some(10), ..spec }).unwrap());
    }

    #[test]
    fn names_follow_torchvision() {
        let all = build(&ModelSpec::new("resnet50".parse().unwrap())).unwrap().parameters();
        // 53 convolutions, 53 * 4 of batch norm, fc weight and bias.
        assert_eq!(all.len(), 53 + 53 * 4 + 2);
        assert_eq!(all["layer3.0.downsample.0.weight"], [1024, 512, 1, 1]);
        assert_eq!(all["layer4.2.bn3.running_var"], [2048]);
        assert_eq!(all["fc.weight"], [1000, 2048]);
        assert_eq!(all["conv1.weight"], [64, 3, 7, 7]);
    }

    #[test]
    fn the_tensorflow_form_adds_one_projection_to_basic_blocks_only() {
        let tf = |model: &str| {
            build(&ModelSpec { tf_form: true, ..ModelSpec::new(model.parse().unwrap()) }).unwrap().parameter_count()
        };
        assert_eq!(tf("resnet18"), 11_689_512 + 64 * 64 + 2 * 64);
        assert_eq!(tf("resnet50"), 25_557_032);
        assert!(build(&ModelSpec { tf_form: true, ..ModelSpec::new("resnet20".parse().unwrap()) }).is_err());
    }
}
