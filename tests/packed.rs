//! Packed weights and the descriptions beside them: they hold exactly what was evaluated, in exactly the bytes promised.

use std::path::Path;
use std::process::{Command, Output};

use bitfront::checkpoint::{Dtype, RawFile, read_raw, write_raw};
use bitfront::cost::{Convention, Costs};
use bitfront::export::{Profile, described, onnx_file};
use bitfront::formats::{Format, QuantSpec};
use bitfront::models::{Folded, Weights};
use bitfront::network::Network;
use bitfront::ron_text;
use bitfront::seed::Seed;
use bitfront::space::{NetworkFile, Space, SpaceFile};
use bitfront::stored::{StoredNetwork, read_packed, write_packed};
use bitfront::train::{Evaluation, prepare};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tch::{Device, Kind, Tensor};

fn shipped(name: &str) -> Space {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("search_spaces").join(name);
    Space::new(SpaceFile::load(path).unwrap()).unwrap()
}

fn ready(network: &Network, images: &Tensor) -> Folded {
    let weights = Weights::initialised(network, Seed::new(11), Device::Cpu);
    let batches = vec![(images.shallow_clone(), Tensor::new())];
    prepare(network, &weights, Evaluation { statistics: &batches, ranges: &batches })
}

fn noise(network: &Network, images: i64) -> Tensor {
    tch::manual_seed(5);
    let input = network.input;
    Tensor::randn([images, input.c as i64, input.h as i64, input.w as i64], (Kind::Float, Device::Cpu))
}

fn assigned(space: &Space, weight: QuantSpec, activation: QuantSpec) -> Network {
    let mut network = space.network(&space.widest().0);
    let layers = network.weighted().len();
    network.assign(&vec![weight; layers], &vec![activation; layers]);
    network
}

/// Writes, reads back, compares; the number of bytes behind the header.
fn survives(space: &Space, stored: &StoredNetwork) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let file = NetworkFile::from_network(space.model_spec(), &stored.network);
    let bytes = write_packed(&path, stored, &file, &[]).unwrap();
    let (read_file, read) = read_packed(&path).unwrap();
    assert_eq!(read_file, file);
    assert_eq!(&read, stored);
    let header = u64::from_le_bytes(std::fs::read(&path).unwrap()[..8].try_into().unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 8 + header + bytes as u64);
    bytes
}

fn size_in_bytes(network: &Network) -> usize {
    (Costs::of(network, Convention::Full).size_mb * 1e6).round() as usize
}

#[test]
fn every_format_and_kind_of_scale_takes_the_bytes_that_cost_says() {
    let space = shipped("resnet8_fashion.ron");
    let formats = Format::all().into_iter().filter(|format| !matches!(format, Format::Uint(_)));
    let plain = formats.map(|format| (QuantSpec::per_channel(format), QuantSpec::per_tensor(format)));
    let int8 = QuantSpec::per_tensor(Format::Int(8));
    let texts = ["mxfp4", "mxfp6", "nvfp4", "int3", "int4/group8", "int5/token"];
    let blocks = texts.map(|text| (text.parse::<QuantSpec>().unwrap(), int8));
    for (weight, activation) in plain.chain(blocks) {
        let network = assigned(&space, weight, activation);
        let ready = ready(&network, &noise(&network, 4));
        assert_eq!(survives(&space, ready.stored()), size_in_bytes(&network), "{weight}");
    }
}

#[test]
fn small_floats_have_the_files_own_types_where_rows_fill_bytes() {
    let space = shipped("resnet8_fashion.ron");
    for (format, first, second) in [
        ("float8_e4m3fn", Dtype::F8_E4M3, Dtype::F8_E4M3),
        // The first convolution has rows of 9 weights, the second of 144.
        ("float4_e2m1fn", Dtype::U8, Dtype::F4),
        ("float6_e3m2fn", Dtype::U8, Dtype::F6_E3M2),
        ("int4", Dtype::U8, Dtype::U8),
        ("int8", Dtype::I8, Dtype::I8),
    ] {
        let format = format.parse().unwrap();
        let network = assigned(&space, QuantSpec::per_channel(format), QuantSpec::per_tensor(format));
        let ready = ready(&network, &noise(&network, 2));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.safetensors");
        write_packed(&path, ready.stored(), &NetworkFile::from_network(space.model_spec(), &network), &[]).unwrap();
        let arrays = read_raw(&path).unwrap().arrays;
        assert_eq!((arrays["conv1.weight"].dtype, arrays["layer1.0.conv1.weight"].dtype), (first, second), "{format}");
    }
}

