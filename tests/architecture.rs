//! Rules about the shape of the code, checked against the code: rooms and what they may import, purity of the core,
//! lengths, names, event names. Each rule is shown to bite by an example that breaks it.
#![allow(clippy::expect_used, reason = "a tree that cannot be read must fail loudly")]

#[path = "architecture/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::path::Path;

use source::Source;

/// Longest file. Units: lines.
const FILE_LINES_MAX: usize = 400;
/// Longest body of a function. Units: lines between its braces.
const FUNCTION_LINES_MAX: usize = 40;
/// Longest body of an actor's message handler. Units: lines between its braces.
const HANDLER_LINES_MAX: usize = 25;

/// What each room may import besides itself; the table in `src/lib.rs`.
const ROOMS: [(&str, &[&str]); 10] = [
    ("domain", &[]),
    ("protocol", &["domain"]),
    ("ports", &["domain", "protocol"]),
    ("actors", &["domain", "protocol", "ports"]),
    (
        "store",
        &["domain", "protocol", "ports", "net", "host", "settings", "telemetry"],
    ),
    (
        "net",
        &["domain", "protocol", "ports", "store", "host", "settings", "telemetry"],
    ),
    (
        "host",
        &["domain", "protocol", "ports", "store", "net", "settings", "telemetry"],
    ),
    ("settings", &["domain", "telemetry"]),
    ("telemetry", &["domain", "settings"]),
    (
        "compose",
        &[
            "domain",
            "protocol",
            "ports",
            "actors",
            "store",
            "net",
            "host",
            "settings",
            "telemetry",
        ],
    ),
];

/// Rooms without I/O, clock, randomness and async.
const PURE_ROOMS: [&str; 2] = ["domain", "protocol"];
/// What does not occur there.
const IMPURE: [&str; 21] = [
    "tokio",
    "actix",
    "diesel",
    "rustls",
    "hyper",
    "getrandom",
    "rand",
    "SystemTime",
    // A time may come in; reading the clock may not happen.
    "Instant::now",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "async",
    "tracing",
];

/// Words that name no concept.
const EMPTY_NAMES: [&str; 5] = ["Manager", "Helper", "Helpers", "Util", "Utils"];
/// Files named so collect what belongs nowhere.
const EMPTY_FILE_NAMES: [&str; 7] = ["utils", "util", "helpers", "helper", "common", "misc", "manager"];

fn assert_all(rule: &str, check: impl Fn(&Source) -> Vec<String>) {
    let sources = Source::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.len() > 20, "the tree under src/ was not found");
    let violations: Vec<String> = sources.iter().flat_map(check).collect();
    assert!(violations.is_empty(), "\n{rule}\n  {}\n", violations.join("\n  "));
}

fn assert_bites(check: impl Fn(&Source) -> Vec<String>, path: &str, text: &str, wanted: &str) {
    let violations = check(&Source::new(path, text));
    assert!(
        violations.iter().any(|violation| violation.contains(wanted)),
        "{path}: {text:?} gave {violations:?}"
    );
}

fn assert_accepts(check: impl Fn(&Source) -> Vec<String>, path: &str, text: &str) {
    assert_eq!(
        check(&Source::new(path, text)),
        Vec::<String>::new(),
        "{path}: {text:?}"
    );
}

