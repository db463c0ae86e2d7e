//! The writing side of the codec.

use std::fmt;

use minidom::{Element, Node};

use crate::protocol::ns;

/// Text as it may stand in an attribute value or between tags: the five special characters as references, and those
/// XML 1.0 has no way to write (control characters) as U+FFFD.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut plain_from = 0;
        for (at, character) in self.0.char_indices() {
            let Some(replacement) = replacement(character) else {
                continue;
            };
            formatter.write_str(self.0.get(plain_from..at).unwrap_or_default())?;
            formatter.write_str(replacement)?;
            plain_from = at + character.len_utf8();
        }
        formatter.write_str(self.0.get(plain_from..).unwrap_or_default())
    }
}

/// Line ends and tabs become references too, or a reader would turn them into spaces inside an attribute.
fn replacement(character: char) -> Option<&'static str> {
    match character {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '\'' => Some("&apos;"),
        '"' => Some("&quot;"),
        '\t' => Some("&#9;"),
        '\n' => Some("&#10;"),
        '\r' => Some("&#13;"),
        '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => Some("\u{fffd}"),
        _ => None,
    }
}

/// Appends `element` to `output` as a child of a stream whose default namespace is `jabber:client`, or of a component's stream:
/// what is in the namespace of clients is written without one, and so is in that of the stream.
pub fn write_element(element: &Element, output: &mut String) {
    write_inside(element, ns::CLIENT, output);
}

/// Writes depth first. Elements we write are our own or were read under the decoder's depth limit.
fn write_inside(element: &Element, default_namespace: &str, output: &mut String) {
    let own_namespace = (!element.has_ns(default_namespace)).then(|| element.ns());
    output.push('<');
    output.push_str(element.name());
    if let Some(namespace) = &own_namespace {
        write_attribute(" xmlns", namespace, output);
    }
    write_attributes(element, output);
    if element.nodes().next().is_none() {
        output.push_str("/>");
        return;
    }
    output.push('>');
    let inner_default = own_namespace.as_deref().unwrap_or(default_namespace);
    for node in element.nodes() {
        match node {
            Node::Element(child) => write_inside(child, inner_default, output),
            Node::Text(text) => push(output, format_args!("{}", Escaped(text))),
        }
    }
    push(output, format_args!("</{}>", element.name()));
}

fn write_attributes(element: &Element, output: &mut String) {
    for (number, ((namespace, name), value)) in element.attrs().iter().enumerate() {
        if namespace.is_none() {
            output.push(' ');
            write_attribute(name, value, output);
        } else if namespace == ns::XML {
            output.push_str(" xml:");
            write_attribute(name, value, output);
        } else {
            push(
                output,
                format_args!(" xmlns:n{number}='{}' n{number}:", Escaped(namespace)),
            );
            write_attribute(name, value, output);
        }
    }
}

fn write_attribute(name: &str, value: &str, output: &mut String) {
    push(output, format_args!("{name}='{}'", Escaped(value)));
}

/// Formats onto a `String`, which cannot fail.
pub(crate) fn push(output: &mut String, text: fmt::Arguments<'_>) {
    // The error type of `fmt::Write` is only for sinks that can fail.
    let _ = fmt::Write::write_fmt(output, text);
}