#[test]
fn damage_is_named_and_never_becomes_a_network() {
    let space = shipped("resnet8_fashion.ron");
    let int4: Format = "int4".parse().unwrap();
    let network = assigned(&space, QuantSpec::per_channel(int4), QuantSpec::per_tensor(int4));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let file = NetworkFile::from_network(space.model_spec(), &network);
    write_packed(&path, ready(&network, &noise(&network, 2)).stored(), &file, &[]).unwrap();
    let whole = read_raw(&path).unwrap();
    let refusal = |edit: &dyn Fn(&mut RawFile)| {
        let mut damaged = whole.clone();
        edit(&mut damaged);
        // Without the checksum, so that what lies behind it is tested too.
        damaged.metadata.remove("arrays_sha256");
        write_raw(&path, &damaged).unwrap();
        read_packed(&path).map(|_| ()).unwrap_err().to_string()
    };
    let missing = refusal(&|file| drop(file.arrays.remove("linear.bias")));
    assert!(missing.contains("`linear.bias` is missing"), "{missing}");
    let shape = refusal(&|file| file.arrays.get_mut("linear.weight_scale").unwrap().shape = vec![2, 5]);
    assert!(shape.contains("linear.weight_scale") && shape.contains("[10]"), "{shape}");
    let zero = refusal(&|file| file.arrays.get_mut("input.activation_scale").unwrap().bytes.fill(0));
    assert!(zero.contains("input.activation_scale") && zero.contains("positive"), "{zero}");
    let nan = refusal(&|file| file.arrays.get_mut("conv1.bias").unwrap().bytes.fill(0xFF));
    assert!(nan.contains("conv1.bias") && nan.contains("NaN"), "{nan}");
    let plain = refusal(&|file| file.metadata.clear());
    assert!(plain.contains("no network"), "{plain}");
    let broken = refusal(&|file| drop(file.metadata.insert("network".into(), "{".into())));
    assert!(broken.contains("network cannot be read"), "{broken}");
    let mut flipped = whole.clone();
    flipped.arrays.get_mut("conv1.weight").unwrap().bytes[3] ^= 0x10;
    let mut renamed = whole.clone();
    let network = renamed.metadata.get_mut("network").unwrap();
    *network = network.replacen("int4", "float4_e2m1fn", 1);
    for (edited, what) in [(flipped, "arrays_sha256"), (renamed, "config_hash")] {
        write_raw(&path, &edited).unwrap();
        let error = read_packed(&path).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    write_raw(&path, &whole).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let error = read_packed(&path).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("net.safetensors"), "{length}: {error}");
    }
}

fn bitfront(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bitfront")).args(arguments).envs(environment.iter().copied()).output().unwrap()
}

