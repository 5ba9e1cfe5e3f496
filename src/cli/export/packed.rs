//! `bitfront export --to ron|json|safetensors`: packed weights, and what describes them.

use std::io::Write;
use std::path::{Path, PathBuf};

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

/// How the pair of files is written.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct How {
    /// The kind of description, if any.
    pub(in crate::cli) to: Target,
    /// Whether what was written is read back and measured.
    pub(in crate::cli) verify: bool,
    /// Points of top-1 by which a run's member may differ from what its run measured.
    pub(in crate::cli) tolerance: f64,
}

/// What was written.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Written {
    /// The packed weights.
    pub(in crate::cli) weights: PathBuf,
    /// Their bytes behind the header.
    pub(in crate::cli) bytes: usize,
    /// Test top-1 of what was read back.
    pub(in crate::cli) top1: Option<f64>,
}

/// Writes the packed weights, reads them back, measures what was read, and writes the description last.
///
/// # Errors
/// A file that cannot be written, or that reads back as something else.
pub(in crate::cli) fn write(how: How, session: &Session, subject: &Subject, path: &Path) -> Result<Written> {
    let stored = subject.ready.stored();
    let weights = path.with_extension("safetensors");
    // Under another name until it is verified: an interrupt leaves an older pair as it was.
    let unverified = weights.with_extension("safetensors.partial");
    let bytes = write_packed(&unverified, stored, &subject.described, &subject.origin())?;
    let top1 = if how.verify { verified(&unverified, how, session, subject).map(Some) } else { Ok(None) };
    let top1 = top1.inspect_err(|_| drop(std::fs::remove_file(&unverified)))?;
    std::fs::rename(&unverified, &weights).map_err(|source| Error::io(&weights, source))?;
    if how.to != Target::Safetensors {
        let name = weights.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let described = described(&subject.described, stored, subject.seed, name, top1)?;
        let text = match how.to {
            Target::Json => serde_json::to_string_pretty(&described)
                .map_err(|error| Error::Failed(format!("cannot write as JSON: {error}")))?,
            _ => described.text()?,
        };
        write_atomically(path, |out| out.write_all(text.as_bytes()))?;
    }
    Ok(Written { weights, bytes, top1 })
}

/// Writes the files that `args` ask for and prints what that showed.
///
/// # Errors
/// As [`write`].
pub(super) fn run(args: &ExportArgs, common: &Common, session: &Session, subject: &Subject, path: &Path) -> Result<()> {
    let how = How { to: args.to, verify: !args.no_verify, tolerance: args.tolerance };
    let Written { weights, bytes, top1 } = write(how, session, subject, path)?;
    let size = Costs::of(&subject.ready.stored().network, Convention::Full).size_mb;
    if common.json {
        return print(
            &json!({
                "file": path, "weights": weights, "packed_bytes": bytes, "size_mb": size,
                "verified": top1.is_some(), "top1": top1, "n": top1.map(|_| subject.test.order(0).len()),
                "id": subject.member.map(|(id, _)| id),
            })
            .to_string(),
        );
    }
    let verified = match top1 {
        Some(top1) => format!(
            "verified: yes\n  read back  equal in every code, scale and bias\n  top-1      {top1:.2} % of {} test images",
            subject.test.order(0).len()
        ),
        None => "verified: no".to_owned(),
    };
    let beside = if args.to == Target::Safetensors { String::new() } else { format!("{} and ", path.display()) };
    print(&format!(
        "{}{beside}{}: {bytes} bytes of weights, scales and biases (size_mb {size:.6}), {verified}",
        subject.title(),
        weights.display()
    ))
}

/// Reads the file back and measures the network that is in it.
fn verified(path: &Path, how: How, session: &Session, subject: &Subject) -> Result<f64> {
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
    subject.check_member(score.top1, how.tolerance)?;
    Ok(score.top1)
}
