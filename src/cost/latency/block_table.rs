//! A table of a hyperspace's blocks, as SpaceEvo's authors published two (microsoft/Moonlit, `data/block_lut`): for every stage,
//! block type and window of widths a file `stageS_B_W.csv` (stages from 1, the others from 0) of sub-stages that were drawn
//! at random, trained by block-wise distillation and timed.
//!
//! A row is `k#w#e_k#w#e...,1xCxHxW,loss,mmacs,mparams,ms`: the blocks, the input, the noise-to-signal loss against the teacher, and the
//! predicted INT8 latency; no header.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::cost::layers_macs;
use crate::error::{Error, Result};
use crate::network::{Block, Shape, stage_layers};
use crate::space::{Hyperspace, SubStage};

/// The last digit in print of a row's million multiplications.
const LAST_DIGIT: f32 = 1e-4;
/// That column is a sum in float32 over the layers: rounding errors that it may have gathered.
const SUM_ERRORS: f32 = 4.0;

/// Loss and latency of one sub-stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Noise to signal of the stage's output against the teacher's; adds up over stages.
    pub loss: f32,
    /// Latency in ms; adds up over stages.
    pub latency_ms: f32,
}

/// The sub-stages of one stage, block type and window: a list for each resolution of the hyperspace, none of them empty.
pub type Cell = Vec<Vec<Measured>>;

/// A table of blocks.
#[derive(Clone, Debug)]
pub struct BlockTable {
    /// Cells of each stage: all windows of the first block type, then those of the next.
    pub stages: Vec<Vec<Cell>>,
    /// Latency in ms of stem, first stage and head, for each resolution.
    pub ends_ms: Vec<f32>,
    /// Number of rows.
    pub rows: usize,
}

/// A row as a file has it.
///
/// # Errors
/// A loss or latency that is not above 0.
pub fn block_row(stage: &SubStage, input: Shape, measured: Measured) -> Result<String> {
    let Measured { loss, latency_ms } = measured;
    for (key, value) in [("loss", loss), ("latency_ms", latency_ms)] {
        if !(value > 0.0 && value.is_finite()) {
            return Err(Error::bad_value(key, value, format!("of {}: expected a number above 0", stage.code())));
        }
    }
    let layers = stage_layers(input, &stage.blocks);
    let mmacs = layers_macs(&layers, input) as f64 / 1e6;
    let parameters = layers.iter().filter_map(|layer| Some(layer.op.weight_shape()?.iter().product::<usize>()));
    let mparams = parameters.sum::<usize>() as f64 / 1e6;
    let Shape { c, h, w } = input;
    Ok(format!("{},1x{c}x{h}x{w},{loss:.6},{mmacs:.4},{mparams:.6},{latency_ms:.6}\n", stage.code()))
}

/// One row of a file.
struct Row {
    blocks: Vec<Block>,
    input: Shape,
    measured: Measured,
    mmacs: f32,
}

/// Where a cell belongs.
#[derive(Clone, Copy)]
struct Place<'a> {
    space: &'a Hyperspace,
    stage: usize,
    kind: usize,
    window: usize,
}

impl BlockTable {
    /// Reads a folder.
    ///
    /// # Errors
    /// The folder or a file is missing, a row is damaged or not of the hyperspace (file and line are named), a resolution
    /// has no row, or the hyperspace does not say what stem and head take.
    pub fn load(folder: &Path, space: &Hyperspace) -> Result<Self> {
        let ends_ms = ends_ms(space)?;
        let read: Vec<Result<(Cell, usize)>> = places(folder, space)?
            .into_par_iter()
            .map(|(place, path)| {
                let mut cell: Cell = vec![Vec::new(); space.resolutions.len()];
                let rows = each_row(place, &path, |row| {
                    for (list, resolution) in cell.iter_mut().zip(&space.resolutions) {
                        if place.side(resolution.side) == row.input.h {
                            list.push(row.measured);
                        }
                    }
                    Ok(())
                })?;
                match cell.iter().position(Vec::is_empty) {
                    Some(at) => {
                        let side = space.resolutions[at].side;
                        Err(Error::bad_file(&path, format!("no row for images of {side} pixels")))
                    }
                    None => Ok((cell, rows)),
                }
            })
            .collect();
        let (mut stages, mut rows): (Vec<Vec<Cell>>, usize) = (Vec::new(), 0);
        let mut cells = read.into_iter();
        for stage in &space.stages {
            let own = cells.by_ref().take(space.blocks.len() * stage.windows()).collect::<Result<Vec<_>>>()?;
            rows += own.iter().map(|(_, rows)| rows).sum::<usize>();
            stages.push(own.into_iter().map(|(cell, _)| cell).collect());
        }
        Ok(Self { stages, ends_ms, rows })
    }

