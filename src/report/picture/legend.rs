//! The markers of the picture and the line that explains them.

use plotters::style::RGBAColor;

use super::canvas::Canvas;
use super::canvas::Lettering;
use super::canvas::Pixel;
use crate::error::Result;

const BLUE: RGBAColor = RGBAColor(0, 114, 178, 1.0);
const VERMILLION: RGBAColor = RGBAColor(213, 94, 0, 1.0);
const PURPLE: RGBAColor = RGBAColor(204, 121, 167, 0.55);
const GREY: RGBAColor = RGBAColor(120, 120, 120, 0.35);
const WHITE: RGBAColor = RGBAColor(255, 255, 255, 1.0);

/// What a marker stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Symbol {
    /// A member of the front.
    Front,
    /// A member of a front of very many.
    Crowded,
    /// The knee, around its marker as a member of the front.
    Knee,
    /// A uniform format that nobody dominates.
    Uniform,
    /// A uniform format that is dominated.
    Dominated,
    /// An evaluated candidate.
    Searched,
    /// A network of the random search.
    Random,
    /// Something of that colour below the top-1 axis.
    Below(RGBAColor),
}

impl Symbol {
    pub(super) fn color(self) -> RGBAColor {
        match self {
            Self::Front | Self::Crowded | Self::Knee => BLUE,
            Self::Uniform | Self::Dominated => VERMILLION,
            Self::Searched => GREY,
            Self::Random => PURPLE,
            Self::Below(color) => color,
        }
    }

    /// Draws the marker around `at`; one below the axis points down at its edge.
    pub(super) fn draw(self, canvas: &Canvas, at: Pixel) -> Result<()> {
        let square = |radius: i32, color: RGBAColor| {
            canvas.rectangle([(at.0 - radius, at.1 - radius), (at.0 + radius, at.1 + radius)], color)
        };
        match self {
            Self::Front => {
                canvas.dot(at, 5, WHITE)?;
                canvas.dot(at, 4, BLUE)
            }
            Self::Crowded => canvas.dot(at, 3, BLUE),
            Self::Knee => canvas.ring(at, 9, BLUE),
            Self::Uniform => {
                square(7, WHITE)?;
                square(6, VERMILLION)
            }
            Self::Dominated => {
                let corners = [(-5, -5), (5, -5), (5, 5), (-5, 5), (-5, -6)];
                let corners = corners.map(|(x, y)| (at.0 + x, at.1 + y));
                canvas.line(&corners, WHITE, 4)?;
                canvas.line(&corners, VERMILLION, 2)
            }
            Self::Searched | Self::Random => canvas.dot(at, 3, self.color()),
            Self::Below(color) => canvas.polygon(&[(at.0 - 5, at.1 - 8), (at.0 + 5, at.1 - 8), at], color),
        }
    }
}

/// Draws the markers with their meaning in one line that begins at `start`.
pub(super) fn legend(canvas: &Canvas, start: Pixel, items: &[(Symbol, String)], look: Lettering) -> Result<()> {
    let mut left = start.0;
    for (symbol, text) in items {
        if *symbol == Symbol::Front {
            canvas.line(&[(left, start.1), (left + 24, start.1)], BLUE, 2)?;
            left += 6;
        }
        let middle = if matches!(symbol, Symbol::Below(_)) { start.1 + 4 } else { start.1 };
        symbol.draw(canvas, (left + 6, middle))?;
        left += if *symbol == Symbol::Front { 26 } else { 20 };
        canvas.text(text, (left, start.1), look)?;
        left += look.extent(text).0 + 14;
    }
    Ok(())
}
