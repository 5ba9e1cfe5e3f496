//! The picture as a whole: what may be drawn, and the ranges of its axes.

use super::axis::Axis;
use super::axis::widened;
use super::canvas::Canvas;
use super::sheet::PLOT;
use super::sheet::SIZE;
use super::sheet::Sheet;
use crate::error::Error;
use crate::error::Result;
use crate::report::Front;
use crate::stats::quantile;

/// Most points of top-1 that the axis spans: what lies lower is marked at its edge, else a collapsed network would
/// squeeze the front.
const TALLEST: f64 = 40.0;

/// SVG text of the front, 900 x 560 pixels: every evaluated candidate as a faint dot on a logarithmic cost axis, the
/// uniform formats as labelled squares, the front as steps with its knee. Equal fronts give equal bytes. Colours are
/// those of Okabe and Ito, "Color universal design", 2008, which colour-blind people tell apart.
///
/// # Errors
/// [`Error::BadValue`] without any network, or for one whose cost is not positive or whose top-1 is no number.
pub fn picture(front: &Front) -> Result<String> {
    let (x, y) = axes(front)?;
    let mut text = String::new();
    Sheet { canvas: Canvas::new(&mut text, SIZE), x, y, front }.draw()?;
    Ok(text)
}

/// The ranges of both axes: doublings of cost, points of top-1.
fn axes(front: &Front) -> Result<(Axis, Axis)> {
    let entries = front.front.iter().chain(&front.uniform);
    let (mut costs, mut top1s): (Vec<f64>, Vec<f64>) = entries.map(|entry| (entry.cost, entry.top1)).unzip();
    let cloud = || front.searched.iter().chain(&front.baseline).copied();
    let mut lowest = span(&top1s).map_or(f64::INFINITY, |(low, _)| low);
    // The worst tenth of the candidates is not worth the room.
    lowest = lowest.min(quantile(&cloud().map(|point| point.1).collect::<Vec<_>>(), 0.1).unwrap_or(lowest));
    costs.extend(cloud().map(|point| point.0));
    top1s.extend(cloud().map(|point| point.1));
    if let Some(cost) = costs.iter().find(|cost| !(**cost > 0.0 && cost.is_finite())) {
        return Err(Error::bad_value(format!("{} of a network", front.cost), cost, "expected a number > 0"));
    }
    if let Some(top1) = top1s.iter().find(|top1| !top1.is_finite()) {
        return Err(Error::bad_value("top1 of a network", top1, "expected a percentage"));
    }
    let doublings: Vec<f64> = costs.into_iter().map(f64::log2).collect();
    let (Some(doublings), Some((_, highest))) = (span(&doublings), span(&top1s)) else {
        return Err(Error::bad_value("networks to draw", "none", "expected at least one"));
    };
    let (bottom, top) = widened((lowest.max(highest - TALLEST), highest), 0.05, 2.0);
    Ok((
        Axis::new(widened(doublings, 0.06, 0.5), (PLOT.left, PLOT.right)),
        Axis::new((bottom, top.min(highest.max(100.0))), (PLOT.bottom, PLOT.top)),
    ))
}