    /// Counts the multiplications of every row's layers and compares them with the row's column; the number of rows.
    ///
    /// # Errors
    /// As [`BlockTable::load`], and [`Error::Unverified`] for the first row that differs by more than the rounding of
    /// float32 sums.
    pub fn verify_macs(folder: &Path, space: &Hyperspace) -> Result<usize> {
        let check = |(place, path): (Place, PathBuf)| {
            let mut line = 0;
            each_row(place, &path, |row| {
                line += 1;
                let macs = layers_macs(&stage_layers(row.input, &row.blocks), row.input);
                let counted = (macs as f64 / 1e6) as f32;
                if (counted - row.mmacs).abs() <= LAST_DIGIT / 2.0 + SUM_ERRORS * row.mmacs * f32::EPSILON {
                    return Ok(());
                }
                let (path, told) = (path.display(), row.mmacs);
                Err(Error::Unverified(format!("{path}:{line}: {told} million multiplications, counted {counted}")))
            })
        };
        let counts: Vec<Result<usize>> = places(folder, space)?.into_par_iter().map(check).collect();
        counts.into_iter().sum()
    }

    /// The least latency in ms that any network of any space can have: the fastest sub-stage of every stage, added up.
    pub fn least_ms(&self) -> f32 {
        let fastest = |cell: &Cell, at: usize| cell[at].iter().map(|row| row.latency_ms).fold(f32::INFINITY, f32::min);
        let stage = |cells: &Vec<Cell>, at| cells.iter().map(|cell| fastest(cell, at)).fold(f32::INFINITY, f32::min);
        let total = |(at, ends): (usize, &f32)| ends + self.stages.iter().map(|cells| stage(cells, at)).sum::<f32>();
        self.ends_ms.iter().enumerate().map(total).fold(f32::INFINITY, f32::min)
    }
}

/// What stem, first stage and head take at each resolution.
fn ends_ms(space: &Hyperspace) -> Result<Vec<f32>> {
    let given = |resolution: &crate::space::Resolution| {
        let why = || {
            let key = format!("ends_ms of {} pixels in {}", resolution.side, space.name);
            Error::missing_option(&key, "is not given: measure stem, first stage and head of the smallest network")
        };
        resolution.ends_ms.map(|ms| ms as f32).ok_or_else(why)
    };
    space.resolutions.iter().map(given).collect()
}

/// Every cell of a hyperspace with its file, stage by stage and type by type.
fn places<'a>(folder: &Path, space: &'a Hyperspace) -> Result<Vec<(Place<'a>, PathBuf)>> {
    let entries = std::fs::read_dir(folder).map_err(|source| Error::io(folder, source))?;
    drop(entries);
    let mut all = Vec::with_capacity(space.cells());
    for (stage, choice) in space.stages.iter().enumerate() {
        for kind in 0..space.blocks.len() {
            for window in 0..choice.windows() {
                let path = folder.join(format!("stage{}_{kind}_{window}.csv", stage + 1));
                if !path.is_file() {
                    let what = format!("no such file; a table of {} has {} files", space.name, space.cells());
                    return Err(Error::bad_file(path, what));
                }
                all.push((Place { space, stage, kind, window }, path));
            }
        }
    }
    Ok(all)
}

/// Hands every row of a file to `take`; the number of rows.
fn each_row(place: Place, path: &Path, mut take: impl FnMut(Row) -> Result<()>) -> Result<usize> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
    let mut rows = 0;
    for (index, line) in text.lines().enumerate() {
        let row = place.row(line);
        take(row.map_err(|what| Error::bad_file(format!("{}:{}", path.display(), index + 1), what))?)?;
        rows += 1;
    }
    Ok(rows)
}

