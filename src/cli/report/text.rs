//! What `bitfront report --network` prints: tables of 80 columns.

use super::network::{LayerReport, NetworkReport, OnDevice};
use crate::cli::sensitivity::short;
use crate::cost::TrainingStep;
use crate::ptq::{Noise, Reason, ToInt8};
use crate::report::markdown_table;

/// Longest name of a layer that is written out.
const NAME: usize = 21;

/// The whole report.
pub(super) fn network(report: &NetworkReport) -> String {
    let weights = table(report, "weights", &|layer| Some(&layer.weights));
    let reads = table(report, "reads", &|layer| layer.reads.as_ref());
    let note = if report.float_weights {
        ""
    } else {
        "Its packed weights are taken as exact: name those in float with --weights.\n"
    };
    let parts = [
        format!(
            "{} ({}), measured on {} images\n{note}\n\
             dB: signal to noise in the layer's format; narrow, wider: in the next one of its\n\
             kind (2, 4, 8 bits, float16); best: best of its width; peak: absmax over rms.",
            report.network, report.model, report.images
        ),
        weights,
        reads,
        outputs(report),
        wanted(report),
        conversion(report),
        prior(report),
        on_device(&report.on_device),
    ];
    let parts: Vec<String> =
        parts.into_iter().filter(|part| !part.is_empty()).map(|part| part.trim_end().to_owned()).collect();
    parts.join("\n\n")
}

/// A name, its middle left out where it is long.
fn name(layer: &str) -> String {
    let letters: Vec<char> = layer.chars().collect();
    if letters.len() <= NAME {
        return layer.to_owned();
    }
    let (head, tail) = (NAME / 2, NAME - NAME / 2 - 1);
    letters[..head].iter().chain(&['…']).chain(&letters[letters.len() - tail..]).collect()
}

fn decibels(sqnr_db: f64) -> String {
    if sqnr_db.is_finite() { format!("{sqnr_db:.1}") } else { String::new() }
}

fn table(report: &NetworkReport, title: &str, of: &dyn Fn(&LayerReport) -> Option<&Reason>) -> String {
    let noise = |noise: Option<Noise>| noise.map_or(String::new(), |noise| decibels(noise.sqnr_db));
    let row = |layer: &LayerReport| {
        let reason = of(layer)?;
        let best =
            reason.best.map_or(String::new(), |best| format!("{} {}", short(best.format), decibels(best.sqnr_db)));
        Some(vec![
            name(&layer.layer),
            short(reason.format),
            reason.sqnr_db.map_or(String::new(), decibels),
            noise(reason.narrower),
            noise(reason.wider),
            best,
            format!("{:.1}", reason.peak),
        ])
    };
    let rows: Vec<Vec<String>> = report.layers.iter().filter_map(row).collect();
    markdown_table(&[title, "format", "dB", "narrow", "wider", "best", "peak"], &rows)
}

fn outputs(report: &NetworkReport) -> String {
    let row = |layer: &LayerReport| {
        vec![name(&layer.layer), decibels(layer.output_sqnr_db), decibels(layer.analytic_sqnr_db)]
    };
    let rows: Vec<Vec<String>> = report.layers.iter().map(row).collect();
    let table = markdown_table(&["output", "dB", "theory"], &rows);
    format!(
        "Each layer's output, weights and input in their formats: measured, and by\ntheory from histograms (arXiv 2303.17951)\n\n{table}"
    )
}

/// How many tensors want how many exponent bits.
fn wanted(report: &NetworkReport) -> String {
    let line = |title: &str, of: &dyn Fn(&LayerReport) -> Option<u8>| {
        let bits: Vec<u8> = report.layers.iter().filter_map(of).collect();
        let counts = (0..=8_u8).map(|want| (want, bits.iter().filter(|&&bits| bits == want).count()));
        let counts: Vec<String> =
            counts.filter(|(_, count)| *count > 0).map(|(want, count)| format!("{want}: {count}")).collect();
        (!counts.is_empty()).then(|| format!("  {title:<8} {}", counts.join(", ")))
    };
    let lines = [
        line("weights", &|layer| layer.weights.exponent_bits),
        line("reads", &|layer| layer.reads.as_ref()?.exponent_bits),
    ];
    let lines: Vec<String> = lines.into_iter().flatten().collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("Exponent bits wanted at the width they have (0: an integer), tensors of each:\n{}", lines.join("\n"))
}

/// What 8-bit floats lose as 8-bit integers.
fn conversion(report: &NetworkReport) -> String {
    let tensors = report.layers.iter().flat_map(|layer| {
        let parts = [("weights", Some(&layer.weights)), ("reads", layer.reads.as_ref())];
        parts.into_iter().filter_map(move |(part, reason)| Some((&layer.layer, part, reason?.to_int8?)))
    });
    let row = |(layer, part, found): (&String, &str, ToInt8)| {
        let verdict = if found.lossless { "yes" } else { "no" };
        vec![name(layer), part.to_owned(), decibels(found.min_max_db), decibels(found.mse_db), verdict.to_owned()]
    };
    let rows: Vec<Vec<String>> = tensors.map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let whole = report.layers.iter().filter(|layer| {
        let found = [layer.weights.to_int8, layer.reads.as_ref().and_then(|reads| reads.to_int8)];
        found.iter().flatten().count() > 0 && found.iter().flatten().all(|found| found.lossless)
    });
    let whole: Vec<&str> = whole.map(|layer| layer.layer.as_str()).collect();
    let table = markdown_table(&["fp8 as int8", "tensor", "min-max", "mse", "lossless"], &rows);
    let which = if whole.is_empty() { "none".to_owned() } else { wrapped(&whole.join(", ")) };
    format!(
        "8-bit floats as 8-bit integers: dB of the noise that this adds, range by the\n\
         largest magnitude and by the least squared error; lossless: no more noise than\n\
         the float itself added\n\n{table}\n\
         Layers that convert without loss: {which}"
    )
}

