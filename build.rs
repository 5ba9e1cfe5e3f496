//! Lets the built programs find libtorch without any variable: its folder becomes their run path.

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
    if let Some(folder) = folder {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
}
