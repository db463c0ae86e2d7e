//! What a peer says about an error of its own.

use std::fmt;

use minidom::Element;

/// Characters of it that are kept: enough for a line of a log.
const CHARS_MAX: usize = 200;

/// Condition and words of an error, for a log: on one line, and short. Servers say there what an administrator has to
/// know, such as that accounts are made too quickly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remark(String);

impl Remark {
    /// What an `<error/>` says whose conditions are of this namespace (RFC 6120, sections 4.9.2 and 8.3.2); of an old one, its
    /// number.
    pub(crate) fn of(error: &Element, conditions: &str) -> Self {
        let (texts, names): (Vec<_>, Vec<_>) = error
            .children()
            .filter(|child| child.has_ns(conditions))
            .partition(|child| child.name() == "text");
        let named = names.first().map(|condition| condition.name().to_owned());
        let condition = named.or_else(|| error.attr("code").map(|code| format!("error {code}")));
        let text = texts.first().map_or_else(|| error.text(), |text| text.text());
        let said = [condition.unwrap_or_default(), text];
        let said = said.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
        let said = said.collect::<Vec<_>>().join(": ");
        let line = said.chars().map(|char| if char.is_control() { ' ' } else { char });
        Self(line.take(CHARS_MAX).collect())
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "it does not say why"
        } else {
            &self.0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ns;

    fn said(error: &str) -> String {
        let error: Element = error.parse().expect("an element");
        Remark::of(&error, ns::STANZA_ERRORS).to_string()
    }

    #[test]
    fn error_is_told_by_condition_and_words_or_by_number() {
        let condition = "<resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>";
        let text = "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>too\nquickly</text>";
        for (error, expected) in [
            (
                format!("<error xmlns='x' code='500' type='wait'>{condition}{text}</error>"),
                "resource-constraint: too quickly",
            ),
            (format!("<error xmlns='x'>{condition}</error>"), "resource-constraint"),
            (
                "<error xmlns='x' code='405'>Not allowed</error>".to_owned(),
                "error 405: Not allowed",
            ),
            ("<error xmlns='x'/>".to_owned(), "it does not say why"),
        ] {
            assert_eq!(said(&error), expected);
        }
    }

    #[test]
    fn error_of_many_words_is_cut() {
        let error = format!("<error xmlns='x'>{}</error>", "ä".repeat(1_000));
        assert_eq!(said(&error).chars().count(), CHARS_MAX);
    }
}
