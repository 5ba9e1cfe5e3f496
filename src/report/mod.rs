//! What a search found, for people and programs: the table, the picture, the JSON object, the comparison over seeds.
//!
//! The module has input types of its own ([`Front`], [`SeedFronts`]), so everything here is plain data and text.

mod compare;
mod front;
mod json;
mod markdown;
mod number;
mod picture;
mod table;

pub use compare::{Comparison, Difference, Hypervolumes, SeedFronts, compare, gain_at_equal_cost};
pub use front::{Entry, Front};
pub use json::json;
pub use markdown::markdown_table;
pub use picture::{FrontGroup, FrontPoint, HeatLook, HeatRow, drawn_heat_map, fronts, heat_map, picture, scatter};
pub use table::table;
