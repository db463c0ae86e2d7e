use osa::domain::secret::Secret;
use osa::settings::legacy::credentials::Credentials;
use osa::settings::legacy::ini::{Ini, IniError, InterpolationError};
use osa::settings::legacy::up2date::Up2date;
use proptest::prelude::*;

fn value(text: &str, key: &str) -> Result<Option<String>, InterpolationError> {
    Ini::parse(text).expect("an INI file").value("s", key)
}

#[test]
fn ini_is_read_as_python_reads_it() {
    let text = "# c\n; c\n[DEFAULT]\nhome: /home\n[s]\nKey = a=b:c # no comment\nlong = one\n  two\n\n# c\n\tthree\n\
        path = c:\\temp\\%(HOME)s\nrate = 100%% or 5%\nkey2=\n";

    for (key, wanted) in [
        ("KEY", "a=b:c # no comment"),
        ("long", "one\ntwo\nthree"),
        ("path", "c:\\temp\\/home"),
        ("rate", "100% or 5%"),
        ("key2", ""),
        ("home", "/home"),
    ] {
        assert_eq!(value(text, key), Ok(Some(wanted.to_owned())), "{key}");
    }
    assert_eq!(value(text, "absent"), Ok(None));
}

#[test]
fn last_of_several_values_counts() {
    assert_eq!(value("[s]\na = 1\n[t]\n[s]\nA = 2\n", "a"), Ok(Some("2".to_owned())));
}

#[test]
fn circles_and_bombs_end() {
    let bomb: String = (0..10)
        .map(|n| format!("k{n} = {}\n", format!("%(k{})s", n + 1).repeat(10)))
        .collect();

    assert_eq!(
        value("[s]\na = %(b)s\nb = %(a)s\n", "a"),
        Err(InterpolationError::TooDeep)
    );
    assert_eq!(
        value(&format!("[s]\n{bomb}k10 = xxxx\n"), "k0"),
        Err(InterpolationError::TooLong)
    );
    assert_eq!(value("[s]\na = %(b\n", "a"), Err(InterpolationError::Unclosed));
}

#[test]
fn lines_that_are_nothing_are_refused_with_their_number() {
    assert_eq!(Ini::parse("[s]\n\nword\n"), Err(IniError::Line { line: 3 }));
    assert_eq!(Ini::parse("a = 1\n"), Err(IniError::NoSection { line: 1 }));
    assert_eq!(Ini::parse("[s]\n= 1\n"), Err(IniError::Line { line: 2 }));
}

#[test]
fn up2date_continues_lines_and_passes_over_comments() {
    let file = Up2date::parse("a[comment]=x\n#a=0\na = 1;2; \\\n 3\nnoise\nb=x\\");

    let a = file.value("a").expect("a");
    assert_eq!((a.list().collect::<Vec<_>>(), a.line), (vec!["1", "2", "3"], 3));
    assert_eq!(file.value("b").map(|value| value.text.as_str()), Some("x"));
    assert_eq!(file.value("a[comment]"), None);
}

#[test]
fn placeholder_of_the_package_holds_no_credentials() {
    assert_eq!(
        Credentials::parse("# Automatically generated. Do not edit!\n"),
        Ok(None)
    );
    assert_eq!(Credentials::parse("[osad-auth]\nusername = osad-1\n"), Ok(None));
    assert!(Credentials::parse("\u{0}garbage").is_err());
}

#[test]
fn credentials_that_would_not_read_back_are_not_written() {
    for text in ["", " a", "a\nb", "a\u{7f}"] {
        let credentials = Credentials {
            username: text.to_owned(),
            password: Secret::new("p"),
            resource: "osad".to_owned(),
        };
        assert_eq!(
            credentials.render().map_err(|error| error.field),
            Err("username"),
            "{text:?}"
        );
    }
}

proptest! {
    #[test]
    fn written_credentials_read_back(username in "[!-~]{1,40}", password in "[!-~é][ -~]{0,40}[!-~]", resource in "[a-z]{1,9}") {
        let credentials = Credentials { username, password: Secret::new(password), resource };
        let text = credentials.render().expect("printable");
        prop_assert_eq!(Credentials::parse(text.expose()), Ok(Some(credentials)));
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in "([\\[\\]a-c=:%()s;#\\\\ \t\n]|.){0,200}") {
        if let Ok(ini) = Ini::parse(&text) {
            for key in ini.section("a").into_iter().flatten() {
                let _ = ini.value("a", key.0);
            }
        }
        let _ = (Up2date::parse(&text), Credentials::parse(&text));
    }
}
