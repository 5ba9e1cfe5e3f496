//! ONNX Runtime, loaded when it is needed: sessions, logits, times, and what became of a graph.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;
use prost::Message;

use super::network::{INPUT, OUTPUT};
use super::proto::ModelProto;
use crate::error::{Error, Result};

/// A loaded ONNX Runtime.
pub struct Runtime {
    environment: &'static Environment,
}

/// The library knows one environment a process.
static ENVIRONMENT: Mutex<Option<&'static Environment>> = Mutex::new(None);

/// A model in ONNX Runtime, with its default options.
pub struct Session {
    inner: ort::session::Session,
    shape: [usize; 3],
}

/// ONNX Runtime's session option for integer kernels that do not saturate.
pub const EXACT_OPTION: &str = "session.x64quantprecision";

/// Whether ONNX Runtime's default kernels for unsigned activations and signed weights saturate on this CPU: they add pairs
/// of products in 16 bits on x86 without VNNI.
pub fn kernels_saturate() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        !(is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni"))
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Where the library lies: ORT_DYLIB_PATH, or where `make setup` puts it.
fn library() -> PathBuf {
    std::env::var_os("ORT_DYLIB_PATH").map_or_else(|| PathBuf::from(env!("BITFRONT_ONNXRUNTIME")), PathBuf::from)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Failed(format!("ONNX Runtime: {error}"))
}

impl Runtime {
    /// Loads the library.
    ///
    /// # Errors
    /// It is not there or is none; the message says how to get it.
    pub fn load() -> Result<Self> {
        let mut loaded = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
        let environment = match *loaded {
            Some(environment) => environment,
            None => *loaded.insert(Box::leak(Box::new(Self::environment()?))),
        };
        Ok(Self { environment })
    }

    fn environment() -> Result<Environment> {
        let path = library();
        let missing = |reason: String| {
            let how = "`make setup` fetches it, or point ORT_DYLIB_PATH at a libonnxruntime of version 1.24 or newer";
            Error::bad_file(&path, format!("ONNX Runtime cannot be loaded ({reason}); {how}"))
        };
        if !path.is_file() {
            return Err(missing("no such file".into()));
        }
        let environment = ort::init_from(&path).map_err(|error| missing(error.to_string()))?;
        environment.with_name("bitfront").with_telemetry(false).build().map_err(failed)
    }

    /// Name of the library and its version, which its symbols carry (`VERS_1.31.0`) where they carry one.
    pub fn version() -> String {
        const MARK: &[u8] = b"VERS_";
        let bytes = std::fs::read(library()).unwrap_or_default();
        let at = bytes.windows(MARK.len()).position(|window| window == MARK).map(|at| at + MARK.len());
        let digits = at.into_iter().flat_map(|at| bytes[at..].iter().take(16));
        let version: String =
            digits.map(|&byte| byte as char).take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        format!("onnxruntime {version}").trim_end().to_owned()
    }

    /// A session for an encoded model on `threads` threads; `shape` is one image's `[c, h, w]`.
    ///
    /// # Errors
    /// ONNX Runtime refuses the model.
    pub fn session(&self, model: &[u8], shape: [usize; 3], threads: usize) -> Result<Session> {
        self.session_with(model, shape, threads, "0")
    }

    /// The same with integer kernels that do not saturate where the CPU lacks VNNI (slower; an option of sessions).
    ///
    /// # Errors
    /// ONNX Runtime refuses the model.
    pub fn exact_session(&self, model: &[u8], shape: [usize; 3], threads: usize) -> Result<Session> {
        self.session_with(model, shape, threads, "1")
    }

    /// The same with no optimisation of the graph: node by node, as the file says. Runs files that another runtime's
    /// optimiser is meant for.
    ///
    /// # Errors
    /// ONNX Runtime refuses the model.
    pub fn plain_session(&self, model: &[u8], shape: [usize; 3], threads: usize) -> Result<Session> {
        let builder = ort::session::Session::builder(self.environment).map_err(failed)?;
        let builder = builder.with_optimization_level(GraphOptimizationLevel::Disable).map_err(failed)?;
        let mut builder = builder.with_intra_threads(threads).map_err(failed)?;
        Ok(Session { inner: builder.commit_from_memory(model).map_err(failed)?, shape })
    }

    fn session_with(&self, model: &[u8], shape: [usize; 3], threads: usize, precision: &str) -> Result<Session> {
        let builder = ort::session::Session::builder(self.environment).map_err(failed)?;
        let builder = builder.with_config_entry(EXACT_OPTION, precision).map_err(failed)?;
        let mut builder = builder.with_intra_threads(threads).map_err(failed)?;
        Ok(Session { inner: builder.commit_from_memory(model).map_err(failed)?, shape })
    }

    /// How often each operator stands in the graph that ONNX Runtime really runs, after its default optimisations.
    ///
    /// # Errors
    /// ONNX Runtime refuses the model, or no temporary file can be written.
    pub fn operators(&self, model: &[u8]) -> Result<BTreeMap<String, usize>> {
        let path = std::env::temp_dir().join(format!("bitfront-{}.onnx", std::process::id()));
        let builder = ort::session::Session::builder(self.environment).map_err(failed)?;
        let builder = builder.with_intra_threads(1).map_err(failed)?;
        let mut builder = builder.with_optimized_model_path(&path).map_err(failed)?;
        builder.commit_from_memory(model).map_err(failed)?;
        let bytes = std::fs::read(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        let _ = std::fs::remove_file(&path);
        let optimised = ModelProto::decode(bytes.as_slice()).map_err(failed)?;
        let mut counts = BTreeMap::new();
        for node in optimised.graph.iter().flat_map(|graph| &graph.node) {
            *counts.entry(node.op_type.clone().unwrap_or_default()).or_default() += 1;
        }
        Ok(counts)
    }
}

impl Session {
    /// The logits of some images.
    ///
    /// # Shapes
    /// `images`: `[n, c, h, w]`, normalised, row-major; the result is `[n, classes]`.
    ///
    /// # Errors
    /// ONNX Runtime fails.
    pub fn logits(&mut self, images: &[f32]) -> Result<Vec<f32>> {
        let [c, h, w] = self.shape;
        let n = images.len() / (c * h * w);
        let input = TensorRef::from_array_view(([n, c, h, w], images)).map_err(failed)?;
        let outputs = self.inner.run(ort::inputs![INPUT => input]).map_err(failed)?;
        let (_, logits) = outputs[OUTPUT].try_extract_tensor::<f32>().map_err(failed)?;
        Ok(logits.to_vec())
    }

    /// Times of single images, one after another, in turn from `images`; the first `warm` are not counted.
    ///
    /// # Errors
    /// ONNX Runtime fails.
    pub fn times(&mut self, images: &[f32], warm: usize, runs: usize) -> Result<Vec<Duration>> {
        let size: usize = self.shape.iter().product();
        let mut times = Vec::with_capacity(runs);
        for (at, image) in images.chunks_exact(size).cycle().take(warm + runs).enumerate() {
            let began = Instant::now();
            self.logits(image)?;
            if at >= warm {
                times.push(began.elapsed());
            }
        }
        Ok(times)
    }
}
