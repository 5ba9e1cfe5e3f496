//! The front beside the uniform formats as a table for an 80-column terminal.

use comfy_table::CellAlignment;
use comfy_table::ContentArrangement;
use comfy_table::Table;
use comfy_table::TableComponent;
use comfy_table::presets;

use super::Entry;
use super::Front;
use super::front::by_cost;
use super::number::three_digits;

const WIDTH: u16 = 80;

/// Places of the measured latency and of the size among a row's cells.
const MEASURED: usize = 4;
const SIZE: usize = 5;

/// The front by rising cost, each member with its nearest uniform format, then the uniform formats, each with who
/// dominates it, then a legend. No line is longer than 80 columns; there is no colour.
pub fn table(front: &Front) -> String {
    let mut table = empty_table();
    table
        .set_style(TableComponent::HeaderLines, '─')
        .set_style(TableComponent::MiddleHeaderIntersections, '─')
        .set_header(row(
            front,
            [
                "front",
                "test\ntop-1",
                "val\ntop-1",
                &front.cost,
                "ms\nmeasured",
                "size_mb",
                "w/a bits",
                "nearest uniform",
            ],
        ));
    // A front without a knee (a cost of zero has no logarithm) is still worth showing.
    let knee = front.knee().ok().flatten();
    for entry in by_cost(&front.front) {
        let mark = if knee == Some(entry) { "  knee" } else { "" };
        table.add_row(network(front, entry, mark, &nearest(front, entry)));
    }
    if !front.uniform.is_empty() {
        table.add_row([""]).add_row(row(front, ["uniform", "", "", "", "", "", "", "dominated by"]));
    }
    for entry in by_cost(&front.uniform) {
        table.add_row(network(front, entry, "", &dominated(front, entry)));
    }
    let last = table.column_count() - 1;
    for (place, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, u16::from(place < last)));
        let numbers = (1..last).contains(&place);
        column.set_cell_alignment(if numbers { CellAlignment::Right } else { CellAlignment::Left });
    }
    let text = format!("{}\n\n{table}\n\n{}", paragraph(&heading(front)), paragraph(&legend(front)));
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn empty_table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table
}

/// Text wrapped at word ends.
fn paragraph(text: &str) -> String {
    let mut table = empty_table();
    table.add_row([text]);
    for column in table.column_iter_mut() {
        column.set_padding((0, 0));
    }
    table.to_string()
}

/// A row without `size_mb` where that is the cost already, and without measured latency where nothing was measured.
fn row(front: &Front, cells: [&str; 8]) -> Vec<String> {
    let size_is_cost = front.cost == "size_mb";
    let measured = front.front.iter().any(|entry| entry.latency_meas_ms.is_some());
    cells
        .into_iter()
        .enumerate()
        .filter(|(place, _)| !(size_is_cost && *place == SIZE || !measured && *place == MEASURED))
        .map(|(_, cell)| cell.to_owned())
        .collect()
}

fn network(front: &Front, entry: &Entry, mark: &str, note: &str) -> Vec<String> {
    let name = format!("{}{mark}", entry.name);
    let (test, validation) = (format!("{:.2}", entry.test_top1), format!("{:.2}", entry.top1));
    let (cost, size) = (three_digits(entry.cost), three_digits(entry.size_mb));
    let bits = format!("{:.1}/{:.1}", entry.avg_w_bits, entry.avg_a_bits);
    let measured = entry.latency_meas_ms.map_or_else(String::new, three_digits);
    row(front, [&name, &test, &validation, &cost, &measured, &size, &bits, note])
}

/// How a member of the front stands to its nearest uniform format.
fn nearest(front: &Front, entry: &Entry) -> String {
    match front.nearest_uniform(entry) {
        Some((uniform, _)) if uniform.name == entry.name => "itself".into(),
        Some((uniform, ratio)) if ratio >= 1.0 => format!("{ratio:.1}x < {}", uniform.name),
        Some((uniform, ratio)) => format!("{:.1}x > {}", 1.0 / ratio, uniform.name),
        None if front.uniform.is_empty() => "-".into(),
        None => "above all".into(),
    }
}

/// Who dominates a uniform format, and how many times cheaper it is.
fn dominated(front: &Front, uniform: &Entry) -> String {
    match front.dominator(uniform) {
        Some(better) => format!("{} ({:.1}x)", better.name, uniform.cost / better.cost),
        None => "-".into(),
    }
}

fn heading(front: &Front) -> String {
    let evaluated = if front.searched.is_empty() { String::new() } else { format!(" of {}", front.searched.len()) };
    let members = front.front.len();
    let networks = if members == 1 && evaluated.is_empty() { "network" } else { "networks" };
    format!("{}: {members}{evaluated} {networks} on the front, {} uniform formats", front.title, front.uniform.len())
}

