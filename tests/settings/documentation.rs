//! The example files and `docs/config.md` say what the code does. To write them anew after a change of settings:
//! `OSA_WRITE_DOCS=1 cargo nextest run --test settings documentation`

use std::collections::BTreeSet;
use std::path::Path;

use osa::settings::agent::AgentSettings;
use osa::settings::dispatcher::DispatcherSettings;
use osa::settings::legacy::satellite::TOLD_NAME;
use osa::settings::legacy::satellite_keys::{IGNORED, KEYS, OWN_NAME};
use osa::settings::schema::{Apply, Group, Key, Schema};

fn doc(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// Of debug builds, for tests: no operator is to meet it.
const UNDOCUMENTED: [&str; 2] = ["push.pause_divisor", "upstream.silence_timeout"];

fn documented(group: &Group) -> impl Iterator<Item = &'static Key> {
    group.keys.iter().filter(|key| !UNDOCUMENTED.contains(&key.path))
}

fn example<S: Schema>(program: &str, first_lines: &str) -> String {
    let mut text = format!(
        "# Configuration of {program}. Each key stands here at its default; docs/config.md explains the format.\n"
    );
    text.push_str(first_lines);
    for group in S::GROUPS {
        text.push_str("\n# ");
        text.push_str(&doc(group.doc));
        text.push('\n');
        if let Some(table) = group.prefix.strip_suffix('.') {
            text.push_str(&format!("[{table}]\n"));
        }
        for key in documented(group) {
            text.push('\n');
            key.doc
                .iter()
                .for_each(|line| text.push_str(&format!("# {}\n", line.trim())));
            text.push_str(&example_line(group, key));
        }
    }
    text
}

fn example_line(group: &Group, key: &Key) -> String {
    let name = key.path.strip_prefix(group.prefix).unwrap_or(key.path);
    match key.default_toml() {
        Some(default) => format!("#{name} = {default}\n"),
        None if key.required => format!("# Required: {}.\n#{name} =\n", key.accepted),
        None => format!("# Default: none. Accepted: {}.\n#{name} =\n", key.accepted),
    }
}

fn reference<S: Schema>() -> String {
    let mut text = String::new();
    for group in S::GROUPS {
        let title = match group.prefix {
            "" => "Outside of tables".to_owned(),
            prefix => format!("`[{}]`", prefix.trim_end_matches('.')),
        };
        text.push_str(&format!("\n### {title}\n{}\n\n", doc(group.doc)));
        text.push_str("| Key | Default | Accepted | Takes effect at | Meaning |\n|---|---|---|---|---|\n");
        for key in documented(group) {
            let default = match key.default_toml() {
                Some(default) => format!("`{default}`"),
                None if key.required => "required".to_owned(),
                None => "none".to_owned(),
            };
            let apply = match key.apply {
                Apply::Reload => "reload",
                Apply::Restart => "restart",
            };
            let row = format!(
                "| `{}` | {default} | {} | {apply} | {} |\n",
                key.path,
                key.accepted,
                doc(key.doc)
            );
            text.push_str(&row);
        }
    }
    text
}

fn rhn_conf_keys() -> String {
    let mut text = "\n| Key | What it sets |\n|---|---|\n".to_owned();
    for key in &KEYS {
        let note = match key.doc {
            "" => String::new(),
            note => format!("; {note}"),
        };
        text.push_str(&format!("| `{}` | `{}`{note} |\n", key.name, key.sets));
    }
    let known = IGNORED.map(|key| format!("`{key}`")).join(", ");
    text.push_str(&format!(
        "| `{OWN_NAME}`, else `{TOLD_NAME}` | `hostname`, and with a port `upstream.server` for `transport = \"client\"`. Not from the packaged defaults: it is a placeholder there |\n\
         | {known} | nothing |\n"
    ));
    text
}

