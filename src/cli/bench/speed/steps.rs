//! Time of a training step in each format against float32.

use serde_json::json;

use super::turns::{Arm, Timed, take_turns};
use super::{Found, SpeedArgs, Subject, plain};
use crate::engine::Session;
use crate::error::Result;
use crate::formats::Format;
use crate::network::{Network, Op};
use crate::report::markdown_table;
use crate::train::{Regime, Single};

/// Formats whose steps are timed, and whether clips are learned (LSQ); the first is what the others are compared with.
const TIMED: [(&str, bool); 7] = [
    ("float32", false),
    ("int4", false),
    ("int8", false),
    ("float4_e2m1fn", false),
    ("float8_e4m3fn", false),
    ("int4", true),
    ("float4_e2m1fn", true),
];

/// Measures.
///
/// # Errors
/// A step that fails; an interrupt.
pub(super) fn measured(args: &SpeedArgs, session: &Session) -> Result<Found> {
    let subject = Subject::new(args.model, args.batch)?;
    let batch = (&subject.batch.0, &subject.batch.1);
    let mut arms: Vec<Arm<'_>> = Vec::new();
    for (name, learned) in TIMED {
        let format: Format = name.parse()?;
        let (mut regime, mut trainer) = (Single(subject.network(format)), subject.trainer(learned));
        let name = if learned { format!("{name}, learned clips") } else { name.to_owned() };
        arms.push((name, Box::new(move || regime.step(&mut trainer, batch.0, batch.1).map(|_| ()))));
    }
    let float = subject.network(Format::Float32);
    if is_plain(&float) {
        let mut trainer = subject.trainer(false);
        let name = "float32, row-major".to_owned();
        arms.push((name, Box::new(move || plain::step(&float, &mut trainer, batch))));
    }
    let timed = take_turns(&mut arms, args.rounds, ("steps", session))?;
    let ratio = |name: &str| timed.iter().find(|arm| arm.name.starts_with(name)).map_or(f64::NAN, |arm| arm.ratio);
    let plain = ratio("float32, row-major");
    let row = |timed: &Timed| {
        [timed.cells(), [timed.ratio, timed.ratio / plain].map(|ratio| format!("{ratio:.2}")).to_vec()].concat()
    };
    let header = ["a step in", "median ms", "p10", "p90", "of float32", "of row-major"];
    let table = markdown_table(&header, &timed.iter().map(row).collect::<Vec<_>>());
    let text = format!(
        "## Training steps\n\n{}, {} images of noise. Channels lie side by side in memory but in the last row, which is what\n\
         PyTorch's operators do by themselves.\n\n{table}",
        args.model, args.batch
    );
    Ok((text, json!(timed)))
}

/// Whether [`plain::step`] knows all of its operators.
fn is_plain(network: &Network) -> bool {
    network.layers.iter().all(|layer| match layer.op {
        Op::Conv(conv) => conv.extra_end == 0 && !layer.bias,
        Op::Linear { .. } | Op::Add | Op::GlobalAvgPool | Op::PadShortcut { .. } | Op::MaxPool { .. } => true,
        _ => false,
    })
}
