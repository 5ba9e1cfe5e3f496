//! Where labels go: beside their marker, nudged until they cover nothing.

use super::canvas::Pixel;

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub left: i32,
    pub top: i32,
    pub right: i32,
    pub bottom: i32,
}

impl Frame {
    /// The square that reaches `radius` around a point.
    pub(super) fn around(at: Pixel, radius: i32) -> Self {
        Self { left: at.0 - radius, top: at.1 - radius, right: at.0 + radius, bottom: at.1 + radius }
    }

    /// What a line between two points covers.
    pub(super) fn along(from: Pixel, to: Pixel, radius: i32) -> Self {
        Self {
            left: from.0.min(to.0) - radius,
            top: from.1.min(to.1) - radius,
            right: from.0.max(to.0) + radius,
            bottom: from.1.max(to.1) + radius,
        }
    }

    /// The point of the frame that is nearest to `at`.
    pub(super) fn nearest(&self, at: Pixel) -> Pixel {
        (at.0.clamp(self.left, self.right), at.1.clamp(self.top, self.bottom))
    }

    fn shared_area(&self, other: &Self) -> i32 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        width.max(0) * height.max(0)
    }

    fn holds(&self, other: &Self) -> bool {
        self.left <= other.left && self.right >= other.right && self.top <= other.top && self.bottom >= other.bottom
    }
}

/// The sides of its marker where a label may stand, best first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Preference {
    /// Below the front, where there is room: right, then left.
    Right,
    /// Above the front: to the upper left.
    UpperLeft,
}

/// Finds room for labels, one after the other.
pub(super) struct Placer {
    bounds: Frame,
    taken: Vec<Frame>,
}

impl Placer {
    /// Room within `bounds` but not on `taken`.
    pub(super) fn new(bounds: Frame, taken: Vec<Frame>) -> Self {
        Self { bounds, taken }
    }

    /// The place of a label of `size` for the marker at `at`: the nearest that covers nothing, else the one that
    /// covers least. `None` when the bounds are too small for it.
    pub(super) fn place(&mut self, at: Pixel, size: Pixel, preference: Preference) -> Option<Frame> {
        let mut best: Option<(i32, Frame)> = None;
        for (penalty, frame) in places(at, size, preference) {
            if !self.bounds.holds(&frame) {
                continue;
            }
            let covered: i32 = self.taken.iter().map(|other| frame.shared_area(other)).sum();
            let score = covered * 1000 + penalty;
            if best.is_none_or(|(least, _)| score < least) {
                best = Some((score, frame));
            }
        }
        let (_, frame) = best?;
        self.taken.push(frame);
        Some(frame)
    }
}

/// Space between a marker's centre and its label.
const GAP: i32 = 12;

/// Every place for a label with its penalty: pixels of nudging, more for the less liked sides.
fn places((x, y): Pixel, (width, height): Pixel, preference: Preference) -> Vec<(i32, Frame)> {
    let (right, left, over) = match preference {
        Preference::Right => (0, 12, 6),
        Preference::UpperLeft => (80, 0, 10),
    };
    let mut found = Vec::new();
    let mut push = |penalty: i32, left: i32, top: i32| {
        found.push((penalty, Frame { left, top, right: left + width, bottom: top + height }));
    };
    for nudge in (0..=120).step_by(3) {
        for shift in [nudge, -nudge] {
            // Where the front rises, upper left is free and lower right is.
            let wrong_way = match preference {
                Preference::Right => i32::from(shift < 0),
                Preference::UpperLeft => i32::from(shift > 0) * 100,
            };
            push(right + nudge + wrong_way, x + GAP, y - height / 2 + shift);
            push(left + nudge + wrong_way, x - GAP - width, y - height / 2 + shift);
        }
        push(over + nudge, x - width / 2, y + GAP + nudge);
        push(over + 6 + nudge, x - width / 2, y - GAP - height - nudge);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placer(taken: Vec<Frame>) -> Placer {
        Placer::new(Frame { left: 0, top: 0, right: 400, bottom: 300 }, taken)
    }

    #[test]
    fn a_free_label_stands_beside_its_marker() {
        let frame = placer(vec![]).place((100, 100), (40, 14), Preference::Right).unwrap();
        assert_eq!(frame, Frame { left: 112, top: 93, right: 152, bottom: 107 });
        let frame = placer(vec![]).place((100, 100), (40, 14), Preference::UpperLeft).unwrap();
        assert_eq!((frame.right, frame.top), (88, 93));
    }

    #[test]
    fn labels_of_markers_at_one_place_do_not_overlap() {
        let mut placer = placer(vec![Frame::around((100, 100), 6)]);
        let frames: Vec<Frame> =
            (0..8).map(|_| placer.place((100, 100), (40, 14), Preference::Right).unwrap()).collect();
        for (i, a) in frames.iter().enumerate() {
            assert!(frames[i + 1..].iter().all(|b| a.shared_area(b) == 0), "{frames:?}");
            assert_eq!(a.shared_area(&Frame::around((100, 100), 6)), 0);
        }
    }

    #[test]
    fn labels_stay_on_the_sheet() {
        let mut placer = placer(vec![]);
        for at in [(399, 150), (0, 0), (399, 299), (200, 299)] {
            let frame = placer.place(at, (60, 14), Preference::Right).unwrap();
            assert!(placer.bounds.holds(&frame), "{frame:?}");
        }
        assert_eq!(placer.place((200, 150), (401, 14), Preference::Right), None);
    }

    #[test]
    fn the_least_covering_place_wins_where_none_is_free() {
        let everywhere = Frame { left: 0, top: 0, right: 400, bottom: 300 };
        let beside = Frame { left: 105, top: 0, right: 400, bottom: 300 };
        let frame = placer(vec![everywhere, beside]).place((100, 100), (40, 14), Preference::Right).unwrap();
        assert!(frame.right <= 105, "{frame:?}");
    }

    #[test]
    fn the_nearest_point_of_a_frame() {
        let frame = Frame { left: 10, top: 10, right: 20, bottom: 15 };
        assert_eq!([(0, 12), (15, 40), (30, 0)].map(|at| frame.nearest(at)), [(10, 12), (15, 15), (20, 10)]);
        assert_eq!(Frame::along((5, 9), (1, 9), 2), Frame { left: -1, top: 7, right: 7, bottom: 11 });
    }
}