impl Place<'_> {
    /// Side of what the stage reads, for an image's side.
    fn side(&self, image: usize) -> usize {
        image.div_ceil(self.space.reduction(self.stage))
    }

    /// A line as a row, or what is wrong with it.
    fn row(&self, line: &str) -> std::result::Result<Row, String> {
        let mut fields = line.trim_end().split(',');
        let mut next = || fields.next().ok_or_else(|| "fewer than 6 fields; is the file cut off?".to_owned());
        let (code, input) = (next()?, next()?);
        let loss = positive("loss", next()?)?;
        let mmacs = positive("multiplications", next()?)?;
        positive("parameters", next()?)?;
        let latency_ms = positive("latency", next()?)?;
        if fields.next().is_some() {
            return Err("more than 6 fields".to_owned());
        }
        let (blocks, input) = (self.blocks(code)?, self.input(input)?);
        Ok(Row { blocks, input, measured: Measured { loss, latency_ms }, mmacs })
    }

    fn blocks(&self, code: &str) -> std::result::Result<Vec<Block>, String> {
        let (stage, choice) = (&self.space.stages[self.stage], &self.space.blocks[self.kind]);
        let mut blocks = Vec::with_capacity(stage.depths.1);
        for part in code.split('_') {
            let refuse = || format!("block `{part}`: expected kernel#width#expansion");
            let (kernel, rest) = part.split_once('#').ok_or_else(refuse)?;
            let (width, expansion) = rest.split_once('#').ok_or_else(refuse)?;
            let (kernel, width) = (kernel.parse().map_err(|_| refuse())?, width.parse().map_err(|_| refuse())?);
            let expansion = match expansion {
                "None" => None,
                factor => Some(factor.parse().map_err(|_| refuse())?),
            };
            let block = choice.block(kernel, stage.window(self.window), width, expansion)?;
            blocks.push(Block { stride: if blocks.is_empty() { stage.stride } else { 1 }, ..block });
        }
        let (fewest, most) = stage.depths;
        if (fewest..=most).contains(&blocks.len()) {
            return Ok(blocks);
        }
        Err(format!("{} blocks where the stage has {fewest} to {most}", blocks.len()))
    }

    fn input(&self, text: &str) -> std::result::Result<Shape, String> {
        let refuse = || format!("input `{text}`: expected 1xCxHxW");
        let sizes: Option<Vec<usize>> = text.split('x').map(|size| size.parse().ok()).collect();
        let Some([1, c, h, w]) = sizes.as_deref() else { return Err(refuse()) };
        let before = match self.stage.checked_sub(1) {
            Some(stage) => &self.space.stages[stage].widths,
            None => &self.space.first.widths,
        };
        if !before.contains(c) {
            return Err(format!("input `{text}`: the stage before has widths {before:?}"));
        }
        let sides = || self.space.resolutions.iter().map(|resolution| self.side(resolution.side));
        if h != w || !sides().any(|side| side == *h) {
            return Err(format!("input `{text}`: maps here have {:?} pixels a side", sides().collect::<Vec<_>>()));
        }
        Ok(Shape { c: *c, h: *h, w: *w })
    }
}

