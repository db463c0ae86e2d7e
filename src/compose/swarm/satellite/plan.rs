//! A plan as it was carried out, in a few lines.

use serde_json::Value;

/// How far a plan is followed down.
const DEPTH_MAX: usize = 12;

/// A run of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    /// How long it took.
    pub(super) millis: f64,
    /// Pages that were looked at, found in the server's memory or not. Units: 8 KiB.
    pub(super) pages: u64,
    /// The plan, one line for each node.
    pub(super) plan: Vec<String>,
}

impl Run {
    /// From what `auto_explain` or `EXPLAIN` say of a statement: an object with the member `Plan`.
    pub(super) fn new(millis: f64, explained: &Value) -> Option<Self> {
        let root = explained.get("Plan")?;
        let mut plan = Vec::new();
        describe(root, 0, &mut plan);
        Some(Self {
            millis,
            pages: pages(root),
            plan,
        })
    }
}

fn describe(node: &Value, depth: usize, lines: &mut Vec<String>) {
    let text = |key: &str| node.get(key).and_then(Value::as_str);
    let number = |key: &str| node.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let mut line = format!("{:1$}", "", depth * 2);
    line += text("Node Type").unwrap_or("?");
    for (word, key) in [("by", "Index Name"), ("of", "Relation Name"), ("on", "Function Name")] {
        if let Some(name) = text(key) {
            line += &format!(" {word} {name}");
        }
    }
    let (rows, loops) = (number("Actual Rows"), number("Actual Loops"));
    line += &match loops {
        0.0 => ": never".to_owned(),
        1.0 => format!(": {rows} rows"),
        _ => format!(": {rows} rows × {loops}"),
    };
    let removed = number("Rows Removed by Filter");
    if removed > 0.0 {
        line += &format!(", {removed} filtered out");
    }
    line += &format!(", {} pages", pages(node));
    lines.push(line);
    if depth < DEPTH_MAX {
        let children = node.get("Plans").and_then(Value::as_array).into_iter().flatten();
        children.for_each(|child| describe(child, depth + 1, lines));
    }
}

/// A node's pages hold those of the nodes below it.
fn pages(node: &Value) -> u64 {
    let number = |key: &str| node.get(key).and_then(Value::as_u64).unwrap_or(0);
    number("Shared Hit Blocks") + number("Shared Read Blocks")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plan_is_told_in_a_line_for_each_node() {
        let scan = json!({
            "Node Type": "Index Scan", "Index Name": "rhn_action_pk", "Relation Name": "rhnaction",
            "Actual Rows": 1.0, "Actual Loops": 3.0, "Rows Removed by Filter": 2.0, "Shared Hit Blocks": 7
        });
        let join = json!({
            "Node Type": "Nested Loop", "Actual Rows": 3.0, "Actual Loops": 1.0, "Shared Hit Blocks": 8,
            "Shared Read Blocks": 1, "Plans": [scan]
        });

        let run = Run::new(0.5, &json!({ "Plan": join })).unwrap();

        assert_eq!(run.pages, 9);
        assert_eq!(
            run.plan,
            [
                "Nested Loop: 3 rows, 9 pages",
                "  Index Scan by rhn_action_pk of rhnaction: 1 rows × 3, 2 filtered out, 7 pages"
            ]
        );
        assert_eq!(Run::new(0.5, &json!({})), None);
    }
}
