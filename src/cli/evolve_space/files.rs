//! What `bitfront evolve-space` leaves in `--out`: the scored spaces, and the best one as a search space.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::show::Found;
use crate::atomic::write_atomically;
use crate::error::{Error, Result};
use crate::ron_text;

/// Writes `spaces.csv` and `<hyperspace>-<code>.ron`; the path of the latter.
///
/// # Errors
/// A file that cannot be written.
pub(super) fn write(found: &Found, folder: &Path) -> Result<Option<PathBuf>> {
    std::fs::create_dir_all(folder).map_err(|source| Error::io(folder, source))?;
    let budgets = &found.settings.budgets_ms;
    let mut text = String::from("space,score");
    for ms in budgets {
        text += &format!(",loss_at_{ms}_ms,share_at_{ms}_ms");
    }
    text.push('\n');
    for (code, score) in &found.spaces {
        text += &format!("{code},{:.6}", score.score);
        for budget in &score.budgets {
            let loss = budget.loss.map_or_else(String::new, |loss| format!("{loss:.6}"));
            text += &format!(",{loss},{:.6}", budget.share);
        }
        text.push('\n');
    }
    write_atomically(folder.join("spaces.csv"), |out| out.write_all(text.as_bytes()))?;
    let (Some((best, _)), Some(resolution)) = (found.spaces.first(), found.space.resolutions.first()) else {
        return Ok(None);
    };
    let path = folder.join(format!("{}-{best}.ron", found.space.name));
    let text = ron_text::text(&found.space.space_file(best, resolution.side)?)?;
    write_atomically(&path, |out| out.write_all(text.as_bytes()))?;
    Ok(Some(path))
}
