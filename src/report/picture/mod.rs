//! The front as a picture: SVG text, the same bytes for the same front.

mod axis;
mod canvas;
mod captions;
mod draw;
mod fronts;
mod heat_map;
mod labels;
mod legend;
mod scatter;
mod sheet;

pub use draw::picture;
pub use fronts::{FrontGroup, FrontPoint, fronts};
pub use heat_map::{HeatLook, HeatRow, drawn_heat_map, heat_map};
pub use scatter::scatter;
