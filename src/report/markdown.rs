//! Markdown tables that read well as plain text too.

/// A Markdown table with aligned columns; columns of numbers are flush right. A row may be shorter than the header.
/// Bars in cells are escaped. Ends in a newline.
pub fn markdown_table(header: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |row: &[String], column: usize| row.get(column).map_or(String::new(), |text| text.replace('|', "\\|"));
    let titles: Vec<String> = header.iter().map(|title| (*title).to_owned()).collect();
    let right: Vec<bool> = (0..header.len()).map(|column| all_numbers(rows, column)).collect();
    let width = |column: usize| {
        let cells = rows.iter().chain([&titles]).map(|row| cell(row, column).chars().count());
        cells.max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |row: &[String]| {
        let padded = |column: usize| {
            let (text, width) = (cell(row, column), widths[column]);
            if right[column] { format!(" {text:>width$} |") } else { format!(" {text:<width$} |") }
        };
        format!("|{}\n", (0..header.len()).map(padded).collect::<String>())
    };
    let rule = |column: usize| {
        let dashes = "-".repeat(widths[column] - usize::from(right[column]));
        if right[column] { format!(" {dashes}: |") } else { format!(" {dashes} |") }
    };
    let rule: String = (0..header.len()).map(rule).collect();
    format!("{}|{rule}\n{}", line(&titles), rows.iter().map(|row| line(row)).collect::<String>())
}

/// Whether a column has numbers and nothing else; a unit right after the number (`1.8x`, `92.1%`) may follow.
fn all_numbers(rows: &[Vec<String>], column: usize) -> bool {
    let mut cells = rows.iter().filter_map(|row| row.get(column)).filter(|cell| !cell.is_empty()).peekable();
    let number = |cell: &String| cell.trim_end_matches(['x', '%']).parse::<f64>().is_ok();
    cells.peek().is_some() && cells.all(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_flush_right() {
        let rows = [
            vec!["int8".to_owned(), "85.0".to_owned(), "1.8x".to_owned()],
            vec!["a|b".to_owned(), "7.25".to_owned(), String::new()],
            vec!["é".to_owned()],
        ];
        let expected = "\
| format | top1 | ratio |
| ------ | ---: | ----: |
| int8   | 85.0 |  1.8x |
| a\\|b   | 7.25 |       |
| é      |      |       |
";
        assert_eq!(markdown_table(&["format", "top1", "ratio"], &rows), expected);
    }

    #[test]
    fn words_make_a_column_flush_left() {
        let rows = [vec!["1".to_owned()], vec!["none".to_owned()]];
        assert_eq!(markdown_table(&["n"], &rows), "| n    |\n| ---- |\n| 1    |\n| none |\n");
        assert_eq!(markdown_table(&["n"], &[]), "| n   |\n| --- |\n");
    }
}
