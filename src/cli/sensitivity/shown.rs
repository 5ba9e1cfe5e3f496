//! A table of sensitivities for people: tables of 80 columns, and a picture.

use clap::ValueEnum;

use super::rows::{PARTS, Part, Row};
use crate::error::Result;
use crate::formats::Format;
use crate::report::{HeatLook, HeatRow, drawn_heat_map, markdown_table};

/// A figure of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Figure {
    /// Signal to noise of the logits, in decibels.
    #[default]
    Logits,
    /// Signal to noise of the layer's own output, in decibels.
    Output,
    /// The same by theory.
    Analytic,
    /// Divergence of the predicted classes, in nats.
    Divergence,
    /// Rise of the cross entropy, in nats.
    Loss,
}

impl Figure {
    fn of(self, row: &Row) -> f64 {
        match self {
            Self::Logits => row.sqnr_db,
            Self::Output => row.output_sqnr_db,
            Self::Analytic => row.analytic_sqnr_db,
            Self::Divergence => row.divergence,
            Self::Loss => row.loss_change,
        }
    }

    fn is_decibels(self) -> bool {
        matches!(self, Self::Logits | Self::Output | Self::Analytic)
    }

    fn title(self) -> &'static str {
        match self {
            Self::Logits => "Signal to noise of the logits in dB",
            Self::Output => "Signal to noise of the layer's own output in dB, measured",
            Self::Analytic => "Signal to noise of the layer's own output in dB, by theory from histograms",
            Self::Divergence => "Divergence from the float network's classes in nats",
            Self::Loss => "Rise of the cross entropy in nats",
        }
    }

    /// A number as cells show it.
    fn text(self, value: f64) -> String {
        if self.is_decibels() { format!("{value:.1}") } else { format!("{value:.1e}") }
    }

    /// A cell; empty where nothing changed.
    fn cell(self, row: &Row) -> Option<f64> {
        let value = self.of(row);
        (value.is_finite() && (row.sqnr_db.is_finite() || matches!(self, Self::Output | Self::Analytic)))
            .then_some(value)
    }

    /// Where a value lies between harmful, -1, and harmless, 1.
    fn share(self, value: f64) -> f64 {
        let share = if self.is_decibels() { (value - 30.0) / 20.0 } else { (-value.max(1e-12).log10() - 2.5) / 2.0 };
        share.clamp(-1.0, 1.0)
    }

    fn colors(self) -> &'static str {
        if self.is_decibels() {
            "red: 10 dB and less; blue: 50 dB and more"
        } else {
            "red: 0.3 nats and more; blue: 3e-5 and less"
        }
    }
}

/// Columns of a terminal.
const WIDTH: usize = 80;

/// The tables: a figure by layer and format for each part, then the trace of each layer.
pub(super) fn tables(rows: &[Row], figure: Figure, formats: &[Format]) -> String {
    let worse = if figure.is_decibels() { "lower" } else { "higher" };
    let mut text = format!("{}\nAll else in float; {worse} means more sensitive.\n", figure.title());
    let layers = layers(rows);
    let name = layers.iter().map(|layer| layer.chars().count()).max().unwrap_or(0).max("activations".len());
    // A column takes its text and three characters around it.
    let column = formats.iter().map(|format| short(*format).chars().count()).max().unwrap_or(0).max(7) + 3;
    for part in PARTS {
        for formats in formats.chunks((WIDTH.saturating_sub(name + 4) / column).max(1)) {
            text += &format!("\n{}", table(rows, &layers, (part, figure), formats));
        }
    }
    let trace = |layer: &&str| {
        let row = rows.iter().find(|row| row.layer == *layer)?;
        Some(vec![layer.to_string(), format!("{:.2e}", row.fisher_trace)])
    };
    let traces: Vec<Vec<String>> = layers.iter().filter_map(trace).collect();
    text += "\nTrace over the layer's weights of the loss's mean squared gradient (Fisher)\n";
    text += &format!("\n{}", markdown_table(&["layer", "fisher"], &traces));
    text.trim_end().to_owned()
}

