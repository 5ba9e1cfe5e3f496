//! Bandwidth of fake quantization against that of copying.

use serde_json::json;
use tch::{Device, Kind, Tensor, no_grad};

use super::turns::{Arm, take_turns};
use super::{Found, SpeedArgs};
use crate::engine::Session;
use crate::error::Result;
use crate::formats::{Format, QuantSpec};
use crate::quant::{round_in_place, round_weight_in_place};
use crate::report::markdown_table;

/// Rows and elements of a row: 64 MiB of float32, more than caches hold; a row is a channel of 3 x 3 x 512 weights.
const SHAPE: [i64; 2] = [3640, 4608];
const FORMATS: [&str; 4] = ["int4", "int8", "float4_e2m1fn", "float8_e4m3fn"];

/// Measures.
///
/// # Errors
/// An interrupt.
pub(super) fn measured(args: &SpeedArgs, session: &Session) -> Result<Found> {
    let tensor = || Tensor::randn(SHAPE, (Kind::Float, Device::Cpu));
    let source = tensor();
    let mut target = tensor();
    let copy = move || {
        no_grad(|| target.copy_(&source));
        Ok(())
    };
    let mut arms: Vec<Arm<'_>> = vec![("copy".to_owned(), Box::new(copy))];
    for name in FORMATS {
        let format: Format = name.parse()?;
        let mut whole = tensor();
        arms.push((
            format!("{name}, per tensor"),
            Box::new(move || {
                round_in_place(&mut whole, format, 0.03);
                Ok(())
            }),
        ));
        let mut rows = tensor();
        arms.push((
            format!("{name}, per channel"),
            Box::new(move || {
                round_weight_in_place(&mut rows, QuantSpec::per_channel(format));
                Ok(())
            }),
        ));
    }
    let timed = take_turns(&mut arms, args.rounds, ("kernels", session))?;
    // Every element is read once and written once.
    let bytes = 8.0 * SHAPE.iter().product::<i64>() as f64;
    let row = |timed: &super::turns::Timed| {
        let bandwidth = format!("{:.2}", bytes / timed.median_ms / 1e6);
        [timed.cells(), vec![bandwidth, format!("{:.2}", 1.0 / timed.ratio)]].concat()
    };
    let header = ["in place, 64 MiB", "median ms", "p10", "p90", "GB/s", "of copying"];
    let table = markdown_table(&header, &timed.iter().map(row).collect::<Vec<_>>());
    Ok((format!("## Fake quantization\n\nRange given; per channel finds each row's first.\n\n{table}"), json!(timed)))
}
