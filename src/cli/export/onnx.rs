//! `bitfront export --to onnx`.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::ExportArgs;
use super::Subject;
use crate::atomic::write_atomically;
use crate::cli::Common;
use crate::cli::common::print;
use crate::engine::Session;
use crate::error::{Error, Result};
use crate::export::OnnxFile;
use crate::export::Verification;
use crate::export::onnx_file;
use crate::export::verify;
use crate::onnx::EXACT_OPTION;
use crate::onnx::Runtime;

/// Metadata key of the accuracy that was measured.
const MEASURED: &str = "test_top1";

/// Writes the file, runs it in ONNX Runtime, prints what that showed.
///
/// # Errors
/// A layer that the runtime refuses, a file that cannot be written, or that does not compute what was promised.
pub(super) fn write(
    args: &ExportArgs,
    common: &Common,
    session: &Session,
    subject: &Subject,
    path: &Path,
) -> Result<()> {
    let own = [("config_hash".to_owned(), subject.described.hash()?), ("profile".to_owned(), args.profile.to_string())];
    let facts = [subject.origin().as_slice(), &own].concat();
    let mut file = onnx_file(subject.ready.stored(), args.profile, args.unsigned_weights, &facts)?;
    save(&file, path)?;
    let written = format!("{}{}: {:.4} MB", subject.title(), path.display(), file.bytes().len() as f64 / 1e6);
    if args.no_verify {
        return report(args, common, subject, &format!("{written}, verified: no"), Err("--no-verify"));
    }
    let runtime = match Runtime::load() {
        Ok(runtime) => runtime,
        Err(error) => {
            let why = error.to_string();
            return report(args, common, subject, &format!("{written}, verified: no\n  {why}"), Err(&why));
        }
    };
    let stop = || session.check_interrupt("the file is written but not verified");
    let shown = verify(&runtime, &file, &subject.ready, &subject.test, session.quiet, &stop)?;
    let off = (shown.top1 - shown.file_top1).abs();
    if off > args.tolerance {
        report(args, common, subject, &format!("{written}, verified: no\n{}", table(&shown)), Ok(&shown))?;
        let cause = match shown.exact_top1 {
            Some(exact) => format!(
                ". This CPU has no VNNI: the default integer kernels saturate on it; session option {EXACT_OPTION}=1 \
                 gives {exact:.2} %, and a file written with --unsigned-weights needs no option"
            ),
            None => String::new(),
        };
        return Err(Error::Unverified(format!(
            "top-1 in ONNX Runtime is {off:.2} points from ours; --tolerance allows {}{cause}",
            args.tolerance
        )));
    }
    subject.check_member(shown.top1, args.tolerance)?;
    file.say(MEASURED, &shown.top1.to_string());
    save(&file, path)?;
    report(args, common, subject, &format!("{written}, verified: yes\n{}", table(&shown)), Ok(&shown))
}

fn save(file: &OnnxFile, path: &Path) -> Result<()> {
    write_atomically(path, |out| out.write_all(&file.bytes()))
}

/// Prints what came of it; an error in `shown` says why nothing was verified.
fn report(
    args: &ExportArgs,
    common: &Common,
    subject: &Subject,
    text: &str,
    shown: std::result::Result<&Verification, &str>,
) -> Result<()> {
    if !common.json {
        return print(text);
    }
    let verified = shown.is_ok_and(|v| (v.top1 - v.file_top1).abs() <= args.tolerance);
    print(
        &json!({
            "file": common.out, "id": subject.member.map(|(id, _)| id), "verified": verified,
            "verification": shown.ok(), "reason": shown.err(),
        })
        .to_string(),
    )
}

fn table(v: &Verification) -> String {
    let quantized = match (v.quantized_ms, v.spread_ms) {
        (Some(time), Some(spread)) => {
            let ratio = v.float_ms / time;
            let against =
                if ratio >= 1.0 { format!("{ratio:.2}x faster") } else { format!("{:.2}x slower", 1.0 / ratio) };
            format!("{time:.3} ms +- {spread:.3}, {against} than float32")
        }
        _ => v.untimed.unwrap_or_default().to_owned(),
    };
    let exact = v.exact_top1.map_or(String::new(), |top1| format!("\n  top-1, exact kernels {top1:.2} %"));
    format!(
        "  images               {}\n  top-1, ours          {:.2} %\n  top-1, ONNX Runtime  {:.2} %{exact}\n  \
         same class           {:.2} %\n  max |logit diff|     {:.2e}\n  float32, 1 thread    {:.3} ms\n  \
         quantized, 1 thread  {quantized}\n  integer kernels      {} of {} layers",
        v.n, v.top1, v.file_top1, v.agreement, v.max_logit_difference, v.float_ms, v.fused, v.layers
    )
}