fn table(rows: &[Row], layers: &[&str], (part, figure): (Part, Figure), formats: &[Format]) -> String {
    let title = match part {
        Part::Weights => "weights",
        Part::Activations => "activations",
        Part::Both => "both",
    };
    let header: Vec<String> =
        [title.to_owned()].into_iter().chain(formats.iter().map(|format| short(*format))).collect();
    let lines = layers.iter().map(|layer| {
        let own = |format: &Format| {
            let row = rows.iter().find(|row| row.layer == *layer && row.tensor == part && row.format == *format);
            row.and_then(|row| figure.cell(row)).map_or(String::new(), |value| figure.text(value))
        };
        [layer.to_string()].into_iter().chain(formats.iter().map(own)).collect()
    });
    markdown_table(&header.iter().map(String::as_str).collect::<Vec<_>>(), &lines.collect::<Vec<Vec<String>>>())
}

/// The layers in their order.
fn layers(rows: &[Row]) -> Vec<&str> {
    let mut layers: Vec<&str> = Vec::new();
    for row in rows.iter().take_while(|row| row.tensor == PARTS[0]) {
        if layers.last() != Some(&row.layer.as_str()) {
            layers.push(&row.layer);
        }
    }
    layers
}

/// SVG text: layers down, weights in each format, then activations, then both.
///
/// # Errors
/// Nothing to draw.
pub(super) fn picture(rows: &[Row], figure: Figure, formats: &[Format], model: &str) -> Result<String> {
    let label = |part: Part, format: Format| {
        let part = match part {
            Part::Weights => "W",
            Part::Activations => "A",
            Part::Both => "W+A",
        };
        format!("{part} {}", short(format))
    };
    let columns: Vec<(Part, Format)> =
        PARTS.iter().flat_map(|&part| formats.iter().map(move |&format| (part, format))).collect();
    let of_layer = |layer: &&str| -> HeatRow {
        let cell = |&(part, format): &(Part, Format)| {
            let row = rows.iter().find(|row| row.layer == **layer && row.tensor == part && row.format == format);
            row.and_then(|row| figure.cell(row))
        };
        (layer.to_string(), columns.iter().map(cell).collect())
    };
    let cells: Vec<HeatRow> = layers(rows).iter().map(of_layer).collect();
    let names: Vec<String> = columns.iter().map(|&(part, format)| label(part, format)).collect();
    let look = HeatLook { cell: 62, text: &|value| figure.text(value), share: &|value| figure.share(value) };
    drawn_heat_map(&format!("{model}: {}", figure.title()), figure.colors(), &names, &cells, &look)
}

/// The format's shortest name.
pub(in crate::cli) fn short(format: Format) -> String {
    let names = format.aliases().iter().copied().chain([format.name()]);
    names.min_by_key(|name| name.len()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sensitivity::rows::tests::row;

    fn rows(formats: &[Format]) -> Vec<Row> {
        let mut rows = Vec::new();
        for part in PARTS {
            for layer in ["conv1", "layer3.0.downsample.0", "linear"] {
                rows.extend(formats.iter().map(|format| row(layer, part, format.name(), "a")));
            }
        }
        rows
    }

    #[test]
    fn tables_of_many_formats_fit_in_eighty_columns() {
        let formats: Vec<Format> = Format::all().into_iter().filter(|format| format.bits() <= 8).collect();
        let rows = rows(&formats);
        for figure in Figure::value_variants() {
            let text = tables(&rows, *figure, &formats);
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= WIDTH, "{widest} columns\n{text}");
            assert!(text.contains("1.25e-1"), "{text}");
        }
        let logits = tables(&rows, Figure::Logits, &formats);
        assert_eq!(logits.matches("21.2").count(), 9 * formats.len());
        // The layer's own output did not change: its cells are empty.
        assert!(!tables(&rows, Figure::Output, &formats).contains("inf"));
    }

    #[test]
    fn a_cell_of_the_picture_for_each_part_layer_and_format() {
        let formats = [Format::Int(4), Format::Int(8)];
        let svg = picture(&rows(&formats), Figure::Logits, &formats, "resnet8").unwrap();
        assert_eq!(svg.matches("21.2").count(), 3 * 3 * 2);
        assert!(svg.contains("W int4") && svg.contains("A int8") && svg.contains("W+A int4"), "{svg}");
        let share = |figure: Figure, value: f64| figure.share(value);
        assert!((share(Figure::Logits, 10.0) + 1.0).abs() < 1e-9 && (share(Figure::Output, 99.0) - 1.0).abs() < 1e-9);
        assert!(share(Figure::Loss, -0.1) > 0.99 && share(Figure::Divergence, 1.0) < -0.99);
    }
}
