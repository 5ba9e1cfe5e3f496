//! Post-training quantization as a user runs it: search, resume, export, refine.

use std::path::Path;
use std::process::{Command, Stdio};

use bitfront::space::NetworkFile;

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
    let how = "--pick knee --steps 20 --finetune 2 --batch 8 --threads 1 -q --json";
    let refine: Vec<&str> = ["refine", &whole].into_iter().chain(how.split(' ')).collect();
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
fn decoupled_shifted_and_corrected_weights_are_written_and_exported() {
    let scratch = tempfile::tempdir().unwrap();
    let (data, weights) = trained(scratch.path());
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    done(&[&words(&data, &weights, &path("run"))[..], &["--constraint", "avg_w_bits<=4"]].concat());
    let refined = |name: &str, options: &str| -> serde_json::Value {
        let how = "--pick knee --threads 1 -q --json --force --steps 0 --finetune 1";
        let words: Vec<&str> = how.split(' ').chain(options.split(' ')).collect();
        serde_json::from_str(&done(&[&["refine", &path("run"), "--out", &path(name)], &words[..]].concat())).unwrap()
    };
    // Scales whose ratios are powers of two, refined or not; the file says them.
    refined("m2.ron", "--scale-mode m2 --decouple");
    let exported = NetworkFile::load(path("m2.ron")).unwrap().exported.unwrap();
    let is_power_of_two = |ratio: f32| ratio.is_normal() && ratio.to_bits() << 9 == 0;
    for (layer, scales) in &exported.weight_scales {
        assert!(scales.iter().all(|scale| is_power_of_two(scale / scales[0])), "{layer}: {scales:?}");
    }
    let plain = refined("plain.ron", "--decouple");
    assert!(plain["helped"] == true && plain["corrected"].as_array().unwrap().is_empty(), "{plain}");
    let corrected = refined("net.ron", "--decouple --lorc 2");
    assert!(corrected["divergence"].as_f64() < plain["divergence"].as_f64(), "{corrected} {plain}");
    let layers = corrected["corrected"].as_array().unwrap().len();
    assert!(layers > 0 && corrected["size_mb"].as_f64() > plain["size_mb"].as_f64(), "{corrected}");
    let described = NetworkFile::load(path("net.ron")).unwrap();
    assert_eq!(described.model.low_rank.len(), layers);
    let found: serde_json::Value =
        serde_json::from_str(&done(&["eval", "--config", &path("net.ron"), "--data", &data, "--json"])).unwrap();
    assert_eq!(found["top1"], corrected["top1"]);
    let cost: serde_json::Value =
        serde_json::from_str(&done(&["cost", "--config", &path("net.ron"), "--json"])).unwrap();
    assert_eq!((&cost["size_mb"], &cost["gbops"]), (&corrected["size_mb"], &corrected["gbops"]));
    // An ONNX file that computes otherwise is an error.
    let onnx = path("net.onnx");
    let shown = done(&["export", "--config", &path("net.ron"), "--data", &data, "--to", "onnx", "--out", &onnx]);
    assert!(shown.contains("verified: yes"), "{shown}");
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
    refused(&["refine", "--model", "resnet8", "--scale-mode", "m3"], "m1");
    refused(&["refine", "--model", "resnet8", "--weights", "x", "--out", "x.ron", "--lorc", "5000"], "1024");
    refused(&["refine", "--model", "resnet8", "--joint", "fischer"], "did you mean `fisher`");
    refused(&["refine", "--model", "resnet8", "--flavours"], "--joint");
}

#[test]
fn a_benchmark_sees_at_once_that_its_report_cannot_be_written() {
    let scratch = tempfile::tempdir().unwrap();
    for place in ["no/such/report.md", "."] {
        let place = scratch.path().join(place);
        let line = ["bench", "demo", "--seeds", "1", "--write", place.to_str().unwrap(), "-q"];
        let (code, stdout, stderr) = bitfront(&line);
        assert!(code == 2 && stdout.is_empty() && stderr.contains("--write <FILE>"), "{code}: {stderr}");
        assert!(stderr.contains("cannot be written"), "{stderr}");
    }
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}
