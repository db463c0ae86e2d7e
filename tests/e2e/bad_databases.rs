//! A Satellite's database that is named wrongly: told without asking it where that can be, and by what answers otherwise.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::fs::PermissionsExt;

use crate::site::Site;

impl Site {
    /// Beside a Satellite, whose database is said to be at this host and port.
    fn configure_database(&self, host: &str, port: u16, more: &str) {
        let (data, postgres) = (
            self.path("data"),
            format!("[postgres]\nhost = {host:?}\nport = {port}\n"),
        );
        let text = format!(
            "hostname = \"localhost\"\ndata_dir = {data:?}\ndeployment = \"satellite\"\n{postgres}name = \"n\"\nuser = \"u\"\n\
             password = \"p\"\n{more}[xmpp]\nlisten = [\"127.0.0.1:0\"]\n"
        );
        fs::write(self.config(), text).unwrap();
        fs::set_permissions(self.config(), Permissions::from_mode(0o600)).unwrap();
    }
}

/// Answers each connection with this, at once or after the client's first words; its port.
fn service(greeting: &'static [u8], answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            socket.write_all(greeting).unwrap();
            if !answer.is_empty() {
                socket.read_exact(&mut [0; 8]).unwrap();
                socket.write_all(answer).unwrap();
            }
            socket.shutdown(Shutdown::Write).unwrap();
            // To its end: a connection with unread bytes would be reset.
            socket.read_to_end(&mut Vec::new()).ok();
        }
    });
    port
}

#[test]
fn database_that_is_none_is_refused_by_what_answers_there() {
    let site = Site::initialised();
    let http = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    for (greeting, answer) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], &b""[..]),
        (b"", http),
        (b"", b"\x15\x03\x01\x00\x02\x02\x16"),
        (b"E\x00\x00\x00\x01", b""),
    ] {
        let port = service(greeting, answer);
        site.configure_database("127.0.0.1", port, "");

        let at = format!("database 127.0.0.1:{port}/n cannot be reached (what answers there is not PostgreSQL: ");
        site.serve_in_vain()
            .assert_failed(69, &[&at, "correct its host and port"]);
    }
}

#[test]
fn database_that_cannot_be_asked_as_configured_is_found_without_asking() {
    let site = Site::initialised();
    let checked = "ssl_mode = \"verify-full\"\nroot_certificate = ";
    fs::write(site.path("empty.pem"), "").unwrap();
    let empty = format!("{checked}{:?}\n", site.path("empty.pem"));
    for (host, more, code, words) in [
        (
            "db.example:5432",
            "",
            78,
            ["osa.toml:5: postgres.host = \"db.example:5432\"", "db_port"],
        ),
        (
            "db.example",
            &format!("{checked}\"/nowhere.pem\"\n"),
            66,
            ["db_sslrootcert", "/nowhere.pem does not exist"],
        ),
        (
            "db.example",
            &empty,
            78,
            ["empty.pem holds no CA certificate of the database", "db_sslrootcert"],
        ),
    ] {
        site.configure_database(host, 5432, more);
        site.serve_in_vain().assert_failed(code, &words);
        site.run(["check-config"]).assert_failed(code, &words);
    }
    site.configure_database("/nowhere", 5432, &empty);
    let socket = site.run(["check-config"]);
    assert_eq!(socket.code, Some(0), "a Unix socket has no TLS: {socket:?}");
}
