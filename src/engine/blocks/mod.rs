//! A table of a hyperspace's blocks from one's own images (SpaceEvo, arXiv 2303.08308; research/spaceevo.md section 4): a
//! teacher, every stage and block type distilled from it, the noise of random sub-stages under int8, their latency from a
//! device's table.
//!
//! A folder holds `blocks.ron` (settings), `teacher/` (a training), `blocks/` (weights of each stage, type and seed),
//! `blocks.csv` (their losses) and `table/`, which `evolve-space --lut` reads. What is there is not made again.

mod cell;
mod features;
mod latency;
mod make;
mod proxy;
mod settings;
mod supernet;
mod teacher;

pub use latency::smallest_ms;
pub use make::{BlockFolder, make_blocks};
pub use proxy::stage_losses;
pub use settings::BlockSettings;
pub use teacher::{TeacherResult, teacher_model};