/// Least and largest value; `None` when empty.
fn span(values: &[f64]) -> Option<(f64, f64)> {
    let low = values.iter().copied().min_by(f64::total_cmp)?;
    Some((low, values.iter().copied().max_by(f64::total_cmp)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::front::tests::entry;
    use crate::report::front::tests::small;

    /// The numbers of an attribute in the order of the text.
    fn numbers(svg: &str, attribute: &str) -> Vec<f64> {
        let key = format!(" {attribute}=\"");
        let values = svg.split(&key).skip(1);
        values.map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect()
    }

    fn count(svg: &str, what: &str) -> usize {
        svg.matches(what).count()
    }

    #[test]
    fn every_network_has_a_marker_and_every_format_a_name() {
        let svg = picture(&small()).unwrap();
        // Grey: four candidates and the legend. Purple: one and the legend.
        assert_eq!(count(&svg, "<circle") - count(&svg, r##"fill="#787878""##) - count(&svg, r##"fill="#CC79A7""##), 9);
        assert_eq!(count(&svg, r##"r="3" opacity="0.35" fill="#787878""##), 5);
        assert_eq!(count(&svg, r##"r="3" opacity="0.55" fill="#CC79A7""##), 2);
        // The front: three members and the legend.
        assert_eq!(count(&svg, r##"r="4" opacity="1" fill="#0072B2""##), 4);
        for text in ["int2", "int4", "fp4", "int8", "knee #12: 83.0 % at 0.100 GBOPs", "resnet8 on fashion-mnist-mini"]
        {
            assert!(svg.contains(&format!(">\n{text}\n<")), "{text} in\n{svg}");
        }
    }

    #[test]
    fn costs_are_logarithmic_and_top1_grows_upwards() {
        let mut front = Front { searched: vec![], baseline: vec![], uniform: vec![], ..small() };
        front.front = vec![entry("#1", 1.0, 60.0), entry("#2", 2.0, 70.0), entry("#3", 4.0, 80.0)];
        let svg = picture(&front).unwrap();
        // The three members, drawn last before the knee's ring and the legend: halo and dot each.
        let (cx, cy) = (numbers(&svg, "cx"), numbers(&svg, "cy"));
        let (x, y) = ([cx[0], cx[2], cx[4]], [cy[0], cy[2], cy[4]]);
        assert!((x[1] - x[0] - (x[2] - x[1])).abs() <= 1.0 && x[0] < x[1], "{x:?}");
        assert!((y[0] - y[1] - (y[1] - y[2])).abs() <= 1.0 && y[0] > y[1], "{y:?}");
        // Range 60 to 80 with 5 % to spare at both ends of the 408 pixels: 10 points are 408 / 22 * 10 = 185.5 pixels.
        assert!((y[0] - y[1] - 185.5).abs() <= 1.0, "{y:?}");
    }

    #[test]
    fn equal_fronts_give_equal_bytes() {
        assert_eq!(picture(&small()).unwrap(), picture(&small().clone()).unwrap());
        assert_ne!(picture(&small()).unwrap(), picture(&Front { title: "other".into(), ..small() }).unwrap());
    }

    #[test]
    fn a_collapsed_network_is_marked_at_the_edge() {
        let mut front = small();
        assert!(!picture(&front).unwrap().contains("<polygon"));
        front.uniform[1].top1 = 10.0;
        let svg = picture(&front).unwrap();
        // Best 86: the axis ends below 46 %. The marker and the legend.
        assert_eq!(count(&svg, "<polygon"), 2);
        assert!(svg.contains("int2 (10.0 %)") && svg.contains("below axis"));
        assert!(svg.contains(">\n50\n<") && !svg.contains(">\n40\n<"));
    }

    #[test]
    fn hard_cases_stay_on_the_sheet() {
        let equal: Vec<_> = (0..8).map(|i| entry(&format!("f{i}"), 3.0, 81.0 - f64::from(i) / 10.0)).collect();
        let crowd = |i: i32| entry(&format!("#{i}"), 0.01 * 1.07_f64.powi(i), 60.0 + f64::from(i) / 2.0);
        let alone = Front { front: vec![entry("#1", 3.0, 81.0)], ..Front::default() };
        for front in [
            Front { uniform: equal, ..alone.clone() },
            Front { front: (0..60).map(crowd).collect(), ..small() },
            Front { front: vec![], searched: vec![(1.0, 100.0)], ..small() },
            Front { title: "long ".repeat(40), cost: "cents".into(), ..alone.clone() },
            Front { searched: vec![(1e-6, 0.0), (1e9, 100.0)], ..alone.clone() },
            alone,
        ] {
            let svg = picture(&front).unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(numbers(&svg, "cx").iter().chain(&numbers(&svg, "x")).all(|x| (0.0..=900.0).contains(x)));
            assert!(numbers(&svg, "cy").iter().chain(&numbers(&svg, "y")).all(|y| (0.0..=560.0).contains(y)));
            for entry in &front.uniform {
                assert_eq!(count(&svg, &format!(">\n{}\n<", entry.name)), 1, "{}", entry.name);
            }
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_named() {
        let fails = |front: Front| picture(&front).unwrap_err().to_string();
        assert!(fails(Front::default()).contains("networks to draw"));
        assert!(fails(Front { searched: vec![(0.0, 50.0)], ..small() }).contains("gbops of a network `0`"));
        assert!(fails(Front { baseline: vec![(1.0, f64::NAN)], ..small() }).contains("top1 of a network `NaN`"));
        assert!(fails(Front { front: vec![entry("#1", f64::INFINITY, 50.0)], ..small() }).contains("inf"));
    }
}
