//! `bitfront evolve-space` as a user runs it, on a table that the test makes.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

use bitfront::seed::Seed;
use bitfront::space::Hyperspace;
use rand::RngExt;
use tempfile::TempDir;

fn bitfront(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bitfront")).arg("evolve-space").args(arguments).output().unwrap()
}

fn out(arguments: &[&str]) -> String {
    let output = bitfront(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code and message of a command that fails.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = bitfront(arguments);
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The small hyperspace with times of its ends, and a table of random losses and latencies in which ResNet is the best.
fn table(folder: &Path) -> String {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/search_spaces/smallw.ron")).unwrap();
    let timed = text.replace("(side: 28), (side: 32)", "(side: 28, ends_ms: 0.1), (side: 32, ends_ms: 0.1)");
    let file = folder.join("timed.ron");
    std::fs::write(&file, timed).unwrap();
    let space = Hyperspace::load(&file).unwrap();
    let mut rng = Seed::new(0).rng();
    for (stage, choice) in space.stages.iter().enumerate() {
        for (kind, block) in space.blocks.iter().enumerate() {
            for window in 0..choice.windows() {
                let mut rows = String::new();
                for resolution in space.resolutions.iter().cycle().take(20) {
                    let (width, factor) = (choice.window(window)[0], block.expansions[0]);
                    let side = resolution.side.div_ceil(space.reduction(stage));
                    let c = if stage == 0 { 8 } else { space.stages[stage - 1].widths[0] };
                    let loss = if block.kind.name() == "ResNet" { 0.2 } else { 0.6 } + rng.random_range(0.0..0.1);
                    let ms = rng.random_range(0.1..0.5);
                    writeln!(rows, "3#{width}#{factor},1x{c}x{side}x{side},{loss},1.0,0.1,{ms}").unwrap();
                }
                std::fs::write(folder.join(format!("stage{}_{kind}_{window}.csv", stage + 1)), rows).unwrap();
            }
        }
    }
    file.to_str().unwrap().to_owned()
}

#[test]
fn evolution_finds_the_best_block_type_whatever_the_number_of_threads() {
    let folder = TempDir::new().unwrap();
    let space = table(folder.path());
    let evolved = |threads: &str, seed: &str| {
        let mut found: serde_json::Value = serde_json::from_str(&out(&[
            "--lut",
            folder.path().to_str().unwrap(),
            "--space",
            &space,
            "--budget-ms",
            "1.0",
            "--budget-ms",
            "1.5",
            "--samples",
            "3000",
            "--evaluations",
            "600",
            "--population",
            "100",
            "--sample",
            "25",
            "--json",
            "--threads",
            threads,
            "--seed",
            seed,
        ]))
        .unwrap();
        assert!(found.as_object_mut().unwrap().remove("seconds").is_some());
        found
    };
    let one = evolved("1", "0");
    assert_eq!(one, evolved("2", "0"));
    assert_ne!(one["spaces"], evolved("2", "1")["spaces"]);
    let spaces = one["spaces"].as_array().unwrap();
    assert_eq!((spaces.len(), one["evaluations"].as_u64()), (50, Some(600)));
    assert!(spaces[0]["code"].as_str().unwrap().starts_with("2222-"), "{}", spaces[0]);
    assert!(spaces[0]["mmacs"][0].as_f64().unwrap() < spaces[0]["mmacs"][1].as_f64().unwrap());
    // A listed space scores the same when it is asked for by its code.
    let code = spaces[7]["code"].as_str().unwrap();
    let lut = folder.path().to_str().unwrap();
    let again = ["--lut", lut, "--space", &space, "--budget-ms", "1.0", "--budget-ms", "1.5", "--samples", "3000"];
    let scored: serde_json::Value =
        serde_json::from_str(&out(&[&again[..], &["--score", code, "--json"]].concat())).unwrap();
    assert_eq!(scored["spaces"][0], spaces[7]);
    let text = out(&[&again[..], &["--score", code]].concat());
    assert!(text.contains(code) && text.contains("loss at 1 ms"), "{text}");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let folder = TempDir::new().unwrap();
    let space = table(folder.path());
    let lut = folder.path().to_str().unwrap();
    let wrong: [(&[&str], i32, &str); 10] = [
        (&["--space", "mobilw", "--count"], 2, "did you mean `mobilew`"),
        (
            &["--space", "smallw", "--budget-ms", "1"],
            2,
            "--lut: give the table of smallw's blocks: a folder of 48 files",
        ),
        (&["--budget-ms", "1"], 2, "--space: give --lut DIR, or a hyperspace: mobilew, onnxw, smallw"),
        (&["--lut", "/no/such/onnxw", "--budget-ms", "9"], 2, "/no/such/onnxw"),
        (&["--lut", lut, "--space", "smallw", "--budget-ms", "1"], 2, "ends_ms of 28 pixels in smallw"),
        (&["--lut", lut, "--space", "onnxw", "--budget-ms", "1"], 2, "a table of onnxw has 132 files"),
        (&["--lut", lut, "--space", &space], 2, "--budget-ms: give at least one"),
        (&["--lut", lut, "--space", &space, "--budget-ms", "0.01"], 3, "--budget-ms 0.01: the fastest network of all"),
        (&["--lut", lut, "--space", &space, "--budget-ms", "1", "--score", "22-00"], 2, "expected 4 digits"),
        (&["--lut", lut, "--space", &space, "--verify"], 4, "stage1_0_0.csv:1: 1 million multiplications, counted"),
    ];
    for (arguments, code, part) in wrong {
        let (exit, message) = refused(arguments);
        assert!(exit == Some(code) && message.contains(part), "{arguments:?}: {exit:?} {message}");
    }
    // A budget that the fastest network of all meets, but hardly any sample.
    let tight =
        ["--lut", lut, "--space", &space, "--budget-ms", "0.52", "--samples", "5", "--batch", "5", "--top", "1"];
    let (exit, message) =
        refused(&[&tight[..], &["--evaluations", "20", "--population", "10", "--sample", "5"]].concat());
    assert!(exit == Some(3) && message.contains("has no network in it among 5 samples"), "{exit:?} {message}");
}

#[test]
fn hyperspaces_and_networks_are_counted_without_a_table() {
    let counted: serde_json::Value = serde_json::from_str(&out(&["--space", "mobilew", "--count", "--json"])).unwrap();
    assert_eq!((counted["spaces"].as_u64(), counted["files"].as_u64()), (Some(1_185_901_920), Some(210)));
    let text = out(&["--space", "onnxw", "--count"]);
    assert!(text.starts_with("onnxw: 95551488 spaces") && text.contains("132 files, stage1_0_0.csv to stage6_5_3.csv"));
    let small = concat!(env!("CARGO_MANIFEST_DIR"), "/search_spaces/smallw.ron");
    let text = out(&["--space", small, "--count"]);
    assert!(text.contains("20736 spaces") && text.contains("missing      ends_ms"), "{text}");
    // SEQnet@vnni-A0: 163.5 MMACs (research/spaceevo.md 8.1).
    let code = "151122-023231:d1#1#2#2#2#2#2#1_k3#3#3#3#3#3#3#3#3#3#3#3#3_w16#16#32#32#64#64#112#112#144#144#240#240#320_\
                e0#0.5#4.0#4.0#1.0#1.0#4.0#4.0#4.0#4.0#4.0#4.0#4.0_r160";
    let network: serde_json::Value =
        serde_json::from_str(&out(&["--space", "onnxw", "--network", code, "--json"])).unwrap();
    assert_eq!(network["macs"].as_u64(), Some(163_479_488));
}

/// The small hyperspace cut down: two stages, two block types.
fn tiny_hyperspace(folder: &Path) -> String {
    let text = "(name: \"tinyw\", resolutions: [(side: 28)], channels: 1, classes: 10,
        stem: (widths: [8], stride: 2, act: Relu),
        first: (block: (kind: ResNet, act: Relu, kernels: [3], expansions: [0.5]), widths: [8], depths: (1, 1), stride: 1, projects: true),
        blocks: [
            (kind: MBv2, act: Relu6, kernels: [3, 5], expansions: [3, 6]),
            (kind: ResNet, act: Relu, kernels: [3], expansions: [0.5, 1]),
        ],
        stages: [
            (widths: [8, 16, 24], window: 2, depths: (1, 2), stride: 2),
            (widths: [16, 24], window: 1, depths: (1, 1), stride: 1),
        ],
        head: (expand: 32, mix: 32, act: HardSwish))";
    let file = folder.join("tinyw.ron");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/latency_tables/epyc-avx2");

/// The options that make a small table of blocks in a folder and evolve the tiny hyperspace on it.
fn own_table(folder: &Path, rows: &str) -> Vec<String> {
    let (space, place) = (tiny_hyperspace(folder), folder.join("evolved"));
    crate::run_directory::striped_images(folder);
    let data = format!("idx:{}", folder.display());
    let sizes = "--budget-ms 0.06 --budget-ms 0.2 --teacher-epochs 1 --block-steps 3 --block-seeds 2 --block-images 64 \
                 --judging 16 --validation 50 --samples 500 --batch 50 --top 5 --evaluations 12 --population 8 --sample 4 \
                 --threads 1 --json --rows";
    let given = ["--space", &space, "--data", &data, "--target", TABLE, "--out", place.to_str().unwrap()];
    given.into_iter().chain(sizes.split_whitespace()).chain([rows]).map(str::to_owned).collect()
}

/// Evolves the tiny hyperspace on a table of its own.
fn evolved_on_own_table(folder: &Path) -> serde_json::Value {
    let arguments = own_table(folder, "3");
    serde_json::from_str(&out(&arguments.iter().map(String::as_str).collect::<Vec<_>>())).unwrap()
}

#[test]
fn a_table_of_ones_own_blocks_is_made_once() {
    let folder = TempDir::new().unwrap();
    let found = evolved_on_own_table(folder.path());
    let place = folder.path().join("evolved");
    // Two stages, two types, two windows: eight files of three rows, and their multiplications are ours.
    let table = place.join("table");
    assert_eq!(out(&["--lut", table.to_str().unwrap(), "--verify", "--json"]), "{\"equal\":24,\"rows\":24}\n");
    let trained = std::fs::read_to_string(place.join("blocks.csv")).unwrap();
    assert_eq!(trained.lines().count(), 1 + 2 * 2 * 2, "{trained}");
    assert!(std::fs::read_to_string(place.join("spaces.csv")).unwrap().starts_with("space,score,loss_at_0.06_ms"));
    // What is there is not made again; a lost file alone is, and comes out the same.
    let lost = table.join("stage2_1_0.csv");
    let (rows, teacher) = (std::fs::read(&lost).unwrap(), place.join("teacher").join("supernet.safetensors"));
    let before = std::fs::metadata(&teacher).unwrap().modified().unwrap();
    std::fs::remove_file(&lost).unwrap();
    let again = evolved_on_own_table(folder.path());
    assert_eq!((&again["spaces"], std::fs::read(&lost).unwrap()), (&found["spaces"], rows));
    assert_eq!(std::fs::metadata(&teacher).unwrap().modified().unwrap(), before);
    let other = own_table(folder.path(), "4");
    let (exit, message) = refused(&other.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(exit == Some(2) && message.contains("blocks of other settings"), "{exit:?} {message}");
}

/// Runs a verb that must succeed; its stdout.
fn verb(words: &str, folder: &Path) -> String {
    let arguments = words.split_whitespace().map(|word| word.replace("DIR", folder.to_str().unwrap()));
    let output = Command::new(env!("CARGO_BIN_EXE_bitfront")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_evolved_space_is_searched_in_all_ways_and_exported() {
    let folder = TempDir::new().unwrap();
    let found = evolved_on_own_table(folder.path());
    let code = found["spaces"][0]["code"].as_str().unwrap();
    // Float phase, learned clips, distillation, both parts of the friendliness term.
    let search = format!(
        "search --space DIR/evolved/tinyw-{code}.ron --data idx:DIR --evaluations 6 --population 4 --validation 50 --calibration 64 \
         --epochs 2 --float-epochs 1 --learned-ranges --distil --threads 1 -q --out DIR/run"
    );
    verb(
        &format!("{search} --friendliness 0.5 --friendly-form both --objective latency_ms --target {TABLE}"),
        folder.path(),
    );
    let bonuses = std::fs::read_to_string(folder.path().join("run/state/friendliness.csv")).unwrap();
    assert!(bonuses.starts_with("id,bonus\n0,") && bonuses.lines().count() > 6, "{bonuses}");
    assert!(verb("export DIR/run --pick knee --to ron -q --out DIR/net.ron", folder.path()).contains("verified: yes"));
    verb(&format!("{search} --force --algorithm evolution"), folder.path());
}
