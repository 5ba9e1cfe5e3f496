//! `bitfront export --to ron|json|safetensors`: packed weights, and what describes them.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::ExportArgs;
use super::Subject;
use super::Target;
use crate::atomic::write_atomically;
use crate::cli::Common;
use crate::cli::common::print;
use crate::cost::Convention;
use crate::cost::Costs;
use crate::engine::Session;
use crate::error::{Error, Result};
use crate::export::described;
use crate::models::Folded;
use crate::progress::Progress;
use crate::stored::read_packed;
use crate::stored::write_packed;
use crate::train::evaluate;

/// Writes the packed weights, reads them back, measures what was read, and writes the description last.
///
/// # Errors
/// A file that cannot be written, or that reads back as something else.
pub(super) fn write(
    args: &ExportArgs,
    common: &Common,
    session: &Session,
    subject: &Subject,
    path: &Path,
) -> Result<()> {
    let stored = subject.ready.stored();
    let weights = path.with_extension("safetensors");
    // Under another name until it is verified: an interrupt leaves an older pair as it was.
    let unverified = weights.with_extension("safetensors.partial");
    let packed = write_packed(&unverified, stored, &subject.described, &subject.origin())?;
    let measured = if args.no_verify { Ok(None) } else { verified(&unverified, args, session, subject).map(Some) };
    let measured = measured.inspect_err(|_| drop(std::fs::remove_file(&unverified)))?;
    std::fs::rename(&unverified, &weights).map_err(|source| Error::io(&weights, source))?;
    if args.to != Target::Safetensors {
        let name = weights.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let described = described(&subject.described, stored, subject.seed, name, measured)?;
        let text = match args.to {
            Target::Json => serde_json::to_string_pretty(&described)
                .map_err(|error| Error::Failed(format!("cannot write as JSON: {error}")))?,
            _ => described.text()?,
        };
        write_atomically(path, |out| out.write_all(text.as_bytes()))?;
    }
    let size = Costs::of(&stored.network, Convention::Full).size_mb;
    if common.json {
        return print(
            &json!({
                "file": path, "weights": weights, "packed_bytes": packed, "size_mb": size,
                "verified": measured.is_some(), "top1": measured, "n": measured.map(|_| subject.test.order(0).len()),
                "id": subject.member.map(|(id, _)| id),
            })
            .to_string(),
        );
    }
    let verified = match measured {
        Some(top1) => format!(
            "verified: yes\n  read back  equal in every code, scale and bias\n  top-1      {top1:.2} % of {} test images",
            subject.test.order(0).len()
        ),
        None => "verified: no".to_owned(),
    };
    let beside = if args.to == Target::Safetensors { String::new() } else { format!("{} and ", path.display()) };
    print(&format!(
        "{}{beside}{}: {packed} bytes of weights, scales and biases (size_mb {size:.6}), {verified}",
        subject.title(),
        weights.display()
    ))
}

/// Reads the file back and measures the network that is in it.
fn verified(path: &Path, args: &ExportArgs, session: &Session, subject: &Subject) -> Result<f64> {
    let (described, stored) = read_packed(path)?;
    if described != subject.described || stored != *subject.ready.stored() {
        return Err(Error::Unverified(format!("{} reads back as another network", path.display())));
    }
    let ready = Folded::from_stored(stored, session.device);
    let progress = Progress::new("verify", subject.test.steps() as u64, session.quiet);
    let batches = subject.test.epoch(0, 0).map(|batch| {
        session.check_interrupt("nothing was written")?;
        progress.step(1);
        batch
    });
    let score = evaluate(&ready, batches)?;
    progress.finish();
    subject.check_member(score.top1, args.tolerance)?;
    Ok(score.top1)
}
