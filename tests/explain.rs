//! What a user reads of a post-training result: sensitivities, and why a network stands in its formats.

use std::path::Path;

use serde_json::Value;

use crate::latency::{bitfront, done};
use crate::run_directory::striped_images;

/// Striped images and a network trained on them: `--data`, and the weights' file.
fn trained(scratch: &Path) -> (String, String) {
    striped_images(scratch);
    let (data, run) = (format!("idx:{}", scratch.display()), scratch.join("trained"));
    let options = "search --epochs 2 --evaluations 2 --population 2 --validation 50 --calibration 20 --threads 1 -q";
    let options: Vec<&str> = options.split(' ').collect();
    done(&[&options[..], &["--data", &data, "--out", run.to_str().unwrap()]].concat());
    (data, run.join("supernet.safetensors").to_str().unwrap().to_owned())
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&done(&[arguments, &["--json", "-q", "--threads", "1"]].concat())).unwrap()
}

#[test]
fn sensitivities_are_measured_once_and_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let (data, weights) = trained(scratch.path());
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let (csv, picture) = (path("s.csv"), path("s.svg"));
    let base = ["sensitivity", "--model", "resnet8", "--data", &data, "--weights", &weights, "--csv", &csv];
    let with = |more: &[&'static str]| json(&[&base[..], more].concat());
    let first = with(&["--calibration", "24", "--formats", "int4"]);
    let rows = first["rows"].as_array().unwrap();
    // Eight layers: weights, activations, both.
    assert_eq!(rows.len(), 3 * 8, "{first}");
    for row in rows {
        assert!(row["fisher_trace"].as_f64().unwrap() > 0.0 && row["output_sqnr_db"].as_f64().unwrap() > 5.0, "{row}");
        let far = row["output_sqnr_db"].as_f64().unwrap() - row["analytic_sqnr_db"].as_f64().unwrap();
        assert!(far.abs() < 20.0, "{row}");
    }
    let before = std::fs::read_to_string(&csv).unwrap();
    let more = [&base[..], &["--calibration", "24", "--formats", "int4,fp8", "--threads", "1", "--picture", &picture]]
        .concat();
    let (code, shown, stderr) = bitfront(&more);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("24 measurements") && stderr.contains("24 are known"), "{stderr}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80) && shown.contains("fisher"), "{shown}");
    let after = std::fs::read_to_string(&csv).unwrap();
    assert!(after.starts_with(&before) && after.lines().count() == 1 + 6 * 8, "{after}");
    let svg = std::fs::read_to_string(&picture).unwrap();
    assert!(svg.contains("W int4") && svg.contains("W+A fp8"), "{svg}");
    // Other images are another subject: measured, and kept beside.
    with(&["--calibration", "16", "--formats", "int4", "--labels", "data"]);
    assert_eq!(std::fs::read_to_string(&csv).unwrap().lines().count(), 1 + 9 * 8);
    std::fs::write(&csv, "a,b\n1,2\n").unwrap();
    let (code, _, stderr) = bitfront(&base);
    assert!(code == 2 && stderr.contains("s.csv"), "{stderr}");
}

#[test]
fn a_written_networks_report_says_what_each_format_loses() {
    let scratch = tempfile::tempdir().unwrap();
    let (data, weights) = trained(scratch.path());
    let out = scratch.path().join("net.ron").to_str().unwrap().to_owned();
    let export = "export --model resnet8 --format fp8 --ends int8 --calibration 24 --to ron --threads 1 -q";
    let export: Vec<&str> = export.split(' ').chain(["--data", &data, "--weights", &weights, "--out", &out]).collect();
    done(&export);
    let report = ["report", "--network", &out, "--data", &data, "--calibration", "24"];
    let found = json(&[&report[..], &["--weights", &weights]].concat());
    let layers = found["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 8);
    for (at, layer) in layers.iter().enumerate() {
        let own = &layer["weights"];
        let (narrower, wider) =
            (own["narrower"]["sqnr_db"].as_f64().unwrap(), own["wider"]["sqnr_db"].as_f64().unwrap());
        let sqnr = own["sqnr_db"].as_f64().unwrap();
        assert!(narrower < sqnr && sqnr < wider, "{layer}");
        assert_eq!(own["to_int8"].is_null(), at == 0 || at == 7, "{layer}");
    }
    assert_eq!(found["prior"][0]["layouts"][0], "E4M3");
    assert!(found["on_device"]["all"]["bytes"].as_u64().unwrap() > 0);
    let text = done(&[&report[..], &["-q", "--threads", "1"]].concat());
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("taken as exact") && text.contains("microcontroller"), "{text}");
    let (code, _, stderr) = bitfront(&["report"]);
    assert!(code == 2 && stderr.contains("<RUN>"), "{stderr}");
}