/// Compares a file with what it should hold, or writes it if asked to.
fn assert_file(path: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("OSA_WRITE_DOCS").is_some() {
        std::fs::write(&path, wanted).expect("a writable file");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let name = path.display();
    for (number, (found, wanted)) in found.lines().zip(wanted.lines()).enumerate() {
        assert_eq!(
            found,
            wanted,
            "{name}:{} differs from the settings in the code",
            number + 1
        );
    }
    assert_eq!(found.len(), wanted.len(), "{name} is too short or too long");
}

/// Puts `content` between a pair of markers in `text`.
fn between(text: &str, marker: &str, content: &str) -> String {
    let (start, end) = (format!("<!-- {marker} -->\n"), format!("<!-- end of {marker} -->\n"));
    let (before, rest) = text.split_once(&start).expect("the marker at the start");
    let (_, after) = rest.split_once(&end).expect("the marker at the end");
    format!("{before}{start}{content}\n{end}{after}")
}

#[test]
fn documentation_of_example_files_is_that_of_the_code() {
    let dispatcher = "# Only `hostname` must be set, and nothing where a Satellite's rhn.conf exists. Relative paths start at `data_dir`.\n";
    let agent = "# Not needed where osad.conf and up2date exist: their values are used where this file is silent.\n";

    assert_file(
        "config/osa-dispatcher.toml",
        &example::<DispatcherSettings>("osa-dispatcher", dispatcher),
    );
    assert_file("config/osad.toml", &example::<AgentSettings>("osad", agent));
}

#[test]
fn documentation_of_every_key_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.md");
    let text = std::fs::read_to_string(path).expect("docs/config.md");
    let text = between(&text, "keys of rhn.conf", &rhn_conf_keys());
    let text = between(&text, "keys of osa-dispatcher", &reference::<DispatcherSettings>());

    assert_file(
        "docs/config.md",
        &between(&text, "keys of osad", &reference::<AgentSettings>()),
    );
}

/// The generated tables are compared above; this is the rest of what operators read.
#[test]
fn settings_for_tests_are_nowhere_in_what_operators_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = std::fs::read_dir(root.join("docs"))
        .expect("docs")
        .filter_map(Result::ok);
    let pages = pages.map(|entry| entry.path()).filter(|path| path.is_file());
    for path in pages.chain([root.join("config/osa-dispatcher.toml"), root.join("README.md")]) {
        let text = std::fs::read_to_string(&path).expect("a text");
        for key in ["pause_divisor", UNDOCUMENTED[1]] {
            assert!(!text.contains(key), "{}", path.display());
        }
    }
}

#[test]
fn documentation_examples_are_usable_with_every_key_at_its_default() {
    fn assert_read_back<S: Schema>(path: &str) {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the example");
        let is_value = |line: &str| line.starts_with('#') && line.contains(" = ") && !line.starts_with("# ");
        let uncommented: String = text
            .lines()
            .map(|line| {
                format!(
                    "{}\n",
                    if is_value(line) {
                        line.trim_start_matches('#')
                    } else {
                        line
                    }
                )
            })
            .collect();
        let layer = osa::settings::own_file::parse::<S>(path, &uncommented).expect("known keys");
        let keys: BTreeSet<&str> = layer.0.iter().map(|entry| entry.key.as_str()).collect();
        let wanted: BTreeSet<&str> = S::keys()
            .filter(|key| key.default.is_some() && !UNDOCUMENTED.contains(&key.path))
            .map(|key| key.path)
            .collect();
        assert_eq!(keys, wanted);
        for key in S::keys() {
            let Some(entry) = layer.0.iter().find(|entry| entry.key == key.path) else {
                continue;
            };
            assert!((key.check)(&entry.given).is_ok(), "{entry:?}");
        }
    }

    assert_read_back::<DispatcherSettings>("config/osa-dispatcher.toml");
    assert_read_back::<AgentSettings>("config/osad.toml");
}

#[test]
fn every_key_has_a_variable_of_its_own() {
    fn assert_distinct<S: Schema>() {
        let names: BTreeSet<String> = S::keys().map(Key::variable).collect();
        assert_eq!(names.len(), S::keys().count());
    }

    assert_distinct::<DispatcherSettings>();
    assert_distinct::<AgentSettings>();
}