/// A number above 0.
fn positive(what: &str, text: &str) -> std::result::Result<f32, String> {
    let number: Option<f32> = text.parse().ok();
    number
        .filter(|number| *number > 0.0 && number.is_finite())
        .ok_or_else(|| format!("{what} `{text}`: expected a number above 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of the small hyperspace: one row a resolution and file, timed at `ms`.
    fn small_table(ms: f32) -> (tempfile::TempDir, Hyperspace) {
        let mut space = Hyperspace::shipped("smallw").unwrap();
        for resolution in &mut space.resolutions {
            resolution.ends_ms = Some(0.5);
        }
        let folder = tempfile::tempdir().unwrap();
        for (place, path) in places_unchecked(folder.path(), &space) {
            let width = space.stages[place.stage].window(place.window)[0];
            let before = if place.stage == 0 { space.first.widths[0] } else { space.stages[place.stage - 1].widths[0] };
            let choice = &space.blocks[place.kind];
            let factor = choice.expansions[0];
            let line = |side: usize| {
                let input = Shape { c: before, h: place.side(side), w: place.side(side) };
                let block = choice.block(3, &[width], width, Some(factor)).unwrap();
                let block = Block { stride: space.stages[place.stage].stride, ..block };
                let macs = layers_macs(&stage_layers(input, &[block]), input) as f64 / 1e6;
                let (h, c) = (input.h, input.c);
                format!("3#{width}#{factor},1x{c}x{h}x{h},0.5,{macs:.4},0.1,{ms}\n")
            };
            std::fs::write(path, space.resolutions.iter().map(|r| line(r.side)).collect::<String>()).unwrap();
        }
        (folder, space)
    }

    fn places_unchecked<'a>(folder: &Path, space: &'a Hyperspace) -> Vec<(Place<'a>, PathBuf)> {
        let mut all = Vec::new();
        for (stage, choice) in space.stages.iter().enumerate() {
            for kind in 0..space.blocks.len() {
                for window in 0..choice.windows() {
                    let path = folder.join(format!("stage{}_{kind}_{window}.csv", stage + 1));
                    all.push((Place { space, stage, kind, window }, path));
                }
            }
        }
        all
    }

    #[test]
    fn a_table_is_read_cell_by_cell() {
        let (folder, space) = small_table(0.25);
        let table = BlockTable::load(folder.path(), &space).unwrap();
        assert_eq!(table.rows, 2 * 48);
        assert_eq!(table.stages.iter().map(Vec::len).collect::<Vec<_>>(), [12; 4]);
        // Maps of 28 and 32 pixels have 4 a side behind a reduction of 8: there a row counts for both.
        assert_eq!([0, 3].map(|stage: usize| table.stages[stage][0][0].len()), [1, 2]);
        assert!((table.least_ms() - (0.5 + 4.0 * 0.25)).abs() < 1e-6);
        assert_eq!(BlockTable::verify_macs(folder.path(), &space).unwrap(), 96);
    }

    #[test]
    fn damage_is_named_with_its_file_and_line() {
        let (folder, space) = small_table(0.25);
        let path = folder.path().join("stage2_1_2.csv");
        let sound = std::fs::read_to_string(&path).unwrap();
        let damaged = |line: &str| {
            let first = sound.lines().next().unwrap();
            std::fs::write(&path, format!("{first}\n{line}\n")).unwrap();
            BlockTable::load(folder.path(), &space).unwrap_err().to_string()
        };
        for (line, part) in [
            ("3#32#3,1x8x14x14,0.5,1.0", "fewer than 6 fields"),
            ("3#32#3,1x8x14x14,0.5,1.0,0.1,0.2,0.3", "more than 6 fields"),
            ("3#32#3,1x8x14x14,0.5,1.0,0.1,-0.2", "latency `-0.2`"),
            ("3#32#3,1x8x14x14,NaN,1.0,0.1,0.2", "loss `NaN`"),
            ("3#32#3,1x8x14x14,0.5,x,0.1,0.2", "multiplications `x`"),
            ("3#32,1x8x14x14,0.5,1.0,0.1,0.2", "block `3#32`: expected kernel#width#expansion"),
            ("7#32#3,1x8x14x14,0.5,1.0,0.1,0.2", "kernel 7 of MBv3 is not among [3, 5]"),
            ("3#16#3,1x8x14x14,0.5,1.0,0.1,0.2", "width 16 is not among [32, 40]"),
            ("3#32#None,1x8x14x14,0.5,1.0,0.1,0.2", "expansion none of MBv3"),
            ("3#32#3,1x9x14x14,0.5,1.0,0.1,0.2", "the stage before has widths [8, 16, 24, 32]"),
            ("3#32#3,1x8x15x15,0.5,1.0,0.1,0.2", "maps here have [14, 16] pixels"),
            ("3#32#3,8x14x14,0.5,1.0,0.1,0.2", "expected 1xCxHxW"),
            ("3#32#3_3#32#3_3#32#3_3#32#3,1x8x14x14,0.5,1.0,0.1,0.2", "4 blocks where the stage has 1 to 3"),
        ] {
            let message = damaged(line);
            assert!(message.contains("stage2_1_2.csv:2: ") && message.contains(part), "{message}");
        }
        std::fs::write(&path, sound.lines().next().unwrap()).unwrap();
        let message = BlockTable::load(folder.path(), &space).unwrap_err().to_string();
        assert!(message.contains("stage2_1_2.csv: no row for images of 32 pixels"), "{message}");
        std::fs::remove_file(&path).unwrap();
        let message = BlockTable::load(folder.path(), &space).unwrap_err().to_string();
        assert!(message.contains("stage2_1_2.csv: no such file; a table of smallw has 48 files"), "{message}");
        let gone = BlockTable::load(&folder.path().join("gone"), &space).unwrap_err();
        assert!(gone.to_string().contains("gone") && gone.exit_code() == 2);
    }

    #[test]
    fn a_wrong_count_of_multiplications_is_found() {
        let (folder, space) = small_table(0.25);
        let path = folder.path().join("stage3_0_0.csv");
        let text = std::fs::read_to_string(&path).unwrap();
        let macs = text.lines().nth(1).unwrap().split(',').nth(3).unwrap().to_owned();
        let more = format!("{:.4}", macs.parse::<f64>().unwrap() + 0.0002);
        std::fs::write(&path, text.replace(&macs, &more)).unwrap();
        let error = BlockTable::verify_macs(folder.path(), &space).unwrap_err();
        assert!(error.to_string().contains("stage3_0_0.csv:") && error.exit_code() == 4, "{error}");
    }

    #[test]
    fn a_hyperspace_without_times_of_its_ends_says_so() {
        let (folder, mut space) = small_table(0.25);
        space.resolutions[1].ends_ms = None;
        let message = BlockTable::load(folder.path(), &space).unwrap_err().to_string();
        assert!(message.contains("ends_ms of 32 pixels in smallw: is not given"), "{message}");
    }
}
