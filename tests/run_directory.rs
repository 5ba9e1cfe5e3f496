//! A small search as a user runs it: its files, its errors, killed and resumed.

use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

fn bitfront(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitfront"));
    command.args(arguments);
    command
}

/// Writes 300 training and 40 test images of stripes, one pattern a class, in MNIST's layout.
pub(crate) fn striped_images(folder: &Path) {
    for (name, count) in [("train", 300_usize), ("t10k", 40)] {
        let header = |magic: u32, sizes: &[usize]| -> Vec<u8> {
            let words = std::iter::once(magic).chain(sizes.iter().map(|&size| u32::try_from(size).unwrap()));
            words.flat_map(u32::to_be_bytes).collect()
        };
        let mut images = header(0x803, &[count, 28, 28]);
        let pixel = |image: usize, at: usize| ((at / 28 * (image % 10 + 1) + image) * 37 % 256) as u8;
        images.extend((0..count).flat_map(|image| (0..784).map(move |at| pixel(image, at))));
        let mut labels = header(0x801, &[count]);
        labels.extend((0..count).map(|image| (image % 10) as u8));
        std::fs::write(folder.join(format!("{name}-images-idx3-ubyte")), images).unwrap();
        std::fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), labels).unwrap();
    }
}

/// A search over those images that takes seconds.
fn small_search(data: &Path, out: &Path) -> Command {
    let options = "search --epochs 2 --evaluations 40 --population 8 --validation 50 --calibration 20 --threads 1 -q";
    let mut command = bitfront(&options.split(' ').collect::<Vec<_>>());
    command
        .arg("--data")
        .arg(format!("idx:{}", data.display()))
        .arg("--out")
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn error_of(arguments: &[&str]) -> (i32, String) {
    let output = bitfront(arguments).output().unwrap();
    assert!(output.stdout.is_empty(), "an error leaves stdout empty");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_killed_search_resumes_to_the_same_bytes() {
    let scratch = tempfile::tempdir().unwrap();
    striped_images(scratch.path());
    let whole = scratch.path().join("whole");
    assert!(small_search(scratch.path(), &whole).status().unwrap().success());
    let expected = std::fs::read(whole.join("pareto.csv")).unwrap();
    let killed = scratch.path().join("killed");
    let mut child = small_search(scratch.path(), &killed).spawn().unwrap();
    // In the middle of scoring: as soon as some, but not all, rows are on disk.
    let history = killed.join("history.csv");
    while std::fs::read_to_string(&history).map_or(0, |text| text.lines().count()) < 4 {
        std::thread::sleep(Duration::from_millis(5));
        assert!(child.try_wait().unwrap().is_none(), "the search ended before it could be killed");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!killed.join("pareto.csv").exists());
    let resumed = bitfront(&["resume", "-q"]).arg(&killed).stdout(Stdio::null()).status().unwrap();
    assert!(resumed.success());
    assert_eq!(std::fs::read(killed.join("pareto.csv")).unwrap(), expected);
    for file in ["run.ron", "pareto.svg", "uniform.csv", "supernet.safetensors"] {
        assert!(killed.join(file).exists(), "{file}");
    }
}

#[test]
fn a_folder_that_holds_a_run_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("run.ron"), "()").unwrap();
    let (code, message) = error_of(&["search", "--out", scratch.path().to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(message.contains("--force") && message.contains("resume"), "{message}");
}

#[test]
fn an_impossible_limit_exits_3_before_training_with_the_range_and_the_nearest_network() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("run");
    let (code, message) = error_of(&["search", "--constraint", "gbops<=0.001", "--out", out.to_str().unwrap()]);
    assert_eq!(code, 3);
    assert!(message.contains("gbops") && message.contains("0.036581"), "{message}");
    assert!(out.join("nearest.ron").exists());
}

#[test]
fn wrong_words_are_answered_with_the_nearest_right_ones() {
    for (arguments, near) in [
        (vec!["search", "--constraint", "gbop<=1"], "gbops"),
        (vec!["search", "--algorithm", "nsga3"], "nsga2"),
        (vec!["search", "--data", "cifar:x"], "cifar10:DIR"),
        (vec!["search", "--pin", "layr1.*=int8"], "layer1"),
        (vec!["search", "--forbid", "in8"], "int8"),
        (vec!["eval", "--model", "resnet21", "--weights", "x"], "resnet20"),
        (vec!["cost", "--model", "resnet20", "--format", "int9"], "int8"),
        (vec!["search", "--targets", "0.5"], "--algorithm fliqs"),
        (vec!["search", "--no-uniform"], "--algorithm fliqs"),
        (vec!["search", "--algorithm", "fliqs", "--evaluations", "9"], "--algorithm nsga2"),
        (vec!["eval", "--model", "resnet20", "--weights", "x", "--out", "y"], "--out"),
        (vec!["report", "runs/x", "--seed", "1"], "--seed"),
        (vec!["doctor", "--device", "cuda:99"], "cuda:99"),
    ] {
        let (code, message) = error_of(&arguments);
        assert_eq!(code, 2, "{message}");
        assert!(message.contains(near), "{arguments:?}: {message}");
    }
}

#[test]
fn weights_of_another_model_are_refused_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("other.safetensors");
    let array = bitfront::checkpoint::Array::floats([2], [1.0, 2.0]);
    bitfront::checkpoint::write_safetensors(&path, &[("conv1.weight".to_owned(), array)].into(), &[].into()).unwrap();
    let (code, message) = error_of(&["eval", "--model", "resnet8", "--weights", path.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(message.contains("conv1.weight") && message.contains("other.safetensors"), "{message}");
}

#[test]
fn a_training_that_cannot_start_leaves_no_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let (empty, out) = (scratch.path().join("empty.pth"), scratch.path().join("run"));
    std::fs::write(&empty, "").unwrap();
    let (code, message) =
        error_of(&["train", "--model", "resnet8", "--from", empty.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(message.contains("empty.pth") && !out.exists(), "{message}");
}

#[test]
fn a_search_starts_from_weights_and_refuses_those_of_another_model() {
    let scratch = tempfile::tempdir().unwrap();
    striped_images(scratch.path());
    let best = |run: &Path| -> f64 {
        let uniform = std::fs::read_to_string(run.join("uniform.csv")).unwrap();
        let at = uniform.lines().next().unwrap().split(',').position(|name| name == "top1").unwrap();
        uniform.lines().skip(1).map(|row| row.split(',').nth(at).unwrap().parse().unwrap()).fold(0.0, f64::max)
    };
    let [trained, from, scratched, refused] =
        ["trained", "from", "scratch", "refused"].map(|name| scratch.path().join(name));
    assert!(small_search(scratch.path(), &trained).args(["--lr", "0.02"]).status().unwrap().success());
    // At this rate nothing is learnt: what the second search knows it has from the first.
    let still = |out: &Path| {
        let mut search = small_search(scratch.path(), out);
        search.args(["--lr", "1e-12"]);
        search
    };
    assert!(still(&from).arg("--weights").arg(&trained).status().unwrap().success());
    assert!(still(&scratched).status().unwrap().success());
    let [trained, from, scratched] = [trained, from, scratched].map(|run| best(&run));
    assert!((from - trained).abs() <= 4.0 && from > scratched + 10.0, "{trained} {from} {scratched}");
    let other = scratch.path().join("other.safetensors");
    let array = bitfront::checkpoint::Array::floats([2], [1.0, 2.0]);
    bitfront::checkpoint::write_safetensors(&other, &[("conv1.weight".to_owned(), array)].into(), &[].into()).unwrap();
    let (code, message) =
        error_of(&["search", "--weights", other.to_str().unwrap(), "--out", refused.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(message.contains("other.safetensors") && !refused.exists(), "{message}");
}

#[test]
fn a_folder_without_a_run_cannot_be_resumed() {
    let scratch = tempfile::tempdir().unwrap();
    let (code, message) = error_of(&["resume", scratch.path().to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(message.contains("run.ron"), "{message}");
}

#[test]
fn an_exported_member_has_exactly_the_accuracy_that_its_run_found() {
    let scratch = tempfile::tempdir().unwrap();
    striped_images(scratch.path());
    let (run, out) = (scratch.path().join("run"), scratch.path().join("net.ron"));
    assert!(small_search(scratch.path(), &run).status().unwrap().success());
    let pareto = std::fs::read_to_string(run.join("pareto.csv")).unwrap();
    let column = |row: &str, at: usize| row.split(',').nth(at).unwrap().to_owned();
    let at = pareto.lines().next().unwrap().split(',').position(|name| name == "test_top1").unwrap();
    for row in pareto.lines().skip(1) {
        // Two threads where the run had one: its candidates are made ready on one thread all the same.
        let arguments =
            ["export", "-q", "--json", "--force", "--threads", "2", "--to", "ron", "--pick", &column(row, 0)];
        let output = bitfront(&arguments).arg(&run).arg("--out").arg(&out).output().unwrap();
        let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let found: f64 = column(row, at).parse().unwrap();
        assert!((printed["top1"].as_f64().unwrap() - found).abs() < 1e-9, "{printed} where the run found {found}");
    }
}
