//! Predicted against measured: a point a network, a colour a group, the diagonal and a tenth on both sides of it.

use plotters::style::RGBAColor;
use plotters::style::text_anchor::HPos;

use super::axis::{Axis, log_ticks};
use super::canvas::{Canvas, Lettering};
use super::labels::Frame;
use super::sheet::{GREY_INK, INK};
use crate::error::{Error, Result};

const SIZE: (u32, u32) = (640, 600);
const PLOT: Frame = Frame { left: 76, top: 54, right: 616, bottom: 534 };
pub(super) const PAPER: RGBAColor = RGBAColor(255, 255, 255, 1.0);
pub(super) const GRID: RGBAColor = RGBAColor(232, 232, 232, 1.0);

/// Colours of Okabe and Ito, "Color universal design", 2008.
pub(super) const COLORS: [RGBAColor; 7] = [
    RGBAColor(0, 114, 178, 0.75),
    RGBAColor(213, 94, 0, 0.75),
    RGBAColor(0, 158, 115, 0.75),
    RGBAColor(204, 121, 167, 0.75),
    RGBAColor(86, 180, 233, 0.75),
    RGBAColor(230, 159, 0, 0.75),
    RGBAColor(90, 90, 90, 0.75),
];

/// SVG text of the groups' points on equal logarithmic axes.
///
/// # Errors
/// No point, or one that is not above 0.
pub fn scatter(x_title: &str, y_title: &str, groups: &[(String, Vec<(f64, f64)>)]) -> Result<String> {
    let values: Vec<f64> = groups.iter().flat_map(|(_, points)| points).flat_map(|&(x, y)| [x, y]).collect();
    if let Some(wrong) = values.iter().find(|value| !(**value > 0.0 && value.is_finite())) {
        return Err(Error::bad_value("point to draw", wrong, "expected numbers above 0"));
    }
    let low = values.iter().copied().fold(f64::INFINITY, f64::min) / 1.15;
    let high = values.iter().copied().fold(0.0, f64::max) * 1.15;
    if values.is_empty() {
        return Err(Error::bad_value("points to draw", "none", "expected at least one"));
    }
    let ends = (low.ln(), high.ln());
    let x = Axis::new(ends, (PLOT.left, PLOT.right));
    let y = Axis::new(ends, (PLOT.bottom, PLOT.top));
    let mut text = String::new();
    let canvas = Canvas::new(&mut text, SIZE);
    canvas.rectangle([(0, 0), (SIZE.0 as i32, SIZE.1 as i32)], PAPER)?;
    let small = Lettering::new(12.0, GREY_INK);
    for (tick, label) in log_ticks((low, high), 7) {
        let (right, up) = (x.place(tick.ln()), y.place(tick.ln()));
        canvas.line(&[(right, PLOT.top), (right, PLOT.bottom)], GRID, 1)?;
        canvas.line(&[(PLOT.left, up), (PLOT.right, up)], GRID, 1)?;
        canvas.text(&label, (right, PLOT.bottom + 16), Lettering { align: HPos::Center, ..small })?;
        canvas.text(&label, (PLOT.left - 9, up), Lettering { align: HPos::Right, ..small })?;
    }
    for (factor, color) in [(1.0, INK), (1.1, GREY_INK), (1.0 / 1.1, GREY_INK)] {
        // The part of y = factor x that lies within the frame.
        let (from, to) = (low.max(low / factor), high.min(high / factor));
        let end = |value: f64| (x.place(value.ln()), y.place((value * factor).ln()));
        canvas.line(&[end(from), end(to)], color, 1)?;
    }
    for ((_, points), color) in groups.iter().zip(COLORS.iter().cycle()) {
        for (measured, predicted) in points {
            canvas.dot((x.place(measured.ln()), y.place(predicted.ln())), 4, *color)?;
        }
    }
    let mut left = PLOT.left;
    for ((name, _), color) in groups.iter().zip(COLORS.iter().cycle()) {
        let look = Lettering::new(13.0, INK);
        canvas.dot((left + 5, 22), 5, *color)?;
        canvas.text(name, (left + 16, 22), look)?;
        left += 34 + look.extent(name).0;
    }
    canvas.text("thin lines: 10 % off", (PLOT.right, 42), Lettering { align: HPos::Right, ..small })?;
    let titles = Lettering { size: 13.0, color: INK, align: HPos::Center, ..small };
    canvas.text(x_title, (i32::midpoint(PLOT.left, PLOT.right), PLOT.bottom + 44), titles)?;
    let middle = (22, i32::midpoint(PLOT.top, PLOT.bottom));
    canvas.text(y_title, middle, Lettering { upright: false, ..titles })?;
    canvas.finish()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_drawn_and_the_diagonal_runs_from_corner_to_corner() {
        let groups = [("a".to_owned(), vec![(1.0, 1.1), (2.0, 1.9)]), ("b".to_owned(), vec![(0.5, 0.5)])];
        let svg = scatter("measured (ms)", "predicted (ms)", &groups).unwrap();
        // Three points and a legend of two.
        assert_eq!(svg.matches("<circle").count(), 5);
        assert!(svg.contains("76,534 616,54"), "{svg}");
        assert!(scatter("x", "y", &[]).is_err());
        assert!(scatter("x", "y", &[("a".into(), vec![(0.0, 1.0)])]).is_err());
    }
}
