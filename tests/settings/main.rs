//! Configuration as operators meet it: files, variables, flags, errors, documentation.
#![allow(clippy::expect_used, reason = "a test that cannot be set up must fail loudly")]

mod agent;
mod dispatcher;
mod documentation;
mod legacy_formats;
mod satellite;
mod satellite_questions;
mod upstream;

use std::path::PathBuf;

/// A directory with configuration files.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("a writable directory");
        path
    }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    pairs.iter().map(owned).collect()
}
