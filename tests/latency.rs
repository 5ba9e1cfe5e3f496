//! Latency tables: measured here, priced by, searched for, and damaged.

use std::path::{Path, PathBuf};
use std::process::Command;

use bitfront::cost::latency::{Device, Kernel, KernelOp, Kind, Overhead, Row, Table, Target};
use bitfront::cost::{Metric, Pricing, feasible_range};
use bitfront::formats::Format;
use bitfront::profile::{MOST_KERNELS, kernels_of};
use bitfront::ron_text;
use bitfront::space::{Space, SpaceFile};

use crate::run_directory::striped_images;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/search_spaces/resnet8_fashion.ron");

pub(crate) fn bitfront(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bitfront")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

pub(crate) fn done(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = bitfront(arguments);
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    stdout
}

fn space() -> Space {
    Space::new(SpaceFile {
        formats: vec![Format::Int(8), Format::Float32],
        ..SpaceFile::load(Path::new(DEMO)).unwrap()
    })
    .unwrap()
}

fn device() -> Device {
    let computes = vec![Format::Float32, Format::Int(8)];
    Device {
        device: "a processor of tests".into(),
        processor: String::new(),
        kind: Kind::Cpu,
        runtime: "none".into(),
        threads: 1,
        batch: 1,
        date: "2026-11-22".into(),
        command: vec![],
        falls_back: Device::usual_fallback(&computes),
        computes,
        kernels: 0,
        not_counted: vec![],
        any_act: false,
        spaces: vec![],
        left_out: 0,
        overhead: Overhead::default(),
    }
}

/// A made-up device on which int8 convolutions of 16 channels are slower than float32 and wider ones three times faster.
fn made_up(kernel: &Kernel) -> f64 {
    let [macs, read, written, _] = kernel.work();
    let narrow = if kernel.c_in.min(kernel.c_out) <= 16 { 1.5 } else { 1.0 / 3.0 };
    let factor = if kernel.a_format == Format::Float32 { 1.0 } else { narrow };
    1.0 + factor * macs / 1e4 + (read + written) / 1e4
}

fn rows() -> Vec<Row> {
    let kernels = kernels_of(&[space()], &device(), MOST_KERNELS).unwrap().measured;
    let row = |kernel: Kernel| {
        let us = made_up(&kernel);
        Row { kernel, batch: 1, runs: 9, median_us: us, p10_us: us, p90_us: us, mad_us: 0.0 }
    };
    kernels.into_iter().map(row).collect()
}

fn written(folder: &Path, device: &Device, rows: Vec<Row>) -> PathBuf {
    let table = folder.join("table");
    std::fs::create_dir_all(&table).unwrap();
    std::fs::write(table.join("device.ron"), ron_text::text(device).unwrap()).unwrap();
    std::fs::write(table.join("kernels.csv"), Table { rows }.text().unwrap()).unwrap();
    table
}

#[test]
fn a_prediction_is_the_sum_of_what_the_device_runs() {
    let target = Target::new(device(), &rows());
    let space = space();
    for format in [Format::Int(8), Format::Float32] {
        let network = space.network(&space.uniform(format).unwrap());
        let mut us = 0.0;
        bitfront::cost::latency::walk(&network, &target.device, |way| {
            let (bitfront::cost::latency::Way::Layer(_, kernel) | bitfront::cost::latency::Way::Transition(kernel)) =
                way;
            us += made_up(&kernel);
        });
        let found = target.predict(&network).unwrap();
        assert!((found.latency_ms - us / 1e3).abs() < 1e-9 && found.estimated.abs() < 1e-12, "{found:?}");
    }
}

#[test]
fn the_fastest_network_mixes_formats_where_that_pays() {
    let space = space();
    let target = Target::new(device(), &rows());
    let pricing = Pricing { target: Some(std::sync::Arc::new(target)), ..Pricing::default() };
    let (least, most) = feasible_range(&space, &pricing, Metric::LatencyMs).unwrap();
    let uniform = [Format::Int(8), Format::Float32]
        .map(|format| pricing.latency(&space.network(&space.uniform(format).unwrap())).unwrap().unwrap());
    assert!(uniform.iter().all(|ms| least < *ms && *ms <= most), "{least} {most} {uniform:?}");
    // Every network of the space: two options for each of eight decisions.
    let all = (0..1_u32 << space.choices().len()).map(|bits| {
        let genome: Vec<u8> = (0..space.choices().len()).map(|at| (bits >> at & 1) as u8).collect();
        pricing.latency(&space.network(&genome)).unwrap().unwrap()
    });
    let (low, high) = all.fold((f64::INFINITY, 0.0_f64), |(low, high), ms| (low.min(ms), high.max(ms)));
    assert!((least - low).abs() < 1e-9, "the descent ends at {least}, the fastest takes {low}");
    assert!(most <= high + 1e-9);
}

#[test]
fn a_search_stays_within_its_latency_limit() {
    let scratch = tempfile::tempdir().unwrap();
    striped_images(scratch.path());
    let table = written(scratch.path(), &device(), rows());
    let pricing = Pricing { target: Some(Target::load(&table).unwrap().into()), ..Pricing::default() };
    let (least, most) = feasible_range(&space(), &pricing, Metric::LatencyMs).unwrap();
    let limit = least + 0.3 * (most - least);
    let (data, out) = (format!("idx:{}", scratch.path().display()), scratch.path().join("run"));
    let (table, constraint, out) = (table.to_str().unwrap(), format!("latency_ms<={limit}"), out.to_str().unwrap());
    let options = "--epochs 1 --evaluations 30 --population 8 --validation 50 --calibration 20 --threads 1 --formats int8,float32 \
                   --objective latency_ms";
    let mut line =
        vec!["search", "--space", DEMO, "--data", &data, "--target", table, "--constraint", &constraint, "--out", out];
    line.extend(options.split_whitespace());
    let (code, _, stderr) = bitfront(&line);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("not measured: the latency table is of a processor of tests"), "{stderr}");
    let mut reader = csv::Reader::from_path(Path::new(out).join("pareto.csv")).unwrap();
    let header = reader.headers().unwrap().clone();
    let place = |name: &str| header.iter().position(|column| column == name).unwrap();
    let members: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert!(!members.is_empty());
    for member in &members {
        let ms: f64 = member[place("latency_ms")].parse().unwrap();
        assert!(ms <= limit && ms >= least - 1e-9, "{ms} is not from {least} to {limit}");
        assert!(member[place("latency_meas_ms")].is_empty());
    }
    // The table in the run's folder is what a resumed run uses.
    std::fs::remove_dir_all(table).unwrap();
    std::fs::remove_file(Path::new(out).join("pareto.csv")).unwrap();
    done(&["resume", "-q", out]);
    assert!(Path::new(out).join("pareto.csv").exists());
}

