//! Lets the built programs find libtorch and ONNX Runtime without any variable: libtorch's folder becomes their run
//! path, ONNX Runtime's place a constant.

use std::{env, path::PathBuf, process::Command};

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_USE_PYTORCH");
    println!("cargo:rerun-if-env-changed=LIBTORCH_LIB");
    let folder = if env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        let script = "import os, torch; print(os.path.join(os.path.dirname(torch.__file__), 'lib'))";
        Command::new("python3")
            .args(["-c", script])
            .output()
            .ok()
            .filter(|out| out.status.success())
            .map(|out| PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()))
    } else {
        env::var_os("LIBTORCH_LIB").or_else(|| env::var_os("LIBTORCH")).map(|home| PathBuf::from(home).join("lib"))
    };
    println!("cargo:rerun-if-changed=Cargo.lock");
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let version = lock.split("name = \"tch\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    println!("cargo:rustc-env=BITFRONT_TCH={}", version.unwrap_or("unknown"));
    let named = folder.as_ref().map_or_else(|| "unknown".to_owned(), |folder| folder.display().to_string());
    println!("cargo:rustc-env=BITFRONT_LIBTORCH={named}");
    let home = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join(".libtorch/lib");
    let leaf = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };
    println!("cargo:rustc-env=BITFRONT_ONNXRUNTIME={}", home.join(leaf).display());
    if let Some(folder) = folder {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
}
