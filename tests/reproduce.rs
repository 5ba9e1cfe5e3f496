//! The experiments behind published claims, on images that take seconds: kept rows, interrupts, other conditions.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::run_directory::striped_images;

/// A run of the small transformer's four networks in a folder of its own.
fn reproduce(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitfront"));
    let line = "reproduce vit --data idx:. --seeds 1 --validation 50 --threads 1 -q";
    command.args(line.split(' ')).args(more).current_dir(folder).stdin(Stdio::null());
    command
}

fn done(folder: &Path, more: &[&str]) -> Output {
    reproduce(folder, more).output().unwrap()
}

/// The table without its last column, the seconds.
fn table(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("results/reproduce_vit.csv")).unwrap();
    text.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned()).collect()
}

#[test]
fn a_killed_run_goes_on_with_the_next_network_and_ends_with_the_same_table() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    striped_images(whole.path());
    striped_images(killed.path());
    let output = done(whole.path(), &["--epochs", "2"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(
        report.contains("## Claims")
            && report.contains("FLIQS-L beats uniform formats")
            && report.contains("## Switching")
    );
    assert_eq!(
        std::fs::read_to_string(whole.path().join("results/reproduce_vit.md")).unwrap().trim_end(),
        report.trim_end()
    );
    for picture in ["reproduce_vit.svg", "reproduce_vit_published.svg"] {
        assert!(std::fs::read_to_string(whole.path().join("results").join(picture)).unwrap().starts_with("<svg"));
    }

    // Side by side, in processes of their own.
    let beside = tempfile::tempdir().unwrap();
    striped_images(beside.path());
    let output = done(beside.path(), &["--epochs", "2", "--jobs", "3"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(table(beside.path()), table(whole.path()));

    let mut child =
        reproduce(killed.path(), &["--epochs", "2"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let kept = killed.path().join("results/reproduce_vit.csv");
    while !kept.exists() {
        std::thread::sleep(Duration::from_millis(5));
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = table(killed.path());
    assert!((2..5).contains(&before.len()), "a header and some of four rows: {before:?}");
    let listed = done(killed.path(), &["--epochs", "2", "--list", "--json"]).stdout;
    let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
    let finished = listed["cells"].as_array().unwrap().iter().filter(|cell| cell["finished"] == true).count();
    assert_eq!(finished + 1, before.len());
    assert!(done(killed.path(), &["--epochs", "2"]).status.success());
    assert_eq!(table(killed.path()), table(whole.path()));
    assert_eq!(table(killed.path())[..before.len()], before);

    // Other settings are not taken for these.
    let other = done(killed.path(), &["--epochs", "1"]);
    let message = String::from_utf8(other.stderr).unwrap();
    assert_eq!(other.status.code(), Some(2));
    assert!(message.contains("reproduce_vit.csv") && message.contains("epochs `2`"), "{message}");
    assert_eq!(table(killed.path()), table(whole.path()));

    // Nor other images, though the folder has the same name.
    let path = killed.path().join("train-images-idx3-ubyte");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let message = String::from_utf8(done(killed.path(), &["--epochs", "2"]).stderr).unwrap();
    assert!(message.contains("line 2") && message.contains("has data `idx:"), "{message}");
}

#[test]
fn a_network_that_cannot_be_trained_beside_others_is_named() {
    let folder = tempfile::tempdir().unwrap();
    striped_images(folder.path());
    // Their place is taken.
    std::fs::create_dir_all(folder.path().join("runs/reproduce")).unwrap();
    std::fs::write(folder.path().join("runs/reproduce/vit"), "").unwrap();
    let output = done(folder.path(), &["--epochs", "1", "--jobs", "2"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && message.contains("-w1-seed0 ended with"), "{message}");
}
