//! Settings as `check-config` shows them, of both programs.

use serde_json::{Value, json};

use crate::settings::layers::Values;

/// A table for people: key, value, origin.
pub fn table(values: &Values) -> String {
    let header = ("KEY", "VALUE".to_owned(), "FROM");
    let rows: Vec<_> = std::iter::once(header).chain(values.shown()).collect();
    let width = |cell: fn(&(&str, String, &str)) -> usize| rows.iter().map(cell).max().unwrap_or(0);
    let key_width = width(|(key, _, _)| key.chars().count());
    let value_width = width(|(_, value, _)| value.chars().count());
    let line =
        |(key, value, origin): &(&str, String, &str)| format!("{key:key_width$}  {value:value_width$}  {origin}\n");
    let text: String = rows.iter().map(line).collect();
    // Nothing in a file may move the cursor.
    text.replace(|c: char| c.is_control() && c != '\n', " ")
}

/// For programs: the values, and what is odd about them.
pub fn as_json(values: &Values, warnings: &[String]) -> Value {
    let values = values.shown();
    let values = values.map(|(key, value, origin)| json!({ "key": key, "value": value, "origin": origin }));
    json!({ "values": values.collect::<Vec<_>>(), "warnings": warnings })
}
