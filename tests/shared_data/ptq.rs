//! Post-training quantization of a real network, and HAWQ's own budget problem.

use std::process::Command;

use bitfront::search::{Knapsack, Limit};

use super::shared;

fn refined(arguments: &[&str]) -> Option<serde_json::Value> {
    let (data, weights) = (shared("cifar10")?, shared("weights/resnet20.safetensors")?);
    let scratch = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bitfront"))
        .args(["refine", "--model", "resnet20", "-q", "--json", "--data", &format!("cifar10:{}", data.display())])
        .args(["--weights", weights.to_str().unwrap(), "--out", scratch.path().join("net.ron").to_str().unwrap()])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn a_short_refinement_recovers_half_of_what_int4_costs() {
    let options = "--format int4 --ends int8 --steps 15 --calibration 512 --views 4 --finetune 4";
    let Some(found) = refined(&options.split(' ').collect::<Vec<_>>()) else { return };
    let (before, after) = (found["top1_unrefined"].as_f64().unwrap(), found["top1"].as_f64().unwrap());
    // Float has 91.73 %.
    assert!(before > 87.0 && after > 89.2, "{before} {after}");
    let harm = |key: &str| found[key].as_f64().unwrap();
    assert!(harm("divergence") < 0.6 * harm("divergence_unrefined"), "{found}");
}

#[test]
fn quantizers_found_together_and_corrected_gain_without_training() {
    let options =
        "--format fp4 --ends int8 --steps 0 --finetune 0 --calibration 256 --joint output --flavours --preshift";
    let options: Vec<&str> = options.split(' ').chain(["--reestimate", "--correct-biases"]).collect();
    let Some(found) = refined(&options) else { return };
    let number = |value: &serde_json::Value, key: &str| value[key].as_f64().unwrap();
    assert!(number(&found, "top1") > number(&found, "top1_unrefined") + 3.0, "{found}");
    let layers = found["joint"].as_array().unwrap();
    assert_eq!(layers.len(), 20);
    for (at, layer) in layers.iter().enumerate() {
        assert!(number(layer, "error") <= number(layer, "error_before"), "{layer}");
        let kind = if at == 0 || at == 19 { "int8" } else { "float4" };
        assert!(layer["weight"].as_str().unwrap().starts_with(kind), "{layer}");
    }
    let corrections = found["corrections"].as_array().unwrap();
    assert_eq!(corrections.len(), 2);
    for own in corrections {
        assert_eq!(own["kept"].as_bool().unwrap(), number(own, "divergence") < number(own, "divergence_before"));
    }
}

#[test]
fn hawqs_budgets_are_solved_to_the_optimum() {
    let Some(path) = shared("hawq_resnet18_ilp_arrays.json") else { return };
    let file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let array = |name: &str| -> Vec<f64> {
        file[name]["values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let (trace, wide, narrow) =
        (array("Hutchinson_trace"), array("delta_weights_8bit_square"), array("delta_weights_4bit_square"));
    let (parameters, int4, int8) = (array("parameters"), array("latency_int4"), array("latency_int8"));
    let layers = trace.len();
    assert_eq!(layers, 19);
    let losses: Vec<Vec<f64>> = (0..layers).map(|at| vec![trace[at] * narrow[at], trace[at] * wide[at]]).collect();
    let sizes: Vec<Vec<f64>> = parameters.iter().map(|count| vec![count * 4.0, count * 8.0]).collect();
    let times: Vec<Vec<f64>> = (0..layers).map(|at| vec![int4[at], int8[at]]).collect();
    let between = |weights: &[Vec<f64>], share: f64| {
        let sum = |option: usize| weights.iter().map(|own| own[option]).sum::<f64>();
        sum(0) + share * (sum(1) - sum(0))
    };
    for (size, time) in [(0.25, 1.0), (0.5, 0.5), (0.75, 0.4), (0.3, 0.7)] {
        let (most_size, most_time) = (between(&sizes, size), between(&times, time));
        // Every one of the 2^19 choices.
        let mut best = f64::INFINITY;
        for choice in 0..1_u32 << layers {
            let sum = |values: &[Vec<f64>]| -> f64 {
                values.iter().enumerate().map(|(at, own)| own[(choice >> at & 1) as usize]).sum()
            };
            if sum(&sizes) <= most_size && sum(&times) <= most_time {
                best = best.min(sum(&losses));
            }
        }
        let limits =
            vec![Limit { weights: sizes.clone(), most: most_size }, Limit { weights: times.clone(), most: most_time }];
        let problem = Knapsack { losses: losses.clone(), limits };
        let found = problem.solve().unwrap().unwrap();
        assert!((problem.loss(&found) - best).abs() <= 1e-9 * best, "{size} {time}: {} {best}", problem.loss(&found));
    }
}