/// A network and its packed weights for the command line, in `folder`.
fn packed_in(folder: &Path) -> String {
    let space = shipped("resnet8_fashion.ron");
    let int4: Format = "int4".parse().unwrap();
    let network = assigned(&space, QuantSpec::per_channel(int4), QuantSpec::per_tensor(int4));
    let file = NetworkFile::from_network(space.model_spec(), &network);
    let path = folder.join("net.safetensors");
    write_packed(&path, ready(&network, &noise(&network, 2)).stored(), &file, &[]).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_command_line_goes_round_and_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let packed = packed_in(folder.path());
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let export = |more: &[&str], environment: &[(&str, &str)]| {
        bitfront(&[&["export", "-q", "--config", &packed, "--no-verify"], more].concat(), environment)
    };
    let ron = path("again.ron");
    let done = export(&["--to", "ron", "--out", &ron], &[]);
    assert!(done.status.success(), "{}", said(&done));
    let one = bitfront(&["eval", "-q", "--json", "--config", &packed], &[]);
    let two = bitfront(&["eval", "-q", "--json", "--config", &ron], &[]);
    assert!(one.status.success() && !one.stdout.is_empty());
    assert_eq!(printed(&one), printed(&two));

    let again = export(&["--to", "ron", "--out", &ron], &[]);
    assert!(again.status.code() == Some(2) && said(&again).contains("--force"), "{}", said(&again));
    let unwritable = export(&["--out", "/proc/net.onnx"], &[]);
    assert!(!unwritable.status.success() && said(&unwritable).contains("/proc/net.onnx"), "{}", said(&unwritable));
    for (arguments, what) in [
        (vec!["--out", "net.ron"], "--to"),
        (vec!["--to", "json", "--out", "net.ron"], ".json"),
        (vec!["--to", "ron", "--profile", "tensorrt", "--out", "net.ron"], "--profile"),
        (vec!["--to", "ron", "--out", "net.ron", "--pick", "3"], "--pick"),
    ] {
        let refused = export(&arguments, &[]);
        assert!(refused.status.code() == Some(2) && said(&refused).contains(what), "{}", said(&refused));
    }
    let refused = export(&["--profile", "tensorrt", "--out", &path("t.onnx")], &[]);
    assert!(refused.status.code() == Some(2) && said(&refused).contains("conv1"), "{}", said(&refused));
    assert!(!folder.path().join("t.onnx").exists());
    let without = bitfront(
        &["export", "--config", &packed, "--out", &path("n.onnx")],
        &[("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")],
    );
    assert!(without.status.success() && printed(&without).contains("verified: no"), "{}", said(&without));
    assert!(printed(&without).contains("ORT_DYLIB_PATH"), "{}", printed(&without));

    std::fs::write(path("again.safetensors"), b"damaged").unwrap();
    let damaged = bitfront(&["eval", "-q", "--config", &ron], &[]);
    assert!(damaged.status.code() == Some(2) && said(&damaged).contains("again.safetensors"), "{}", said(&damaged));
}

#[test]
fn a_description_that_disagrees_with_its_weights_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let packed = packed_in(folder.path());
    let (file, stored) = read_packed(&packed).unwrap();
    let mut description = described(&file, &stored, 0, "net.safetensors".into(), None).unwrap();
    *description.exported.as_mut().unwrap().activation_scales.get_mut("input").unwrap() *= 2.0;
    let path = folder.path().join("net.ron");
    std::fs::write(&path, description.text().unwrap()).unwrap();
    let output = bitfront(&["eval", "-q", "--config", path.to_str().unwrap()], &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("scales"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 14, rng_seed: RngSeed::Fixed(2), ..ProptestConfig::default() })]

    /// RON -> evaluation -> export -> reload changes nothing, for networks of every shipped space.
    #[test]
    fn a_network_survives_description_export_and_reload(space in 0_usize..7, seed in any::<u64>()) {
        let names = ["resnet8_fashion", "resnet20_cifar10", "mobilenet_v2_fashion", "resnet18_imagenet", "resnet50_imagenet",
            "mobilenet_v2_imagenet", "vit_fashion"];
        let space = shipped(&format!("{}.ron", names[space]));
        let genome = space.genome_choices().unwrap().random(&mut Seed::new(seed).rng());
        let network = space.network(&genome.0);
        let file = NetworkFile::from_network(space.model_spec(), &network);
        let parsed: NetworkFile = ron_text::parse(&file.text().unwrap(), "net.ron").unwrap();
        let network_again = parsed.to_network().unwrap();
        prop_assert_eq!(&network_again, &network);

        let images = noise(&network, 2);
        let ready = ready(&network_again, &images);
        prop_assert_eq!(survives(&space, ready.stored()), size_in_bytes(&network));
        let description = described(&parsed, ready.stored(), seed, "w.safetensors".into(), Some(1.0 / 3.0)).unwrap();
        let description_again: NetworkFile = ron_text::parse(&description.text().unwrap(), "net.ron").unwrap();
        prop_assert_eq!(&description_again, &description);
        let json: NetworkFile = serde_json::from_str(&serde_json::to_string(&description).unwrap()).unwrap();
        prop_assert_eq!(json.exported.unwrap().weight_scales, description.exported.unwrap().weight_scales);

        let reloaded = Folded::from_stored(ready.stored().clone(), Device::Cpu);
        prop_assert_eq!(reloaded.logits(&images), ready.logits(&images));
        let encode = |folded: &Folded| onnx_file(folded.stored(), Profile::OnnxruntimeCpu, false, &[]).unwrap().bytes();
        prop_assert_eq!(encode(&reloaded), encode(&ready));
    }
}
