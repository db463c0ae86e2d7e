//! Accounts made for another XMPP server.

use std::collections::BTreeSet;

use crate::site::{self, Site};

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[test]
fn made_accounts_are_lines_that_other_servers_take() {
    let made = site::run(["accounts", "make", "200", "--domain", "Sat.Example.com"]);

    assert_eq!((made.code, made.err.as_str()), (Some(0), ""), "{made:?}");
    let accounts: Vec<Vec<&str>> = made.out.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(accounts.len(), 200);
    for account in &accounts {
        let [username, domain, password] = account.as_slice() else {
            panic!("{account:?}");
        };
        let drawn = username.strip_prefix("osad-").unwrap();
        assert!(is_hex(drawn, 10) && is_hex(password, 20), "{account:?}");
        assert_eq!(*domain, "sat.example.com");
    }
    for column in [0, 2] {
        let distinct: BTreeSet<&str> = accounts.iter().map(|account| account[column]).collect();
        assert_eq!(distinct.len(), 200);
    }
}

#[test]
fn made_accounts_are_of_this_host_and_stored_nowhere() {
    let site = Site::initialised();

    let made = site.run(["accounts", "make", "1", "--json"]).json();

    assert_eq!(made[0]["domain"], "localhost");
    let fields: Vec<&String> = made[0].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["domain", "password", "username"]);
    assert_eq!(site.run(["accounts", "list", "--json"]).json(), serde_json::json!([]));
}

#[test]
fn accounts_are_made_for_names_and_in_numbers() {
    for (arguments, said) in [
        (
            ["accounts", "make", "0", "--domain", "a.example"],
            "0 is not in 1..=100000",
        ),
        (["accounts", "make", "1", "--domain", "10.0.0.1"], "an IP address"),
    ] {
        site::run(arguments).assert_failed(64, &[said]);
    }
}
