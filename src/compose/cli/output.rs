//! What commands print: tables for people, one line of JSON for programs.

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::compose::console::answer;
pub use crate::compose::console::answer::{OutputError, line, print};

/// The program's name in what it says.
pub const PROGRAM: &str = "osa-dispatcher";

/// Prints a line beside the answer: for people, even if a program reads the answer.
pub fn remark(text: impl AsRef<str>) {
    answer::remark(PROGRAM, text.as_ref());
}

/// Prints a value as one line of JSON.
///
/// # Errors
/// [`OutputError`].
#[expect(clippy::expect_used, reason = "our own types: text keys only")]
pub fn json(value: &impl Serialize) -> Result<(), OutputError> {
    line(serde_json::to_string(value).expect("a value that JSON can hold"))
}

/// Lays out rows below a header.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    // Columns are set apart by two spaces, and the first starts at the margin.
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| plain(&cell))));
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

/// Names and results come from others: nothing in them may move the cursor.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A value that may be absent.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_line_per_row_and_no_control_characters() {
        let text = table(["NAME", "STATE"], [["web\x1b[2J\n".to_owned(), "online".to_owned()]]);

        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text:?}");
        assert!(lines.first().is_some_and(|line| line.starts_with("NAME")), "{text:?}");
        assert!(
            lines
                .get(1)
                .is_some_and(|line| line.starts_with("web [2J") && line.ends_with("online")),
            "{text:?}"
        );
    }
}
