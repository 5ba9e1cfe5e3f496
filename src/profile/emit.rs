//! What another device needs to be measured without bitfront: the models, a list of them, a runner.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::measure::{bytes, kernel_networks};
use crate::atomic::write_atomically;
use crate::cost::latency::{Device, Kernel, Row, Table};
use crate::error::{Error, Result};
use crate::network::Shape;

/// The runner, in Python.
const RUNNER: &str = include_str!("runner.py");

/// Writes the models of all kernels, `kernels.csv` that names them, and `run.py`; `step` is told after each kernel.
///
/// # Errors
/// A kernel has no model, or a file cannot be written.
pub fn emit(kernels: &[Kernel], device: &Device, folder: &Path, step: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    let models = folder.join("models");
    std::fs::create_dir_all(&models).map_err(|source| Error::io(&models, source))?;
    let mut written: HashMap<[u8; 32], String> = HashMap::new();
    let mut list = String::new();
    for (at, kernel) in kernels.iter().enumerate() {
        let pair = kernel_networks(kernel, device)?;
        let mut names = Vec::new();
        for (model, what) in [(&pair.with, "with"), (&pair.without, "without")] {
            let bytes = bytes(model)?;
            let hash: [u8; 32] = Sha256::digest(&bytes).into();
            let name = written.get(&hash).cloned();
            names.push(match name {
                Some(name) => name,
                None => {
                    let name = format!("models/{at:04}-{what}.onnx");
                    write_atomically(folder.join(&name), |out| out.write_all(&bytes))?;
                    written.insert(hash, name.clone());
                    name
                }
            });
        }
        // The columns of a table, times open, and the two files, the shape of their input.
        let open = Row { kernel: *kernel, batch: 1, runs: 0, median_us: 0.0, p10_us: 0.0, p90_us: 0.0, mad_us: 0.0 };
        let text = Table { rows: vec![open] }.text()?;
        let mut lines = text.lines();
        let (header, line) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        if at == 0 {
            list.push_str(&format!("{header},with,without,input\n"));
        }
        let Shape { c, h, w } = pair.with.input;
        list.push_str(&format!("{line},{},{c}x{h}x{w}\n", names.join(",")));
        step()?;
    }
    write_atomically(folder.join("kernels.csv"), |out| out.write_all(list.as_bytes()))?;
    write_atomically(folder.join("run.py"), |out| out.write_all(RUNNER.as_bytes()))
}