/// Explains the marks that the table has, the ratio by its first example.
fn legend(front: &Front) -> String {
    let members = by_cost(&front.front);
    let compared = |entry: &&Entry| front.nearest_uniform(entry).filter(|(uniform, _)| uniform.name != entry.name);
    let example = members.iter().filter_map(compared).find(|(_, ratio)| *ratio >= 1.0);
    let mut notes = Vec::new();
    if let Some((uniform, ratio)) = example {
        let name = &uniform.name;
        notes.push(format!(
            "{ratio:.1}x < {name}: {ratio:.1} times cheaper than {name}, the cheapest uniform format of at least equal \
             val top-1"
        ));
    }
    if !front.uniform.is_empty() && members.iter().any(|entry| front.nearest_uniform(entry).is_none()) {
        notes.push("above all: no uniform format reaches its val top-1".into());
    }
    if let Some((uniform, better)) = by_cost(&front.uniform).iter().find_map(|it| Some((it, front.dominator(it)?))) {
        let (name, ratio) = (&better.name, uniform.cost / better.cost);
        notes.push(format!("{name} ({ratio:.1}x): {name} is nowhere worse and {ratio:.1} times cheaper"));
    }
    notes.push("knee: farthest above the chord of the front over log cost".into());
    format!("{}.", notes.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::front::tests::entry;
    use crate::report::front::tests::small;

    fn widest(text: &str) -> usize {
        text.lines().map(|line| line.chars().count()).max().unwrap()
    }

    /// The words of the row that begins with `name`.
    fn words<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
        let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.into_iter().find(|row| row.first() == Some(&name)).unwrap()
    }

    #[test]
    fn rows_show_costs_ratios_and_who_beats_whom() {
        let text = table(&small());
        assert_eq!(words(&text, "#7"), ["#7", "69.50", "70.00", "0.0500", "0.0150", "4.0/5.0", "3.0x", "<", "int4"]);
        assert_eq!(words(&text, "#12")[1], "knee");
        assert_eq!(words(&text, "#30")[6..], ["above", "all"]);
        assert_eq!(words(&text, "int2")[6..], ["-"]);
        // int8 costs 0.6, #30 0.5 and is better: 1.2 times cheaper.
        assert_eq!(words(&text, "int8")[6..], ["#30", "(1.2x)"]);
        assert!(text.contains("3.0x < int4: 3.0 times cheaper than int4") && text.contains("above all: no"), "{text}");
        assert!(text.contains("3 of 4 networks on the front, 4 uniform formats"), "{text}");
        let place = |name: &str| text.find(&format!("\n{name} ")).unwrap();
        assert!(place("#7") < place("#12") && place("#12") < place("#30") && place("fp4") < place("int8"));
    }

    #[test]
    fn a_member_that_is_uniform_or_beaten_says_so() {
        let mut front = small();
        front.front.push(entry("int2", 0.04, 60.0));
        front.front.push(entry("#99", 0.3, 82.0));
        let text = table(&front);
        assert_eq!(words(&text, "int2")[6..], ["itself"]);
        assert_eq!(words(&text, "#99")[6..], ["2.0x", ">", "int4"]);
    }

    #[test]
    fn size_is_not_shown_twice() {
        let text = table(&Front { cost: "size_mb".into(), ..small() });
        assert_eq!(text.matches("size_mb").count(), 1, "{text}");
        assert_eq!(words(&text, "#7")[3..5], ["0.0500", "4.0/5.0"]);
    }

    #[test]
    fn eighty_columns_hold_long_names_and_titles() {
        let mut front = small();
        front.cost = "act_mem_kb".into();
        front.title = "mobilenet_v2 on imagefolder:/a/long/path/to/images with search_spaces/mobilenet.ron".into();
        for entry in &mut front.uniform {
            entry.name = "float8_e4m3fn".into();
            entry.cost *= 12_345.0;
        }
        let text = table(&front);
        assert!(widest(&text) <= 80, "{text}");
        assert!(text.contains("float8_e4m3fn"), "{text}");
    }

    #[test]
    fn fronts_without_members_or_uniform_formats_are_shown() {
        let alone = Front { uniform: vec![], searched: vec![], front: vec![entry("#1", 0.0, 50.0)], ..small() };
        let text = table(&alone);
        assert!(text.contains("1 network on the front") && !text.contains("dominated by"), "{text}");
        assert_eq!(words(&text, "#1")[6..], ["-"]);
        assert!(widest(&table(&Front::default())) <= 80);
    }
}
