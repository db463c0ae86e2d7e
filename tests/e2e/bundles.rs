//! What `systems add` refuses, and what it leaves behind then: nothing.

use crate::site::Site;

fn systems(site: &Site) -> Option<usize> {
    site.run(["systems", "list", "--json"]).json().as_array().map(Vec::len)
}

#[test]
fn bundle_that_cannot_be_written_leaves_no_system_behind() {
    let site = Site::initialised();
    let file = site.path("file");
    std::fs::write(&file, "").unwrap();

    let out = file.to_str().unwrap();
    for out in [out, "/proc/x"] {
        site.run(["systems", "add", "web-1", "--out", out])
            .assert_failed(73, &[out, "another place with --out"]);
    }
    assert_eq!(site.run(["systems", "add", "", "--out", out]).code, Some(65));
    assert_eq!(site.run(["systems", "add", "../web-1", "--out", out]).code, Some(65));

    assert_eq!(systems(&site), Some(0));
}

#[test]
fn refused_name_is_bad_data_and_leaves_no_directory() {
    let site = Site::initialised();
    let out = site.path("out");

    for length in [129, 200, 300] {
        let name = "a".repeat(length);
        site.run(["systems", "add", &name, "--out", out.to_str().unwrap()])
            .assert_failed(65, &["1 to 128 characters"]);
    }
    let long = "\u{4e00}".repeat(100);
    site.run(["systems", "add", &long, "--out", out.to_str().unwrap()])
        .assert_failed(65, &["cannot name a system"]);

    assert!(!out.exists());
    assert_eq!(systems(&site), Some(0));
}

#[test]
fn system_that_is_there_is_said_to_exist_and_not_its_directory() {
    let site = Site::initialised();
    let (out, other) = (site.path("out"), site.path("other"));
    let add = |out: &std::path::Path| site.run(["systems", "add", "web-1", "--out", out.to_str().unwrap()]);
    assert_eq!(add(&out).code, Some(0));

    add(&out).assert_failed(73, &["system web-1 exists already"]);
    add(&other).assert_failed(73, &["system web-1 exists already"]);

    assert!(!other.exists());
}
