//! The words on the sheet: title, legend, the names of the knee and of the uniform formats.

use plotters::style::RGBAColor;
use plotters::style::text_anchor::HPos;

use super::canvas::Lettering;
use super::canvas::Pixel;
use super::labels::Frame;
use super::labels::Placer;
use super::labels::Preference;
use super::legend::Symbol;
use super::legend::legend;
use super::sheet::GREY_INK;
use super::sheet::INK;
use super::sheet::PLOT;
use super::sheet::Sheet;
use super::sheet::words;
use crate::error::Result;
use crate::report::front::by_cost;
use crate::report::number::three_digits;

/// Lies under a label, so that dots do not cross its letters.
const VEIL: RGBAColor = RGBAColor(255, 255, 255, 0.8);

impl Sheet<'_> {
    /// Names the knee and the uniform formats.
    pub(super) fn labels(&self) -> Result<()> {
        let corners = self.corners();
        let mut taken: Vec<Frame> = corners.windows(2).map(|ends| Frame::along(ends[0], ends[1], 2)).collect();
        taken.extend(self.front.front.iter().map(|entry| Frame::around(self.of(entry), 5)));
        taken.extend(self.front.uniform.iter().map(|entry| Frame::around(self.of(entry), 8)));
        let knee = self.front.knee()?;
        taken.extend(knee.map(|entry| Frame::around(self.of(entry), 9)));
        let mut placer = Placer::new(PLOT, taken);
        if let Some(knee) = knee {
            let text = format!(
                "knee {}: {:.1} % at {} {}",
                knee.name,
                knee.top1,
                three_digits(knee.cost),
                words(&self.front.cost).1
            );
            let look = Lettering { bold: true, ..Lettering::new(13.0, Symbol::Front.color()) };
            self.label(&mut placer, &text, self.of(knee), look, Preference::UpperLeft)?;
        }
        for entry in by_cost(&self.front.uniform) {
            let below = if self.y.is_below(entry.top1) { format!(" ({:.1} %)", entry.top1) } else { String::new() };
            let look = Lettering::new(12.5, Symbol::Uniform.color());
            self.label(&mut placer, &format!("{}{below}", entry.name), self.of(entry), look, Preference::Right)?;
        }
        Ok(())
    }

    fn label(&self, placer: &mut Placer, text: &str, at: Pixel, look: Lettering, preference: Preference) -> Result<()> {
        let Some(frame) = placer.place(at, look.extent(text), preference) else {
            return Ok(());
        };
        let near = frame.nearest(at);
        if (near.0 - at.0).abs().max((near.1 - at.1).abs()) > 14 {
            self.canvas.line(&[at, near], RGBAColor(look.color.0, look.color.1, look.color.2, 0.5), 1)?;
        }
        self.canvas.rectangle([(frame.left, frame.top), (frame.right, frame.bottom)], VEIL)?;
        // Text is narrower than its frame: it hugs the side of its marker.
        let (align, x) = if frame.right <= at.0 {
            (HPos::Right, frame.right)
        } else if frame.left >= at.0 {
            (HPos::Left, frame.left)
        } else {
            (HPos::Center, i32::midpoint(frame.left, frame.right))
        };
        self.canvas.text(text, (x, i32::midpoint(frame.top, frame.bottom)), Lettering { align, ..look })
    }

    /// Title and legend.
    pub(super) fn heading(&self) -> Result<()> {
        let look = Lettering { bold: true, ..Lettering::new(18.0, INK) };
        self.canvas.text(&shortened(&self.front.title, 72), (PLOT.left, 30), look)?;
        let front = self.front;
        let low = |points: &[(f64, f64)]| points.iter().any(|point| self.y.is_below(point.1));
        let low_mark = front.front.iter().chain(&front.uniform).any(|entry| self.y.is_below(entry.top1));
        let any = |symbol: Symbol| front.uniform.iter().any(|entry| self.uniform_symbol(entry) == symbol);
        let items = [
            (Symbol::Front, !front.front.is_empty(), "front".to_owned()),
            (Symbol::Uniform, any(Symbol::Uniform), "uniform format".to_owned()),
            (Symbol::Dominated, any(Symbol::Dominated), "uniform, dominated".to_owned()),
            (Symbol::Searched, !front.searched.is_empty(), format!("searched ({})", front.searched.len())),
            (Symbol::Random, !front.baseline.is_empty(), format!("random ({})", front.baseline.len())),
            (
                Symbol::Below(GREY_INK),
                low_mark || low(&front.searched) || low(&front.baseline),
                "below axis".to_owned(),
            ),
        ];
        let shown = items.into_iter().filter(|item| item.1).map(|(symbol, _, text)| (symbol, text)).collect::<Vec<_>>();
        legend(&self.canvas, (PLOT.left, 60), &shown, Lettering::new(12.5, INK))
    }
}

/// The text, cut to `most` characters.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}
