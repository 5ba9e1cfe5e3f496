//! Post-training quantization as a user runs it: search, resume, export, refine.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::latency::{bitfront, done};
use crate::run_directory::striped_images;

/// A trained network: what a short search of the demo space leaves.
fn trained(scratch: &Path) -> (String, String) {
    striped_images(scratch);
    let (data, run) = (format!("idx:{}", scratch.display()), scratch.join("trained"));
    let options = "search --epochs 2 --evaluations 2 --population 2 --validation 50 --calibration 20 --threads 1 -q";
    let options: Vec<&str> = options.split(' ').collect();
    done(&[&options[..], &["--data", &data, "--out", run.to_str().unwrap()]].concat());
    (data, run.to_str().unwrap().to_owned())
}

fn words<'a>(data: &'a str, weights: &'a str, out: &'a str) -> Vec<&'a str> {
    let options = "search --mode ptq --evaluations 24 --population 6 --validation 50 --calibration 40 --threads 1 -q";
    options.split(' ').chain(["--data", data, "--weights", weights, "--out", out]).collect()
}

#[test]
fn a_killed_post_training_search_resumes_to_the_same_front_and_its_members_export_and_refine() {
    let scratch = tempfile::tempdir().unwrap();
    let (data, weights) = trained(scratch.path());
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let (whole, killed) = (path("whole"), path("killed"));
    let shown = done(&words(&data, &weights, &whole));
    assert!(shown.contains("on the") && shown.contains("int8"), "{shown}");
    let history = Path::new(&killed).join("history.csv");
    let mut child = Command::new(env!("CARGO_BIN_EXE_bitfront"))
        .args(words(&data, &weights, &killed))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while std::fs::read_to_string(&history).map_or(0, |text| text.lines().count()) < 3 {
        assert!(child.try_wait().unwrap().is_none(), "the search ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    done(&["resume", "-q", &killed]);
    let front = |run: &str| std::fs::read_to_string(Path::new(run).join("pareto.csv")).unwrap();
    assert_eq!(front(&killed), front(&whole));
    // Exported, a member has the accuracy that its run found: a difference is an error.
    done(&["export", &whole, "--pick", "knee", "--to", "ron", "--out", &path("member.ron")]);
    let refine =
        ["refine", &whole, "--pick", "knee", "--steps", "20", "--batch", "8", "--threads", "1", "-q", "--json"];
    let refined = |out: &str| -> serde_json::Value {
        serde_json::from_str(&done(&[&refine[..], &["--out", out]].concat())).unwrap()
    };
    let (first, second) = (refined(&path("refined.ron")), refined(&path("again.ron")));
    assert_eq!((&first["top1"], &first["divergence"]), (&second["top1"], &second["divergence"]));
    let bytes = |name: &str| std::fs::read(path(name)).unwrap();
    assert!(bytes("refined.safetensors") == bytes("again.safetensors"), "the same seed gave other weights");
    let found = done(&["eval", "--config", &path("refined.ron"), "--data", &data, "--json"]);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["top1"], first["top1"]);
    let (code, _, stderr) = bitfront(&[&refine[..], &["--out", &path("again.ron")]].concat());
    assert!(code == 2 && stderr.contains("--force"), "{stderr}");
}

#[test]
fn what_makes_no_sense_without_training_is_refused() {
    let refused = |arguments: &[&str], word: &str| {
        let (code, _, stderr) = bitfront(arguments);
        assert!(code == 2 && stderr.contains(word), "{arguments:?}: {stderr}");
    };
    refused(&["search", "--mode", "ptq"], "--weights");
    refused(&["search", "--mode", "ptq", "--weights", "x", "--epochs", "7"], "nothing is trained");
    refused(&["search", "--mode", "ptq", "--weights", "x", "--algorithm", "fliqs"], "--mode ptq takes");
    let elastic = concat!(env!("CARGO_MANIFEST_DIR"), "/search_spaces/mobilenet_v2_fashion_elastic.ron");
    refused(&["search", "--mode", "ptq", "--weights", "x", "--space", elastic], "operators");
    refused(&["refine", "--model", "resnet8", "--format", "int4", "--out", "x.ron"], "--weights");
    refused(&["refine", "--model", "resnet8", "--weights", "x", "--out", "x.onnx"], ".ron");
    refused(&["refine", "--model", "resnet8", "--weights", "x", "--out", "x.ron", "--drop", "1.5"], "from 0 to 1");
    refused(&["refine", "--model", "resnet8", "--weight-clip", "msee"], "did you mean");
    refused(&["refine", "--model", "resnet8", "--joint", "fischer"], "did you mean `fisher`");
    refused(&["refine", "--model", "resnet8", "--flavours"], "--joint");
}
