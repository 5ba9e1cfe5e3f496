//! The front as a picture: SVG text, the same bytes for the same front.

mod axis;
mod canvas;
mod captions;
mod draw;
mod labels;
mod legend;
mod sheet;

pub use draw::picture;
