//! The sheet: paper, grid, dots, the front as steps, markers.

use plotters::style::RGBAColor;
use plotters::style::text_anchor::HPos;

use super::axis::Axis;
use super::axis::even_ticks;
use super::axis::log_ticks;
use super::canvas::Canvas;
use super::canvas::Lettering;
use super::canvas::Pixel;
use super::labels::Frame;
use super::legend::Symbol;
use crate::error::Result;
use crate::report::Entry;
use crate::report::Front;
use crate::report::front::by_cost;

/// Width and height in pixels.
pub(super) const SIZE: (u32, u32) = (900, 560);

/// Where the data stands.
pub(super) const PLOT: Frame = Frame { left: 66, top: 86, right: 876, bottom: 494 };

/// Members of a front that get large markers.
const CROWD: usize = 30;

pub(super) const INK: RGBAColor = RGBAColor(34, 34, 34, 1.0);
pub(super) const GREY_INK: RGBAColor = RGBAColor(96, 96, 96, 1.0);
const GRID: RGBAColor = RGBAColor(232, 232, 232, 1.0);
const PAPER: RGBAColor = RGBAColor(255, 255, 255, 1.0);

/// The sheet with what is drawn on it.
pub(super) struct Sheet<'a> {
    pub canvas: Canvas<'a>,
    /// Doublings of cost.
    pub x: Axis,
    /// Points of top-1.
    pub y: Axis,
    pub front: &'a Front,
}

impl Sheet<'_> {
    /// Draws everything and ends the SVG text.
    pub(super) fn draw(self) -> Result<()> {
        self.frame()?;
        self.cloud(&self.front.baseline, Symbol::Random)?;
        self.cloud(&self.front.searched, Symbol::Searched)?;
        self.steps()?;
        self.markers()?;
        self.labels()?;
        self.heading()?;
        self.canvas.finish()
    }

    fn place(&self, (cost, top1): (f64, f64)) -> Pixel {
        (self.x.place(cost.log2()), self.y.place(top1))
    }

    pub(super) fn of(&self, entry: &Entry) -> Pixel {
        self.place((entry.cost, entry.top1))
    }

    /// Paper, grid, tick labels, axis titles.
    fn frame(&self) -> Result<()> {
        self.canvas.rectangle([(0, 0), (SIZE.0 as i32, SIZE.1 as i32)], PAPER)?;
        let small = Lettering::new(12.0, GREY_INK);
        for (value, label) in even_ticks(self.y.values(), 8) {
            let y = self.y.place(value);
            self.canvas.line(&[(PLOT.left, y), (PLOT.right, y)], GRID, 1)?;
            self.canvas.text(&label, (PLOT.left - 9, y), Lettering { align: HPos::Right, ..small })?;
        }
        let (low, high) = self.x.values();
        let centred = Lettering { align: HPos::Center, ..small };
        for (cost, label) in log_ticks((low.exp2(), high.exp2()), 10) {
            let x = self.x.place(cost.log2());
            self.canvas.line(&[(x, PLOT.top), (x, PLOT.bottom)], GRID, 1)?;
            self.canvas.text(&label, (x, PLOT.bottom + 16), centred)?;
        }
        self.canvas.line(&[(PLOT.left, PLOT.bottom), (PLOT.right, PLOT.bottom)], GREY_INK, 1)?;
        let (words, unit) = words(&self.front.cost);
        let titles = Lettering { size: 13.0, color: INK, ..centred };
        self.canvas.text(
            &format!("{words} ({unit}, log scale)"),
            (i32::midpoint(PLOT.left, PLOT.right), PLOT.bottom + 44),
            titles,
        )?;
        let middle = (20, i32::midpoint(PLOT.top, PLOT.bottom));
        self.canvas.text("top-1 on validation images (%)", middle, Lettering { upright: false, ..titles })
    }

    /// One faint dot a network.
    fn cloud(&self, points: &[(f64, f64)], symbol: Symbol) -> Result<()> {
        for &point in points {
            let symbol = if self.y.is_below(point.1) { Symbol::Below(symbol.color()) } else { symbol };
            symbol.draw(&self.canvas, self.place(point))?;
        }
        Ok(())
    }

    /// The corners of the front's step line: at every cost the best top-1 so far.
    pub(super) fn corners(&self) -> Vec<Pixel> {
        let mut corners: Vec<Pixel> = Vec::new();
        for at in by_cost(&self.front.front).into_iter().map(|entry| self.of(entry)) {
            if let Some(&(_, level)) = corners.last() {
                corners.push((at.0, level));
            }
            corners.push(at);
        }
        if let Some(&(_, level)) = corners.last() {
            corners.push((PLOT.right, level));
        }
        corners
    }

    fn steps(&self) -> Result<()> {
        let corners = self.corners();
        if corners.is_empty() { Ok(()) } else { self.canvas.line(&corners, Symbol::Front.color(), 2) }
    }

    pub(super) fn uniform_symbol(&self, entry: &Entry) -> Symbol {
        if self.front.dominator(entry).is_some() { Symbol::Dominated } else { Symbol::Uniform }
    }

    fn markers(&self) -> Result<()> {
        let uniform: Vec<_> =
            by_cost(&self.front.uniform).into_iter().map(|entry| (entry, self.uniform_symbol(entry))).collect();
        // The filled squares lie under the front, the outlines over it, so that neither hides it.
        let (under, over): (Vec<_>, Vec<_>) = uniform.into_iter().partition(|(_, symbol)| *symbol == Symbol::Uniform);
        let member = if self.front.front.len() > CROWD { Symbol::Crowded } else { Symbol::Front };
        let front = by_cost(&self.front.front).into_iter().map(|entry| (entry, member));
        let knee = self.front.knee()?.map(|entry| (entry, Symbol::Knee));
        for (entry, symbol) in under.into_iter().chain(front).chain(over).chain(knee) {
            let symbol = if self.y.is_below(entry.top1) { Symbol::Below(symbol.color()) } else { symbol };
            symbol.draw(&self.canvas, self.of(entry))?;
        }
        Ok(())
    }
}

/// A cost in words and its unit; a cost without words of its own keeps its column name.
pub(super) fn words(cost: &str) -> (&str, &str) {
    match cost {
        "gbops" => ("bit operations per image", "GBOPs"),
        "size_mb" => ("packed size", "MB"),
        "act_mem_kb" => ("activation memory", "kB"),
        "latency_ms" => ("latency", "ms"),
        "avg_w_bits" => ("mean weight width", "bits"),
        "avg_a_bits" => ("mean activation width", "bits"),
        other => ("cost", other),
    }
}
