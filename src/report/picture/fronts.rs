//! Fronts of several searches over one cost: a line a front, a colour a group.

use plotters::style::RGBAColor;
use plotters::style::text_anchor::HPos;

use super::axis::{Axis, even_ticks, log_ticks, widened};
use super::canvas::{Canvas, Lettering, Pixel};
use super::labels::Frame;
use super::scatter::{COLORS, GRID, PAPER};
use super::sheet::{GREY_INK, INK};
use crate::error::{Error, Result};

const SIZE: (u32, u32) = (720, 480);
const PLOT: Frame = Frame { left: 76, top: 54, right: 696, bottom: 414 };
/// Limits are drawn as dashes of this many pixels, with gaps of as many.
const DASH: i32 = 6;
const DASH_INK: RGBAColor = RGBAColor(120, 120, 120, 1.0);

/// Half the width of the ends of an error bar, in pixels.
const SERIF: i32 = 3;

/// A point of a front.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrontPoint {
    /// Above 0.
    pub cost: f64,
    /// Its height.
    pub value: f64,
    /// Standard error of the height, drawn as a bar to both sides; 0 draws none.
    pub error: f64,
}

impl From<(f64, f64)> for FrontPoint {
    fn from((cost, value): (f64, f64)) -> Self {
        Self { cost, value, error: 0.0 }
    }
}

/// A group of fronts. One without fronts is not drawn, but takes its colour.
#[derive(Clone, Debug)]
pub struct FrontGroup {
    /// Its name.
    pub name: String,
    /// Fronts by rising cost.
    pub fronts: Vec<Vec<FrontPoint>>,
}

/// SVG text: cost on a logarithmic axis, value on an even one, and the limits on the cost.
///
/// # Errors
/// No point, or a cost that is not above 0.
pub fn fronts(x_title: &str, y_title: &str, groups: &[FrontGroup], limits: &[f64]) -> Result<String> {
    let points = || groups.iter().flat_map(|group| &group.fronts).flatten();
    let costs = || points().map(|point| point.cost).chain(limits.iter().copied());
    if let Some(wrong) = costs().find(|cost| !(*cost > 0.0 && cost.is_finite())) {
        return Err(Error::bad_value("cost to draw", wrong, "expected numbers above 0"));
    }
    if points().next().is_none() {
        return Err(Error::bad_value("points to draw", "none", "expected at least one"));
    }
    let ends =
        |values: &mut dyn Iterator<Item = f64>| values.fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
    let (low, high) = ends(&mut costs());
    let across = (low / 1.1, high * 1.1);
    let up = widened(
        ends(&mut points().flat_map(|point| [-1.0, 1.0].map(|sign| point.value + sign * point.error))),
        0.06,
        1.0,
    );
    let x = Axis::new((across.0.ln(), across.1.ln()), (PLOT.left, PLOT.right));
    let y = Axis::new(up, (PLOT.bottom, PLOT.top));
    let mut text = String::new();
    let canvas = Canvas::new(&mut text, SIZE);
    canvas.rectangle([(0, 0), (SIZE.0 as i32, SIZE.1 as i32)], PAPER)?;
    let small = Lettering::new(12.0, GREY_INK);
    for (tick, label) in log_ticks(across, 8) {
        let at = x.place(tick.ln());
        canvas.line(&[(at, PLOT.top), (at, PLOT.bottom)], GRID, 1)?;
        canvas.text(&label, (at, PLOT.bottom + 16), Lettering { align: HPos::Center, ..small })?;
    }
    for (tick, label) in even_ticks(up, 8) {
        let at = y.place(tick);
        canvas.line(&[(PLOT.left, at), (PLOT.right, at)], GRID, 1)?;
        canvas.text(&label, (PLOT.left - 9, at), Lettering { align: HPos::Right, ..small })?;
    }
    for limit in limits {
        let at = x.place(limit.ln());
        for from in (PLOT.top..PLOT.bottom).step_by(2 * DASH as usize) {
            canvas.line(&[(at, from), (at, from + DASH)], DASH_INK, 1)?;
        }
    }
    let mut left = PLOT.left;
    for (group, color) in groups.iter().zip(COLORS.iter().cycle()) {
        if group.fronts.is_empty() {
            continue;
        }
        for front in &group.fronts {
            draw(&canvas, (&x, &y), front, *color)?;
        }
        let look = Lettering::new(13.0, INK);
        canvas.dot((left + 5, 22), 5, *color)?;
        canvas.text(&group.name, (left + 16, 22), look)?;
        left += 34 + look.extent(&group.name).0;
    }
    let titles = Lettering { size: 13.0, color: INK, align: HPos::Center, ..small };
    canvas.text(x_title, (i32::midpoint(PLOT.left, PLOT.right), PLOT.bottom + 44), titles)?;
    canvas.text(y_title, (22, i32::midpoint(PLOT.top, PLOT.bottom)), Lettering { upright: false, ..titles })?;
    canvas.finish()?;
    Ok(text)
}

/// A front as a line with dots and its errors as bars.
fn draw(canvas: &Canvas, (x, y): (&Axis, &Axis), front: &[FrontPoint], color: RGBAColor) -> Result<()> {
    let path: Vec<Pixel> = front.iter().map(|point| (x.place(point.cost.ln()), y.place(point.value))).collect();
    canvas.line(&path, color, 1)?;
    path.iter().try_for_each(|&at| canvas.dot(at, 3, color))?;
    for (point, (across, _)) in front.iter().zip(&path).filter(|(point, _)| point.error > 0.0) {
        let ends = [-1.0, 1.0].map(|sign| y.place(point.value + sign * point.error));
        canvas.line(&ends.map(|end| (*across, end)), color, 1)?;
        for end in ends {
            canvas.line(&[(across - SERIF, end), (across + SERIF, end)], color, 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_of_every_front_is_drawn() {
        let groups = [
            group("a", &[&[(0.1, 80.0), (0.2, 85.0)], &[(0.1, 79.0)]]),
            group("none", &[]),
            group("b", &[&[(0.3, 70.0)]]),
        ];
        let svg = fronts("latency (ms)", "top-1 (%)", &groups, &[0.15]).unwrap();
        // Four points and a legend of two.
        assert_eq!(svg.matches("<circle").count(), 6);
        assert!(!svg.contains(">\nnone\n<") && svg.contains(">\nb\n<"));
        assert!(fronts("x", "y", &[], &[]).is_err() && fronts("x", "y", &groups, &[0.0]).is_err());
    }

    #[test]
    fn a_standard_error_is_a_bar_with_two_ends() {
        let mut groups = [group("a", &[&[(0.1, 80.0), (0.2, 85.0)]])];
        let lines = |groups: &[FrontGroup]| fronts("x", "y", groups, &[]).unwrap().matches("<polyline").count();
        // Within the range of the axis, so that its grid stays.
        groups[0].fronts[0].push(FrontPoint { cost: 0.15, value: 82.0, error: 0.0 });
        let without = lines(&groups);
        groups[0].fronts[0][2].error = 1.0;
        assert_eq!(lines(&groups), without + 3);
    }

    fn group(name: &str, fronts: &[&[(f64, f64)]]) -> FrontGroup {
        let fronts = fronts.iter().map(|front| front.iter().copied().map(FrontPoint::from).collect()).collect();
        FrontGroup { name: name.to_owned(), fronts }
    }
}
