//! Does the Q-T loss tell which networks will be accurate? Some networks of the evolved space by their loss, by their top-1 on
//! the supernet's weights, and a few by their top-1 when each is trained alone.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Searched;
use crate::cli::Common;
use crate::cli::bench::trained::trained_or_read;
use crate::cli::kept::{keep, kept};
use crate::engine::{Row, Status, in_order, stage_losses};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::progress::Progress;
use crate::space::Space;
use crate::stats::spearman;

/// Networks that are compared, and how many of them are trained alone, spread evenly over the losses.
const NETWORKS: usize = 30;
const ALONE: usize = 8;

/// A network of the evolved space.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Proxy {
    /// Id in its run.
    pub(super) id: usize,
    /// Noise of its stages by the table's blocks, added up.
    pub(super) loss: f64,
    /// Validation top-1 in percent on the supernet's weights, batch norm re-estimated.
    pub(super) shared_top1: f64,
    /// Validation top-1 in percent when it is trained alone.
    pub(super) alone_top1: Option<f64>,
}

/// The first candidates of a search, as far as known from `proxy.csv` in its folder; `table` is the folder of blocks.
///
/// # Errors
/// A damaged file, or whatever a training fails with.
pub(super) fn proxies(table: &Path, search: &Searched, common: &Common) -> Result<Vec<Proxy>> {
    let path = search.folder.state().join("proxy.csv");
    let settings = &search.run.settings;
    let space = Space::new(settings.space.clone())?;
    let searched = search.run.rows.iter().filter(|row| row.status == Status::Searched);
    let rows: Vec<&Row> = searched.take(NETWORKS).collect();
    let proxies = match kept(&path)? {
        Some(proxies) => proxies,
        None => by_loss(table, &space, &rows, common)?,
    };
    keep(&path, &proxies)?;
    let last = proxies.len().saturating_sub(1);
    let spread = (0..ALONE.min(proxies.len())).map(|place| place * last / (ALONE - 1));
    let untrained: Vec<usize> = spread.filter(|&at| proxies[at].alone_top1.is_none()).collect();
    let alone = Common { threads: Some(1), quiet: true, ..common.clone() };
    let trained = |(): &(), &at: &usize| {
        let row = rows.iter().find(|row| row.id == proxies[at].id);
        let row =
            row.ok_or_else(|| Error::bad_file(&path, format!("network {} is not of this run", proxies[at].id)))?;
        let (name, network) = (format!("spaceevo-{}", row.id), space.network(&row.genome.0));
        Ok((at, trained_or_read(&name, &settings.training(), &network, &alone)?.0.validation_top1))
    };
    let progress = Progress::new("networks alone", untrained.len() as u64, common.quiet);
    let mut finished = proxies.clone();
    let keep_one = |result: Result<(usize, f64)>| {
        let (at, top1) = result?;
        finished[at].alone_top1 = Some(top1);
        progress.step(1);
        keep(&path, &finished)
    };
    in_order(common.thread_count()?, &untrained, || (), trained, &|| !interrupt::requested(), keep_one)?;
    progress.finish();
    common.session(common.thread_count()?, None)?.check_interrupt("the same command goes on")?;
    Ok(finished)
}

/// Losses and shared accuracies, the lowest loss first.
fn by_loss(table: &Path, space: &Space, rows: &[&Row], common: &Common) -> Result<Vec<Proxy>> {
    let models: Vec<_> = rows.iter().filter_map(|row| space.spec_of(&row.genome.0).staged).collect();
    let threads = common.thread_count()?;
    let losses = stage_losses(table, &models, (threads, &common.session(threads, None)?))?;
    let proxy = |(row, loss): (&&Row, f64)| Proxy { id: row.id, loss, shared_top1: row.top1, alone_top1: None };
    let mut proxies: Vec<Proxy> = rows.iter().zip(losses).map(proxy).collect();
    proxies.sort_by(|a, b| a.loss.total_cmp(&b.loss));
    Ok(proxies)
}

/// Spearman's correlations of the loss with the shared top-1 of all, with the top-1 of those trained alone, and of the two top-1.
pub(super) fn correlations(proxies: &[Proxy]) -> [Option<f64>; 3] {
    let shared: Vec<(f64, f64)> = proxies.iter().map(|own| (own.loss, own.shared_top1)).collect();
    let alone: Vec<(f64, f64)> = proxies.iter().filter_map(|own| Some((own.loss, own.alone_top1?))).collect();
    let both: Vec<(f64, f64)> = proxies.iter().filter_map(|own| Some((own.shared_top1, own.alone_top1?))).collect();
    [shared, alone, both].map(|pairs| spearman(&pairs))
}