#[test]
fn limits_and_formats_that_the_device_cannot_keep_are_refused_before_training() {
    let scratch = tempfile::tempdir().unwrap();
    let table = written(scratch.path(), &device(), rows());
    let (table, out) = (table.to_str().unwrap(), scratch.path().join("run"));
    let out = out.to_str().unwrap();
    let refused = |more: &[&str]| {
        let line = [&["search", "--space", DEMO, "--target", table, "--out", out], more].concat();
        let (code, _, stderr) = bitfront(&line);
        (code, stderr)
    };
    let (code, message) = refused(&["--constraint", "latency_ms<=0.0001"]);
    assert!(code == 3 && message.contains("latency_ms ") && message.contains("nearest"), "{code}: {message}");
    let (code, message) = refused(&["--strict"]);
    assert!(code == 2 && message.contains("cannot compute in it") && message.contains("float32,int8"), "{message}");
    let (code, _, message) = bitfront(&["search", "--constraint", "latency_ms<=1", "--out", out]);
    assert!(code == 2 && message.contains("--target"), "{message}");
}

#[test]
fn a_damaged_table_is_named_with_its_line() {
    let scratch = tempfile::tempdir().unwrap();
    let table = written(scratch.path(), &device(), rows());
    let csv = table.join("kernels.csv");
    let sound = std::fs::read_to_string(&csv).unwrap();
    let cost = |text: &str| {
        std::fs::write(&csv, text).unwrap();
        let (code, _, message) = bitfront(&["cost", "--space", DEMO, "--target", table.to_str().unwrap()]);
        assert_eq!(code, 2, "{message}");
        message
    };
    let lines: Vec<&str> = sound.lines().collect();
    let changed = |at: usize, line: String| [&lines[..at], &[line.as_str()], &lines[at + 1..]].concat().join("\n");
    assert!(cost(&changed(2, lines[2].replace(",9,", ",9,-"))).contains("line 3: median_us `-"));
    assert!(cost(&changed(4, lines[4][..20].to_owned())).contains("line 5"));
    assert!(cost(&changed(1, lines[1].replace("float32", "float16"))).contains("line 2: format float16"));
    assert!(cost(&sound.replace("median_us", "median_ms")).contains("microseconds"));
    assert!(cost("").contains("kernels.csv"));
    assert!(cost(&sound.replace(",3,1,1,relu,", ",3,0,1,relu,")).contains("do not fit"));
    // Cut off at the end of a line, told by the count in device.ron.
    let counted = Device { kernels: lines.len() - 1, ..device() };
    std::fs::write(table.join("device.ron"), ron_text::text(&counted).unwrap()).unwrap();
    assert!(cost(&(lines[..lines.len() - 1].join("\n") + "\n")).contains("cut off"));
    let overhead = Overhead { call_us: f64::NAN, ..Overhead::default() };
    std::fs::write(table.join("device.ron"), ron_text::text(&Device { overhead, ..device() }).unwrap()).unwrap();
    assert!(cost(&sound).contains("overhead.call_us `NaN`"));
    std::fs::write(table.join("device.ron"), ron_text::text(&device()).unwrap()).unwrap();
    // Without any sum, the first layer that adds is named.
    let without: Vec<&str> = lines.iter().copied().filter(|line| !line.starts_with("add,")).collect();
    let message = cost(&without.join("\n"));
    assert!(message.contains("layer layer1.0.add") && message.contains("bitfront profile"), "{message}");
}