/// Text broken at spaces, lines of at most 78 characters after the first.
fn wrapped(text: &str) -> String {
    let (mut lines, mut line) = (Vec::new(), String::new());
    let mut room = 42;
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push(std::mem::take(&mut line));
            room = 78;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines.push(line);
    lines.join("\n  ")
}

fn prior(report: &NetworkReport) -> String {
    let line = |bits: u32, layouts: &[String]| format!("  {bits} bits: {}", layouts.join(" > "));
    let lines: Vec<String> = report.prior.iter().map(|prior| line(prior.bits, &prior.layouts)).collect();
    if lines.is_empty() {
        return String::new();
    }
    format!(
        "Float layouts by a prior from language models (arXiv 2501.02423; see `bitfront\n\
         formats law`), which is no word on integers and yields to the measurements:\n{}",
        lines.join("\n")
    )
}

fn on_device(found: &OnDevice) -> String {
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    let cost = |step: &TrainingStep| {
        format!(
            "{:.1} KiB ({:.1} of activations), {:.1} million cycles an image",
            kib(step.bytes),
            kib(step.saved_bytes),
            step.mcycles
        )
    };
    let memory = kib(found.memory_bytes);
    let verdict = match &found.fitting {
        Some(step) if step.layers == found.all.layers => format!("It can be fine-tuned in {memory:.0} KiB."),
        Some(step) => {
            format!("In {memory:.0} KiB its last {} of {} layers can:\n  {}", step.layers, found.all.layers, cost(step))
        }
        None => format!("In {memory:.0} KiB not even its last layer can be."),
    };
    format!(
        "Fine-tuned on a microcontroller in binary16 (arXiv 2305.19167):\n  {}\n{verdict}\n\
         Its sums there, of up to {} products, are off by up to {:.1e} of their terms.",
        cost(&found.all),
        found.longest_sum,
        found.worst_half_sum
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::report::network::Prior;
    use crate::formats::Format;

    fn reason(format: &str) -> Reason {
        let noise = |name: &str, sqnr_db| Some(Noise { format: name.parse().unwrap(), sqnr_db });
        let format: Format = format.parse().unwrap();
        let fp8 = format.name() == "float8_e4m3fn";
        Reason {
            format,
            sqnr_db: Some(31.52),
            narrower: noise("int4", 19.0),
            wider: noise("float16", 75.25),
            best: noise("e3m4", 40.25),
            exponent_bits: Some(2),
            peak: 17.25,
            kurtosis: 1234.0,
            to_int8: fp8.then_some(ToInt8 { min_max_db: 33.0, mse_db: 41.5, lossless: true }),
        }
    }

    fn report(layers: usize) -> NetworkReport {
        let layer = |at: usize| LayerReport {
            layer: format!("blocks.{at}.convolutions.projection.1"),
            weights: reason("fp8"),
            reads: (at > 0).then(|| reason(if at > 1 { "fp8" } else { "uint4" })),
            output_sqnr_db: 28.5,
            analytic_sqnr_db: f64::INFINITY,
        };
        let step =
            |layers: usize| TrainingStep { layers, macs: 1, mcycles: 1234.5, saved_bytes: 10 << 20, bytes: 12 << 20 };
        NetworkReport {
            network: "net.ron".to_owned(),
            model: "resnet8".to_owned(),
            images: 256,
            float_weights: false,
            layers: (0..layers).map(layer).collect(),
            prior: vec![Prior { bits: 8, layouts: vec!["E4M3".to_owned(), "E3M4".to_owned()] }],
            on_device: OnDevice {
                memory_bytes: 512 << 10,
                all: step(9),
                fitting: Some(step(2)),
                longest_sum: 4608,
                worst_half_sum: 1e-3,
            },
        }
    }

    #[test]
    fn every_part_fits_in_eighty_columns() {
        let text = network(&report(12));
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 80, "{widest} columns\n{text}");
        for part in ["--weights", "last 2 of 9 layers", "4608 products", "E4M3 > E3M4", "2: 12", "31.5", "33.0", "41.5"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        // Layer 1 reads an integer; its weights alone have to convert.
        assert!(text.contains("without loss: blocks.0.convolutions.projection.1,"), "{text}");
    }

    #[test]
    fn what_is_not_there_is_not_spoken_of() {
        let mut plain = report(1);
        plain.float_weights = true;
        plain.prior.clear();
        plain.layers[0].weights = Reason { exponent_bits: None, ..reason("int4") };
        plain.on_device.fitting = None;
        let text = network(&plain);
        for part in ["--weights", "prior", "as int8", "Exponent bits"] {
            assert!(!text.contains(part), "{part} in\n{text}");
        }
        assert!(text.contains("not even its last layer"), "{text}");
    }
}
