//! Documents to text, in the layout of the original peers, so that any parser that read them reads us.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::value::{Call, Document, Fault, Struct, Value};

/// Writes a document with its XML declaration. Characters that XML cannot carry become U+FFFD.
pub fn write(document: &Document) -> String {
    match document {
        Document::Call(call) => write_call(call),
        Document::Response(Ok(value)) => write_result(value),
        Document::Response(Err(fault)) => write_fault(fault),
        Document::Params(params) => {
            let mut output = String::from("<?xml version=\"1.0\"?>\n");
            write_params(params, &mut output);
            output
        }
    }
}

/// Writes a `methodCall`.
pub fn write_call(call: &Call) -> String {
    let mut output = String::from("<?xml version='1.0'?>\n<methodCall>\n<methodName>");
    escape(&call.method, &mut output);
    output.push_str("</methodName>\n");
    write_params(&call.params, &mut output);
    output.push_str("</methodCall>\n");
    output
}

/// Writes a `methodResponse` with a result.
pub fn write_result(value: &Value) -> String {
    let mut output = String::from("<?xml version='1.0'?>\n<methodResponse>\n");
    write_params(std::slice::from_ref(value), &mut output);
    output.push_str("</methodResponse>\n");
    output
}

/// Writes a `methodResponse` with a fault.
pub fn write_fault(fault: &Fault) -> String {
    let mut output = String::from("<?xml version='1.0'?>\n<methodResponse>\n<fault>\n");
    let members = Struct::from([
        ("faultCode".to_owned(), Value::Int(fault.code)),
        ("faultString".to_owned(), Value::String(fault.text.clone())),
    ]);
    write_value(&Value::Struct(members), &mut output);
    output.push_str("</fault>\n</methodResponse>\n");
    output
}

fn write_params(params: &[Value], output: &mut String) {
    output.push_str("<params>\n");
    for param in params {
        output.push_str("<param>\n");
        write_value(param, output);
        output.push_str("</param>\n");
    }
    output.push_str("</params>\n");
}

/// What is still to be written, last first: a peer's nesting, sent back, costs no stack either.
enum Step<'a> {
    Value(&'a Value),
    Name(&'a str),
    Text(&'static str),
}

fn write_value(value: &Value, output: &mut String) {
    let mut steps = vec![Step::Value(value)];
    while let Some(step) = steps.pop() {
        match step {
            Step::Text(text) => output.push_str(text),
            Step::Name(name) => {
                output.push_str("<member>\n<name>");
                escape(name, output);
                output.push_str("</name>\n");
            }
            Step::Value(Value::Array(elements)) => {
                output.push_str("<value><array><data>\n");
                steps.push(Step::Text("</data></array></value>\n"));
                steps.extend(elements.iter().rev().map(Step::Value));
            }
            Step::Value(Value::Struct(members)) => {
                output.push_str("<value><struct>\n");
                steps.push(Step::Text("</struct></value>\n"));
                for (name, member) in members.iter().rev() {
                    steps.extend([Step::Text("</member>\n"), Step::Value(member), Step::Name(name)]);
                }
            }
            Step::Value(scalar) => write_scalar(scalar, output),
        }
    }
}

fn write_scalar(scalar: &Value, output: &mut String) {
    let (tag, text) = match scalar {
        Value::Int(number) => ("int", number.to_string()),
        Value::Boolean(flag) => ("boolean", u8::from(*flag).to_string()),
        Value::String(text) => ("string", text.clone()),
        Value::Double(number) => ("double", number.to_string()),
        Value::DateTime(text) => ("dateTime.iso8601", text.clone()),
        Value::Base64(bytes) => ("base64", BASE64.encode(bytes)),
        Value::Nil => return output.push_str("<value><nil/></value>\n"),
        // Written by steps, above.
        Value::Array(_) | Value::Struct(_) => return,
    };
    output.push_str("<value><");
    output.push_str(tag);
    output.push('>');
    escape(&text, output);
    output.push_str("</");
    output.push_str(tag);
    output.push_str("></value>\n");
}

fn escape(text: &str, output: &mut String) {
    for character in text.chars() {
        match character {
            '&' => output.push_str("&amp;"),
            '<' => output.push_str("&lt;"),
            '>' => output.push_str("&gt;"),
            // A reader would turn it into a line feed.
            '\r' => output.push_str("&#13;"),
            '\t' | '\n' => output.push(character),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => output.push('\u{fffd}'),
            _ => output.push(character),
        }
    }
}
