//! From images and a device's table to a table of blocks, step by step; what is there is not made again.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::cell::{cell_file, write_cell};
use super::features::{Features, TeacherImages};
use super::latency::ends_ms;
use super::settings::BlockSettings;
use super::supernet::{BlockPlace, Trained, train_place};
use super::teacher::{TeacherResult, teacher};
use crate::atomic::write_atomically;
use crate::cost::latency::Target;
use crate::engine::Session;
use crate::engine::workers::{in_order, scoring_threads};
use crate::error::{Error, Result};
use crate::models::{Folded, Weights};
use crate::network::Network;
use crate::progress::Progress;
use crate::ron_text;
use crate::space::Hyperspace;

/// The folder of a table of blocks and what made it.
#[derive(Clone, Debug)]
pub struct BlockFolder(PathBuf);

impl BlockFolder {
    /// The folder for these settings. A folder of other settings is refused unless `force`, which clears what it holds.
    ///
    /// # Errors
    /// The folder was made with other settings, or cannot be written.
    pub fn open(path: &Path, settings: &BlockSettings, force: bool) -> Result<Self> {
        let (config, text) = (path.join("blocks.ron"), ron_text::text(settings)?);
        let known = std::fs::read_to_string(&config).ok();
        if let Some(known) = known.filter(|known| *known != text) {
            if !force {
                let differs = known.lines().zip(text.lines()).find(|(there, here)| there != here);
                let (there, here) = differs.map_or(("", ""), |(there, here)| (there.trim(), here.trim()));
                let expected = format!(
                    "holds blocks of other settings (blocks.ron: `{there}`, now `{here}`); choose another folder or pass --force"
                );
                return Err(Error::bad_value("--out", path.display(), expected));
            }
            for part in ["teacher", "blocks", "table"].map(|part| path.join(part)).iter().filter(|part| part.exists()) {
                std::fs::remove_dir_all(part).map_err(|source| Error::io(part, source))?;
            }
            let list = path.join("blocks.csv");
            if list.exists() {
                std::fs::remove_file(&list).map_err(|source| Error::io(&list, source))?;
            }
        }
        for part in ["blocks", "table"].map(|part| path.join(part)) {
            std::fs::create_dir_all(&part).map_err(|source| Error::io(&part, source))?;
        }
        write_atomically(&config, |out| out.write_all(text.as_bytes()))?;
        Ok(Self(path.to_path_buf()))
    }

    /// The table, as `evolve-space --lut` takes it.
    pub fn table(&self) -> PathBuf {
        self.0.join("table")
    }

    /// The hyperspace of the table, with what stem, first stage and head take.
    ///
    /// # Errors
    /// The table is not finished, or the file is damaged.
    pub fn space(&self) -> Result<Hyperspace> {
        Hyperspace::load(&self.table().join("space.ron"))
    }
}

/// Makes the table of blocks, or what is missing of it; what the teacher reaches.
///
/// # Errors
/// An interrupt (what is finished is kept), or whatever a step fails with.
pub fn make_blocks(
    settings: &BlockSettings,
    folder: &BlockFolder,
    target: &Target,
    (threads, session): (usize, &Session),
) -> Result<TeacherResult> {
    let path = &folder.0;
    let mut space = settings.space.clone();
    let ends = ends_ms(target, &space)?;
    let (network, teacher, reached) = teacher(settings, &path.join("teacher"), session)?;
    let work = Work { settings, path, target, network: &network, teacher: &teacher };
    let mut images = None;
    for stage in 0..space.stages.len() {
        let missing = work.missing(stage)?;
        if !missing.is_empty() {
            if images.is_none() {
                images = Some(TeacherImages::load(settings, &network, session)?);
            }
            if let Some(images) = &images {
                work.stage(stage, &missing, images, (scoring_threads(threads, session.device), session))?;
            }
        }
    }
    space.resolutions.iter_mut().for_each(|resolution| resolution.ends_ms = Some(ends));
    let text = ron_text::text(&space)?;
    write_atomically(folder.table().join("space.ron"), |out| out.write_all(text.as_bytes()))?;
    Ok(reached)
}

struct Work<'a> {
    settings: &'a BlockSettings,
    path: &'a Path,
    target: &'a Target,
    network: &'a Network,
    teacher: &'a Folded,
}

/// Windows of a place whose files are missing.
struct Missing {
    place: BlockPlace,
    windows: Vec<usize>,
}

impl Work<'_> {
    fn missing(&self, stage: usize) -> Result<Vec<Missing>> {
        let windows = self.settings.space.stages[stage].windows();
        let of = |kind| {
            let place = BlockPlace::new(stage, kind, self.network);
            let windows: Vec<usize> =
                (0..windows).filter(|&window| !cell_file(self.path, &place, window).is_file()).collect();
            Missing { place, windows }
        };
        let places = (0..self.settings.space.blocks.len()).map(of).filter(|missing| !missing.windows.is_empty());
        Ok(places.collect())
    }

    /// Trains a stage's block types and writes its files.
    fn stage(
        &self,
        stage: usize,
        missing: &[Missing],
        images: &TeacherImages,
        (threads, session): (usize, &Session),
    ) -> Result<()> {
        let settings = self.settings;
        let features = images.features(self.teacher, self.network, stage, settings.judging);
        let go_on = || !crate::interrupt::requested();
        let trainings: Vec<(BlockPlace, u64)> = missing
            .iter()
            .flat_map(|missing| (0..settings.seeds).map(|seed| (missing.place, seed)))
            .filter(|(place, seed)| !place.file(self.path, *seed).is_file())
            .collect();
        let progress = Progress::new(&format!("blocks of stage {}", stage + 1), trainings.len() as u64, session.quiet);
        let train = |features: &Features, (place, seed): &(BlockPlace, u64)| {
            train_place(place, *seed, features, settings, self.path)
        };
        in_order(
            threads,
            &trainings,
            || features.shallow_clone(),
            train,
            &go_on,
            |trained: Result<Trained>| {
                progress.step(1);
                self.list(&trained?)
            },
        )?;
        progress.finish();
        let how = "finished blocks are kept; the same command goes on";
        session.check_interrupt(how)?;
        let cells: Vec<(BlockPlace, usize)> =
            missing.iter().flat_map(|missing| missing.windows.iter().map(|&window| (missing.place, window))).collect();
        let progress = Progress::new(&format!("rows of stage {}", stage + 1), cells.len() as u64, session.quiet);
        let judge = |features: &Features, (place, window): &(BlockPlace, usize)| -> Result<()> {
            let weights = (0..settings.seeds).map(|seed| place.read(settings, self.path, seed));
            let weights = weights.collect::<Result<Vec<Weights>>>()?;
            write_cell((place, *window), &weights, features, (settings, self.target), self.path)
        };
        in_order(
            threads,
            &cells,
            || features.shallow_clone(),
            judge,
            &go_on,
            |done| {
                progress.step(1);
                done
            },
        )?;
        progress.finish();
        session.check_interrupt(how)
    }

    /// Adds a training to `blocks.csv`.
    fn list(&self, trained: &Trained) -> Result<()> {
        let path = self.path.join("blocks.csv");
        let mut text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut writer = csv::WriterBuilder::new().has_headers(text.is_empty()).from_writer(Vec::new());
        let fault = |error: String| Error::bad_file(&path, error);
        writer.serialize(trained).map_err(|error| fault(error.to_string()))?;
        let row = writer.into_inner().map_err(|error| fault(error.to_string()))?;
        text += &String::from_utf8_lossy(&row);
        write_atomically(&path, |out| out.write_all(text.as_bytes()))
    }
}