fn forbidden_imports(source: &Source) -> Vec<String> {
    let Some(room) = source.room() else { return Vec::new() };
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!(
            "src/{}: room `{room}` is not in the table of src/lib.rs and this test",
            source.path
        )];
    };
    let mut violations = Vec::new();
    for (line, target) in source.imported_rooms() {
        let is_room = ROOMS.iter().any(|(name, _)| *name == target);
        if is_room && target != room && !allowed.contains(&target.as_str()) {
            violations.push(format!(
                "src/{}:{line}: `{room}` must not import `{target}`",
                source.path
            ));
        }
    }
    let climbing = source.climbing_paths();
    violations.extend(climbing.map(|line| {
        format!(
            "src/{}:{line}: `super::` leaves the room `{room}`; write `crate::…`",
            source.path
        )
    }));
    violations
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    assert_all("Import rule of src/lib.rs:", forbidden_imports);

    let check = forbidden_imports;
    assert_bites(
        check,
        "domain/a.rs",
        "use crate::protocol::ns;",
        "domain/a.rs:1: `domain` must not import `protocol`",
    );
    assert_bites(
        check,
        "actors/a.rs",
        "\nfn f() { crate::net::listen() }",
        "actors/a.rs:2: `actors` must not import `net`",
    );
    assert_bites(
        check,
        "net/a.rs",
        "use crate::{\n    domain::ids,\n    actors::{Session},\n};",
        "import `actors`",
    );
    assert_bites(check, "net/a.rs", "use osa::compose;", "import `compose`");
    assert_bites(check, "ports/a.rs", "use super::super::store;", "leaves the room");
    assert_bites(check, "attic/a.rs", "", "room `attic` is not in the table");
    assert_accepts(
        check,
        "net/a.rs",
        "// crate::actors\nuse crate::ports::store;\nuse super::tls;\nconst A: &str = \"crate::actors\";",
    );
    assert_accepts(
        check,
        "domain/a.rs",
        "fn a() {}\n#[cfg(test)]\nmod tests {\n use crate::protocol;\n}",
    );
}

fn impurities(source: &Source) -> Vec<String> {
    if !source.room().is_some_and(|room| PURE_ROOMS.contains(&room)) {
        return Vec::new();
    }
    let of_word = |word: &&str| {
        let lines = source.lines_with_word(word);
        let violation = |line| {
            format!(
                "src/{}:{line}: `{word}` in a pure room; take it as an argument",
                source.path
            )
        };
        lines.map(violation).collect::<Vec<_>>()
    };
    IMPURE.iter().flat_map(of_word).collect()
}

#[test]
fn domain_and_protocol_have_no_io_clock_randomness_or_async() {
    assert_all("Pure rooms take time, entropy and answers as arguments:", impurities);

    assert_bites(
        impurities,
        "domain/a.rs",
        "\nlet now = Instant::now();",
        "domain/a.rs:2: `Instant::now`",
    );
    assert_bites(impurities, "protocol/a.rs", "async fn f() {}", "`async`");
    assert_bites(impurities, "protocol/a.rs", "use std::fs::File;", "`std::fs`");
    assert_accepts(
        impurities,
        "domain/a.rs",
        "// tokio\nuse std::{net::IpAddr, time::Instant};\nfn instant_of(randomly: Instants) {}",
    );
    assert_accepts(impurities, "net/a.rs", "use tokio::net::TcpStream;");
}

fn overlong_file(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    match lines <= FILE_LINES_MAX {
        true => Vec::new(),
        false => vec![format!("src/{}: {lines} lines; split it by concept", source.path)],
    }
}

#[test]
fn files_have_at_most_400_lines() {
    assert_all("Files have at most 400 lines, tests included:", overlong_file);

    assert_bites(overlong_file, "a.rs", &"\n".repeat(401), "401 lines");
    assert_accepts(overlong_file, "a.rs", &"\n".repeat(400));
}

fn overlong_functions(source: &Source) -> Vec<String> {
    let is_actor = source.room() == Some("actors");
    let mut violations = Vec::new();
    for function in source.functions() {
        let limit = match is_actor && function.name == "handle" {
            true => HANDLER_LINES_MAX,
            false => FUNCTION_LINES_MAX,
        };
        if function.body_lines > limit {
            let (name, lines) = (function.name, function.body_lines);
            violations.push(format!(
                "src/{}:{}: `{name}` has {lines} lines, at most {limit}",
                source.path, function.line
            ));
        }
    }
    violations
}