#[test]
fn a_profile_goes_on_where_it_was_stopped_and_its_table_is_used() {
    let scratch = tempfile::tempdir().unwrap();
    let table = scratch.path().join("here");
    let line = ["profile", "--space", DEMO, "--most", "60", "--least", "2", "--networks", "2", "--out"];
    let line = [&line[..], &[table.to_str().unwrap()]].concat();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bitfront")).args(&line).arg("-q").spawn().unwrap();
    let first = table.join("round1.partial.csv");
    while std::fs::read_to_string(&first).map_or(0, |text| text.lines().count()) < 8 {
        assert!(child.try_wait().unwrap().is_none(), "the profile ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (code, stdout, stderr) = bitfront(&line);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stderr.contains(" 0 of ") && stderr.contains("measured already"), "{stderr}");
    assert!(stdout.contains("rounds agree") && !first.exists(), "{stdout}");
    let found = Target::load(&table).unwrap();
    assert!(found.device.runtime.starts_with("onnxruntime 1."), "{}", found.device.runtime);
    for operator in [KernelOp::Conv, KernelOp::ConvDequantized, KernelOp::Add, KernelOp::Linear, KernelOp::Transition] {
        assert!(found.measured().any(|(kernel, _)| kernel.op == operator), "{operator}");
    }
    let table = table.to_str().unwrap();
    assert!(done(&["cost", "--model", "resnet8", "--format", "int8", "--target", table]).contains("latency_ms"));
    assert!(done(&["latency", "report", "--table", table]).contains("conv 3x3"));
    let verified = done(&["latency", "verify", "--table", table, "--space", DEMO, "-n", "2", "--json"]);
    let verified: serde_json::Value = serde_json::from_str(&verified).unwrap();
    for network in verified["spaces"][0]["networks"].as_array().unwrap() {
        let ratio = network["predicted_ms"].as_f64().unwrap() / network["measured_ms"].as_f64().unwrap();
        // A coarse bound: three milliseconds a kernel on a busy machine.
        assert!((0.2..5.0).contains(&ratio), "{network}");
    }
    let again = bitfront(&line);
    assert!(again.0 == 2 && again.2.contains("--force"), "{}", again.2);
}
