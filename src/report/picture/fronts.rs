//! Fronts of several searches over one cost: a line a front, a colour a group.

use plotters::style::RGBAColor;
use plotters::style::text_anchor::HPos;

use super::axis::{Axis, even_ticks, log_ticks, widened};
use super::canvas::{Canvas, Lettering};
use super::labels::Frame;
use super::scatter::{COLORS, GRID, PAPER};
use super::sheet::{GREY_INK, INK};
use crate::error::{Error, Result};

const SIZE: (u32, u32) = (720, 480);
const PLOT: Frame = Frame { left: 76, top: 54, right: 696, bottom: 414 };
/// Limits are drawn as dashes of this many pixels, with gaps of as many.
const DASH: i32 = 6;
const DASH_INK: RGBAColor = RGBAColor(120, 120, 120, 1.0);

/// A group of fronts.
#[derive(Clone, Debug)]
pub struct FrontGroup {
    /// Its name.
    pub name: String,
    /// Fronts by rising cost: cost above 0, value.
    pub fronts: Vec<Vec<(f64, f64)>>,
}

/// SVG text: cost on a logarithmic axis, value on an even one, and the limits on the cost.
///
/// # Errors
/// No point, or a cost that is not above 0.
pub fn fronts(x_title: &str, y_title: &str, groups: &[FrontGroup], limits: &[f64]) -> Result<String> {
    let points = || groups.iter().flat_map(|group| &group.fronts).flatten();
    let costs = || points().map(|&(cost, _)| cost).chain(limits.iter().copied());
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
    let up = widened(ends(&mut points().map(|&(_, value)| value)), 0.06, 1.0);
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
        for front in &group.fronts {
            let path: Vec<(i32, i32)> =
                front.iter().map(|&(cost, value)| (x.place(cost.ln()), y.place(value))).collect();
            canvas.line(&path, *color, 1)?;
            path.iter().try_for_each(|&at| canvas.dot(at, 3, *color))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_of_every_front_is_drawn() {
        let group = |name: &str, fronts| FrontGroup { name: name.to_owned(), fronts };
        let groups =
            [group("a", vec![vec![(0.1, 80.0), (0.2, 85.0)], vec![(0.1, 79.0)]]), group("b", vec![vec![(0.3, 70.0)]])];
        let svg = fronts("latency (ms)", "top-1 (%)", &groups, &[0.15]).unwrap();
        // Four points and a legend of two.
        assert_eq!(svg.matches("<circle").count(), 6);
        assert!(fronts("x", "y", &[], &[]).is_err() && fronts("x", "y", &groups, &[0.0]).is_err());
    }
}
