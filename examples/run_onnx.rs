//! An exported network in ONNX Runtime: LIBRARY FILE.
#![allow(clippy::missing_errors_doc, clippy::print_stdout, reason = "a short example for readers")]

use ort::{session::Session, value::TensorRef};

/// Logits of normalised images `[n, c, h, w]`; `library` is an ONNX Runtime, as `.libtorch/lib/libonnxruntime.so`.
pub fn logits(
    library: &str,
    file: &str,
    shape: [usize; 4],
    images: &[f32],
) -> Result<Vec<f32>, Box<dyn std::error::Error>> {
    let environment = ort::init_from(library)?.build()?;
    let mut session = Session::builder(&environment)?.commit_from_file(file)?;
    let input = TensorRef::from_array_view((shape, images))?;
    let outputs = session.run(ort::inputs!["input" => input])?;
    Ok(outputs["logits"].try_extract_tensor::<f32>()?.1.to_vec())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    println!("{:?}", logits(&args[1], &args[2], [1, 1, 28, 28], &[0.0; 784])?);
    Ok(())
}
