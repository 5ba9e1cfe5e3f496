//! A sheet of SVG: plotters' backend behind the few shapes that the picture needs. Coordinates are whole pixels.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::drawing::IntoDrawingArea;
use plotters::element::Circle;
use plotters::element::PathElement;
use plotters::element::Polygon;
use plotters::element::Rectangle;
use plotters::style::Color;
use plotters::style::FontDesc;
use plotters::style::FontFamily;
use plotters::style::FontStyle;
use plotters::style::FontTransform;
use plotters::style::RGBAColor;
use plotters::style::ShapeStyle;
use plotters::style::text_anchor::HPos;
use plotters::style::text_anchor::Pos;
use plotters::style::text_anchor::VPos;

use crate::error::Error;
use crate::error::Result;

/// A point: pixels from the left and from the top.
pub(super) type Pixel = (i32, i32);

/// Plotters shrinks every font by this factor in SVG.
const SVG_FONT: f64 = 1.24;

/// How a text looks.
#[derive(Clone, Copy)]
pub(super) struct Lettering {
    pub size: f64,
    pub color: RGBAColor,
    pub bold: bool,
    pub align: HPos,
    pub upright: bool,
}

impl Lettering {
    pub(super) fn new(size: f64, color: RGBAColor) -> Self {
        Self { size, color, bold: false, align: HPos::Left, upright: true }
    }

    /// Width and height of a text, on the generous side: SVG leaves the font to the viewer.
    pub(super) fn extent(&self, text: &str) -> Pixel {
        let letter = if self.bold { 0.62 } else { 0.57 };
        ((letter * self.size * text.chars().count() as f64).ceil() as i32, (self.size * 1.15).ceil() as i32)
    }
}

/// The sheet.
pub(super) struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

impl<'a> Canvas<'a> {
    /// A sheet of `size` pixels whose SVG text goes to `text`.
    pub(super) fn new(text: &'a mut String, size: (u32, u32)) -> Self {
        Self(SVGBackend::with_string(text, size).into_drawing_area())
    }

    pub(super) fn line(&self, points: &[Pixel], color: RGBAColor, width: u32) -> Result<()> {
        done(self.0.draw(&PathElement::new(points.to_vec(), color.stroke_width(width))))
    }

    pub(super) fn polygon(&self, points: &[Pixel], color: RGBAColor) -> Result<()> {
        done(self.0.draw(&Polygon::new(points.to_vec(), color.filled())))
    }

    pub(super) fn dot(&self, at: Pixel, radius: u32, color: RGBAColor) -> Result<()> {
        done(self.0.draw(&Circle::new(at, radius, color.filled())))
    }

    pub(super) fn ring(&self, at: Pixel, radius: u32, color: RGBAColor) -> Result<()> {
        done(self.0.draw(&Circle::new(at, radius, color.stroke_width(2))))
    }

    pub(super) fn rectangle(&self, corners: [Pixel; 2], color: RGBAColor) -> Result<()> {
        done(self.0.draw(&Rectangle::new(corners, ShapeStyle::from(color).filled())))
    }

    /// A text whose vertical middle is at `at`.
    pub(super) fn text(&self, text: &str, at: Pixel, look: Lettering) -> Result<()> {
        let style = if look.bold { FontStyle::Bold } else { FontStyle::Normal };
        let turn = if look.upright { FontTransform::None } else { FontTransform::Rotate270 };
        let font = FontDesc::new(FontFamily::SansSerif, look.size * SVG_FONT, style).transform(turn);
        done(self.0.draw_text(text, &font.color(&look.color).pos(Pos::new(look.align, VPos::Center)), at))
    }

    /// Writes the end of the SVG text.
    pub(super) fn finish(self) -> Result<()> {
        done(self.0.present())
    }
}

fn done<E: std::fmt::Display>(drawn: std::result::Result<(), E>) -> Result<()> {
    drawn.map_err(|error| Error::Failed(format!("drawing the front: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_become_svg_at_their_coordinates() {
        let ink = RGBAColor(0, 114, 178, 0.5);
        let mut text = String::new();
        let canvas = Canvas::new(&mut text, (30, 20));
        canvas.dot((3, 4), 2, ink).unwrap();
        canvas.line(&[(1, 2), (5, 2)], ink, 3).unwrap();
        canvas.text("a < b", (7, 8), Lettering { bold: true, ..Lettering::new(12.0, ink) }).unwrap();
        canvas.finish().unwrap();
        for part in [
            r#"<svg width="30" height="20""#,
            r##"<circle cx="3" cy="4" r="2" opacity="0.5" fill="#0072B2""##,
            r#"stroke-width="3" points="1,2 5,2 "/>"#,
            r#"font-size="12""#,
            r#"font-weight="bold""#,
            "a &lt; b",
            "</svg>",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