#[test]
fn functions_have_at_most_40_lines_and_handlers_25() {
    assert_all(
        "Functions have at most 40 lines, actor handlers 25:",
        overlong_functions,
    );

    let body = |lines: usize| {
        format!(
            "\nfn handle(a: [u8; 2]) -> bool\nwhere u8: Copy {{\n{}}}\n",
            "  if a { '}'; }\n".repeat(lines)
        )
    };
    assert_bites(
        overlong_functions,
        "net/a.rs",
        &body(41),
        "net/a.rs:2: `handle` has 41 lines, at most 40",
    );
    assert_bites(overlong_functions, "actors/a.rs", &body(26), "at most 25");
    assert_accepts(overlong_functions, "net/a.rs", &body(40));
    assert_accepts(overlong_functions, "actors/a.rs", &body(25));
}

fn empty_names(source: &Source) -> Vec<String> {
    let mut violations = Vec::new();
    let mut parts = source.path.trim_end_matches(".rs").split('/');
    if let Some(part) = parts.find(|part| EMPTY_FILE_NAMES.contains(part)) {
        violations.push(format!("src/{}: `{part}` says nothing about the content", source.path));
    }
    for (line, name) in source.defined_types() {
        if EMPTY_NAMES.iter().any(|word| name.ends_with(word)) {
            violations.push(format!("src/{}:{line}: `{name}`: name the role", source.path));
        }
    }
    for function in source
        .functions()
        .into_iter()
        .filter(|function| function.name.starts_with("get_"))
    {
        violations.push(format!(
            "src/{}:{}: `{}`: drop `get_`",
            source.path, function.line, function.name
        ));
    }
    violations
}

#[test]
fn names_say_what_things_are() {
    assert_all("Names are terms of the field:", empty_names);

    assert_bites(empty_names, "net/utils.rs", "", "`utils` says nothing");
    assert_bites(
        empty_names,
        "net/a.rs",
        "pub struct SessionManager;",
        "net/a.rs:1: `SessionManager`",
    );
    assert_bites(empty_names, "net/a.rs", "fn get_name() -> u8 { 1 }", "drop `get_`");
    assert_accepts(
        empty_names,
        "net/a.rs",
        "struct Session; // Manager\nfn f() { manager.get_ref() }",
    );
}

fn undocumented_events(documented: &BTreeSet<String>, source: &Source) -> Vec<String> {
    let unknown = source.events().filter(|(_, event)| !documented.contains(event));
    let row = |(line, event): (usize, String)| {
        format!(
            "src/{}:{line}: add \"| `{event}` | level | when |\" to docs/logging.md",
            source.path
        )
    };
    unknown.map(row).collect()
}

fn documented_events(text: &str) -> BTreeSet<String> {
    let table = text.split_once("## Events").map_or("", |(_, table)| table);
    let rows = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(event, _)| event.to_owned()).collect()
}

#[test]
fn logged_events_are_those_of_the_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documented =
        documented_events(&std::fs::read_to_string(root.join("docs/logging.md")).expect("docs/logging.md"));
    assert_all("Every event is documented:", |source| {
        undocumented_events(&documented, source)
    });

    let logged: BTreeSet<String> = Source::all(&root.join("src"))
        .iter()
        .flat_map(Source::events)
        .map(|(_, event)| event)
        .collect();
    let gone: Vec<&String> = documented.difference(&logged).collect();
    assert!(
        gone.is_empty(),
        "docs/logging.md lists events that nothing logs: {gone:?}"
    );
    let is_snake_case = |event: &&String| {
        event
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
    };
    assert!(
        logged.iter().all(|event| is_snake_case(&event)),
        "events are snake_case: {logged:?}"
    );

    let check = |source: &Source| undocumented_events(&documented_events("## Events\n| `known` | info | x |"), source);
    assert_bites(
        check,
        "net/a.rs",
        "\ninfo!(event = \"unheard_of\", a = 1);",
        "net/a.rs:2: add \"| `unheard_of` |",
    );
    assert_accepts(
        check,
        "net/a.rs",
        "info!(event = \"known\");\n#[cfg(test)]\nmod tests { fn a() { info!(event = \"b\"); } }",
    );
}
