//! The V100's published table (159,071 shapes under TensorRT).

use std::path::Path;
use std::process::Command;

use super::shared;

fn done(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bitfront")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_v100_table_imports_and_says_that_int8_is_slower_than_fp16() {
    let Some(csv) = shared("v100_trt_conv.csv") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let table = scratch.path().join("v100");
    let table = table.to_str().unwrap();
    let options = "--name V100 --runtime TensorRT --kind gpu --unit ms --column op=type --column c_in=cin --column c_out=cout \
                   --column kernel=k --time float32=fp32_ms --time float16=fp16_ms --time int8=int8_ms --op Regular=conv \
                   --op Depthwise=depthwise --keep elt_fused=0 --keep batch=1 --not-counted add,max_pool,global_avg_pool,pad_shortcut,linear,transition";
    let line = [
        &["latency", "import", csv.to_str().unwrap(), "--out", table][..],
        &options.split_whitespace().collect::<Vec<_>>(),
    ]
    .concat();
    done(&line);
    assert!(Path::new(table).join("device.ron").exists());
    let report = done(&["latency", "report", "--table", table, "--against", "float16", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert!(report["all"]["slower"].as_f64().unwrap() > 0.5, "{}", report["all"]);
    // It answers for a ResNet-50.
    let cost = done(&["cost", "--model", "resnet50", "--format", "float16", "--target", table, "--json"]);
    let cost: serde_json::Value = serde_json::from_str(&cost).unwrap();
    let ms = cost["latency_ms"].as_f64().unwrap();
    assert!((0.5..20.0).contains(&ms), "{ms} ms");
}
