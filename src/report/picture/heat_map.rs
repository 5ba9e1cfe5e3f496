//! A heat map, red to white to blue; of ratios: white at 1, blue above, red below.

use plotters::style::RGBAColor;
use plotters::style::text_anchor::HPos;

use super::canvas::{Canvas, Lettering};
use super::sheet::{GREY_INK, INK};
use crate::error::{Error, Result};

/// Height of a cell.
const HEIGHT: i32 = 24;
const LEFT: i32 = 190;
const TOP: i32 = 84;
const PAPER: RGBAColor = RGBAColor(255, 255, 255, 1.0);
const EMPTY: RGBAColor = RGBAColor(240, 240, 240, 1.0);

/// The ratio that gets the full colour, and its inverse.
const FULL: f64 = 4.0;

/// A row of the map: its name, and a number for each column where there is one.
pub type HeatRow = (String, Vec<Option<f64>>);

/// How the numbers of a map look.
pub struct HeatLook<'a> {
    /// Width of a cell in pixels.
    pub cell: i32,
    /// A number as its cell writes it.
    pub text: &'a dyn Fn(f64) -> String,
    /// Its colour: -1 red, 0 white, 1 blue.
    pub share: &'a dyn Fn(f64) -> f64,
}

/// SVG text of rows of ratios.
///
/// # Errors
/// No row, or a ratio that is not above 0.
pub fn heat_map(title: &str, columns_title: &str, columns: &[String], rows: &[HeatRow]) -> Result<String> {
    if let Some(wrong) =
        rows.iter().flat_map(|(_, cells)| cells).flatten().find(|ratio| ratio.is_nan() || **ratio <= 0.0)
    {
        return Err(Error::bad_value("ratio to draw", wrong, "expected numbers above 0"));
    }
    let look = HeatLook { cell: 86, text: &|ratio| format!("{ratio:.2}x"), share: &share };
    drawn_heat_map(title, columns_title, columns, rows, &look)
}

/// SVG text of rows of any numbers.
///
/// # Errors
/// No row.
pub fn drawn_heat_map(
    title: &str,
    columns_title: &str,
    columns: &[String],
    rows: &[HeatRow],
    look: &HeatLook<'_>,
) -> Result<String> {
    if rows.is_empty() || columns.is_empty() {
        return Err(Error::bad_value("rows to draw", "none", "expected at least one"));
    }
    let size = (LEFT + look.cell * columns.len() as i32 + 24, TOP + HEIGHT * rows.len() as i32 + 24);
    // Room for the title however few columns there are.
    let width = size.0.max(24 + Lettering::new(15.0, INK).extent(title).0);
    let mut text = String::new();
    let canvas = Canvas::new(&mut text, (width as u32, size.1 as u32));
    canvas.rectangle([(0, 0), (width, size.1)], PAPER)?;
    canvas.text(title, (14, 22), Lettering { bold: true, ..Lettering::new(15.0, INK) })?;
    let small = Lettering::new(12.0, GREY_INK);
    let middle = LEFT + look.cell * columns.len() as i32 / 2;
    canvas.text(columns_title, (middle, TOP - 34), Lettering { align: HPos::Center, ..small })?;
    let centre = |column: usize| LEFT + look.cell * column as i32 + look.cell / 2;
    for (at, column) in columns.iter().enumerate() {
        canvas.text(column, (centre(at), TOP - 14), Lettering { align: HPos::Center, ..small })?;
    }
    for (row, (name, cells)) in rows.iter().enumerate() {
        let top = TOP + HEIGHT * row as i32;
        let middle = top + HEIGHT / 2;
        canvas.text(name, (LEFT - 10, middle), Lettering { align: HPos::Right, ..Lettering::new(12.0, INK) })?;
        for at in 0..columns.len() {
            let left = LEFT + look.cell * at as i32;
            let corners = [(left + 1, top + 1), (left + look.cell - 1, top + HEIGHT - 1)];
            match cells.get(at).copied().flatten() {
                None => canvas.rectangle(corners, EMPTY)?,
                Some(value) => {
                    let share = (look.share)(value);
                    canvas.rectangle(corners, color(share))?;
                    let ink = if share.abs() > 0.6 { PAPER } else { INK };
                    let lettering = Lettering { align: HPos::Center, ..Lettering::new(12.0, ink) };
                    canvas.text(&(look.text)(value), (centre(at), middle), lettering)?;
                }
            }
        }
    }
    canvas.finish()?;
    Ok(text)
}

/// -1 at 1 / `FULL`, 0 at 1, 1 at `FULL`.
fn share(ratio: f64) -> f64 {
    (ratio.ln() / FULL.ln()).clamp(-1.0, 1.0)
}

/// From white to Okabe and Ito's blue or vermilion.
fn color(share: f64) -> RGBAColor {
    let full = if share > 0.0 { [0.0, 114.0, 178.0] } else { [213.0, 94.0, 0.0] };
    let [r, g, b] = full.map(|end| (255.0 + share.abs() * (end - 255.0)).round() as u8);
    RGBAColor(r, g, b, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_white_and_the_ends_have_the_full_colours() {
        let rgb = |ratio: f64| {
            let RGBAColor(r, g, b, _) = color(share(ratio));
            (r, g, b)
        };
        assert_eq!(
            (rgb(1.0), rgb(4.0), rgb(9.0), rgb(0.25)),
            ((255, 255, 255), (0, 114, 178), (0, 114, 178), (213, 94, 0))
        );
    }

    #[test]
    fn every_ratio_is_written_and_gaps_are_left() {
        let rows = [("a".to_owned(), vec![Some(2.0), None]), ("b".to_owned(), vec![Some(0.5), Some(1.0)])];
        let svg = heat_map("t", "columns", &["x".into(), "y".into()], &rows).unwrap();
        for ratio in ["2.00x", "0.50x", "1.00x"] {
            assert!(svg.contains(ratio));
        }
        // Paper and four cells.
        assert_eq!(svg.matches("<rect").count(), 5);
        assert!(heat_map("t", "c", &[], &[]).is_err());
    }
}
