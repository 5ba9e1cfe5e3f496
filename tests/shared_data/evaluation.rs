//! The published ResNet-20 on CIFAR-10's test images, through the program.

use std::process::Command;

use super::shared;

/// Top-1 that `bitfront eval` prints for a weights file, with these further arguments.
fn top1(weights: &str, more: &[&str]) -> Option<f64> {
    let (data, weights) = (shared("cifar10")?, shared(&format!("weights/{weights}"))?);
    let data = format!("cifar10:{}", data.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitfront"));
    command.args(["eval", "--model", "resnet20", "--json", "-q", "--data", &data, "--weights"]).arg(weights).args(more);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["n"], 10_000);
    found["top1"].as_f64()
}

#[test]
fn both_checkpoint_files_give_the_published_accuracy() {
    for file in ["resnet20-12fca82f.th", "resnet20.safetensors"] {
        let Some(top1) = top1(file, &[]) else { return };
        assert!((top1 - 91.73).abs() < 0.005, "{file}: {top1}");
    }
}

#[test]
fn int8_everywhere_keeps_the_accuracy() {
    let Some(top1) = top1("resnet20.safetensors", &["--format", "int8"]) else { return };
    assert!((91.5..92.3).contains(&top1), "{top1}");
}
