//! What the fuzzers start from, run through the same functions.

#[path = "../../fuzz/targets/mod.rs"]
mod targets;

use std::fs;
use std::path::Path;

/// The files of one target: name and content.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|path| {
            (
                path.file_name().unwrap().display().to_string(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    assert!(files.len() > 5, "{target} has {} files", files.len());
    files
}

#[test]
fn codec_holds_on_its_corpus() {
    for (_, data) in corpus("codec") {
        targets::codec::run(&data);
    }
}

#[test]
fn server_stream_holds_on_its_corpus_and_logs_in_whom_it_should() {
    for (name, data) in corpus("server_stream") {
        let is_logged_in = targets::server_stream::run(&data);

        assert_eq!(is_logged_in, name.starts_with("login-"), "{name}");
    }
}

#[test]
fn signatures_hold_on_their_corpus_and_what_is_refused_has_no_effect() {
    for (name, data) in corpus("signed") {
        let effects = targets::signed::run(&data);

        assert_eq!(effects == 0, name.starts_with("refused-"), "{name}: {effects}");
    }
}

#[cfg(feature = "agent")]
#[test]
fn settings_hold_on_their_corpus() {
    for (_, data) in corpus("settings") {
        targets::settings::run(&data);
    }
}

#[test]
fn xmlrpc_holds_on_its_corpus() {
    for (_, data) in corpus("xmlrpc") {
        targets::xmlrpc::run(&data);
    }
}
