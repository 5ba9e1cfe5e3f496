//! Forward and backward of wide depthwise convolutions, their weight gradient ours against libtorch's.

use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::turns::{Arm, take_turns};
use super::{Found, SpeedArgs};
use crate::engine::Session;
use crate::error::Result;
use crate::layers::{Taps, channels_last, convolution};
use crate::network::Conv;
use crate::report::markdown_table;

/// Channels, side of the map and kernel.
const SHAPES: [(usize, usize, usize); 6] =
    [(48, 28, 5), (96, 14, 5), (144, 7, 5), (240, 4, 5), (48, 28, 7), (240, 4, 7)];

/// Images.
const BATCH: i64 = 32;

/// Measures.
///
/// # Errors
/// An interrupt.
pub(super) fn measured(args: &SpeedArgs, session: &Session) -> Result<Found> {
    let mut all = Vec::new();
    let mut rows = Vec::new();
    for (channels, side, kernel) in SHAPES {
        let (c_in, c_out, groups) = (channels, channels, channels);
        let conv = Conv { c_in, c_out, kernel, stride: 1, padding: kernel / 2, extra_end: 0, groups };
        let name = format!("{channels} x {side} x {side}, kernel {kernel}");
        let mut arms: Vec<Arm<'_>> = vec![
            (format!("{name}, libtorch"), Box::new(step(conv, side, false))),
            (format!("{name}, own"), Box::new(step(conv, side, true))),
        ];
        let timed = take_turns(&mut arms, args.rounds, (&name, session))?;
        let ratio = format!("{:.2}", timed[0].median_ms / timed[1].median_ms);
        rows.push(vec![name, format!("{:.2}", timed[0].median_ms), format!("{:.2}", timed[1].median_ms), ratio]);
        all.extend(timed);
    }
    let table = markdown_table(&["map", "libtorch ms", "own ms", "times as fast"], &rows);
    let text = format!(
        "## Depthwise convolutions\n\nForward and backward, {BATCH} images, stride 1; own: the gradient of the weights is this \
         crate's (`layers/depthwise.rs`).\n\n{table}"
    );
    Ok((text, json!(all)))
}

/// Forward and backward through one layer.
fn step(conv: Conv, side: usize, own: bool) -> impl FnMut() -> Result<()> {
    let noise = |shape: [i64; 4]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
    let (channels, side, kernel) = (conv.c_in as i64, side as i64, conv.kernel as i64);
    let x = channels_last(&noise([BATCH, channels, side, side])).set_requires_grad(true);
    let weight = noise([channels, 1, kernel, kernel]).set_requires_grad(true);
    move || {
        let taps = Taps::default();
        let y = if own { taps.convolution(&x, &weight, None, conv) } else { convolution(&x, &weight, None, conv) };
        taps.backward(&y.sum(Kind::Float));
        Ok(())
    }
}
