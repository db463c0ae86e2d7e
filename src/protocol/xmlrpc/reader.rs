//! Bytes to documents, under limits.
//!
//! Elements are reduced from the inside to the outside on an explicit stack: a closing tag takes what its children were
//! reduced to and becomes an item of its parent. So nesting costs no stack of ours, and no tree is built.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rxml::error::EndOrError;
use rxml::{Event, Parse, Parser};

use super::value::{Call, Document, Fault, Struct, Value};

/// Longest document. Units: bytes. A registration has some 2 KiB, most of it the systemid.
pub const DOCUMENT_LEN_MAX: usize = 1 << 20;
/// Deepest nesting of XML elements. An array in a struct in a response takes 11.
pub const DEPTH_MAX: usize = 32;
/// Most elements in a document; with it, a hostile document costs a few MiB for the time of its reading.
pub const ELEMENTS_MAX: usize = 20_000;

/// A document that cannot be read. The sender is to blame.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// Longer than [`DOCUMENT_LEN_MAX`].
    #[error("longer than {DOCUMENT_LEN_MAX} bytes")]
    TooLong,
    /// Deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} elements")]
    TooDeep,
    /// More than [`ELEMENTS_MAX`].
    #[error("more than {ELEMENTS_MAX} elements")]
    TooManyElements,
    /// Not XML, or with a document type, a comment or a processing instruction.
    #[error("not acceptable XML: {0}")]
    Xml(rxml::Error),
    /// It ends too early.
    #[error("incomplete")]
    Incomplete,
    /// An element that XML-RPC does not know.
    #[error("unknown element")]
    UnknownElement,
    /// Text, or a child, that does not belong there.
    #[error("malformed <{0}>")]
    Malformed(&'static str),
    /// Another kind of document than was expected.
    #[error("another kind of document than expected")]
    OtherDocument,
}

/// Reads a document of any kind.
///
/// # Errors
/// [`ReadError`] says what is wrong.
pub fn read(bytes: &[u8]) -> Result<Document, ReadError> {
    if bytes.len() > DOCUMENT_LEN_MAX {
        return Err(ReadError::TooLong);
    }
    let mut stack = Stack::default();
    let mut parser = Parser::new();
    let mut rest = bytes;
    loop {
        match parser.parse(&mut rest, true) {
            Ok(Some(event)) => stack.take(event)?,
            Ok(None) => return stack.document.ok_or(ReadError::Incomplete),
            Err(EndOrError::NeedMoreData) => return Err(ReadError::Incomplete),
            Err(EndOrError::Error(rxml::Error::InvalidEof(_))) => return Err(ReadError::Incomplete),
            Err(EndOrError::Error(error)) => return Err(ReadError::Xml(error)),
        }
    }
}

/// Reads a `methodCall`.
///
/// # Errors
/// As [`read`], and [`ReadError::OtherDocument`].
pub fn read_call(bytes: &[u8]) -> Result<Call, ReadError> {
    match read(bytes)? {
        Document::Call(call) => Ok(call),
        Document::Response(_) | Document::Params(_) => Err(ReadError::OtherDocument),
    }
}

/// Reads a `methodResponse`.
///
/// # Errors
/// As [`read`], and [`ReadError::OtherDocument`].
pub fn read_response(bytes: &[u8]) -> Result<Result<Value, Fault>, ReadError> {
    match read(bytes)? {
        Document::Response(response) => Ok(response),
        Document::Call(_) | Document::Params(_) => Err(ReadError::OtherDocument),
    }
}

/// Reads bare `params`.
///
/// # Errors
/// As [`read`], and [`ReadError::OtherDocument`].
pub fn read_params(bytes: &[u8]) -> Result<Vec<Value>, ReadError> {
    match read(bytes)? {
        Document::Params(params) => Ok(params),
        Document::Call(_) | Document::Response(_) => Err(ReadError::OtherDocument),
    }
}

/// What an element is reduced to.
enum Item {
    /// A typed value, still without the `value` around it.
    Typed(Value),
    Value(Value),
    Name(String),
    Member(String, Value),
    Data(Vec<Value>),
    Param(Value),
    Params(Vec<Value>),
    Fault(Fault),
    MethodName(String),
}

/// The open elements, outermost first.
#[derive(Default)]
struct Stack {
    open: Vec<Open>,
    elements: usize,
    document: Option<Document>,
}

struct Open {
    tag: &'static str,
    text: String,
    items: Vec<Item>,
}

/// Every element that is known; a `Malformed` error names one of these.
const TAGS: [&str; 24] = [
    "methodCall",
    "methodResponse",
    "methodName",
    "params",
    "param",
    "fault",
    "value",
    "struct",
    "member",
    "name",
    "array",
    "data",
    "string",
    "int",
    "i4",
    "i8",
    "boolean",
    "double",
    "base64",
    "dateTime.iso8601",
    "dateTime",
    "nil",
    "i1",
    "i2",
];

impl Stack {
    fn take(&mut self, event: Event) -> Result<(), ReadError> {
        match event {
            Event::XmlDeclaration(..) => Ok(()),
            Event::StartElement(_, (_, name), _) => self.open(&name),
            Event::Text(_, text) => self.text(&text),
            Event::EndElement(_) => self.close(),
        }
    }

    fn open(&mut self, name: &str) -> Result<(), ReadError> {
        let tag = TAGS.into_iter().find(|tag| *tag == name);
        let tag = tag.ok_or(ReadError::UnknownElement)?;
        self.elements += 1;
        if self.elements > ELEMENTS_MAX {
            return Err(ReadError::TooManyElements);
        }
        if self.open.len() == DEPTH_MAX {
            return Err(ReadError::TooDeep);
        }
        self.open.push(Open {
            tag,
            text: String::new(),
            items: Vec::new(),
        });
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), ReadError> {
        let Some(open) = self.open.last_mut() else {
            return Ok(());
        };
        match open.tag {
            "methodCall" | "methodResponse" | "params" | "param" | "fault" | "struct" | "member" | "array" | "data"
            | "nil" => {
                if !is_blank(text) {
                    return Err(ReadError::Malformed(open.tag));
                }
            }
            _ => open.text.push_str(text),
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), ReadError> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        match self.open.last_mut() {
            Some(parent) => parent.items.push(open.reduce()?),
            None => self.document = Some(open.into_document()?),
        }
        Ok(())
    }
}

impl Open {
    fn reduce(self) -> Result<Item, ReadError> {
        let malformed = ReadError::Malformed(self.tag);
        match self.tag {
            "value" => self.into_value().map(Item::Value),
            "name" => self.into_text().map(Item::Name),
            "methodName" => self.into_text().map(|name| Item::MethodName(name.trim().to_owned())),
            "member" => match <[Item; 2]>::try_from(self.items) {
                Ok([Item::Name(name), Item::Value(value)]) => Ok(Item::Member(name, value)),
                _ => Err(malformed),
            },
            "struct" => into_struct(self.items).map(Item::Typed),
            "data" => all(self.items, malformed, value_of).map(Item::Data),
            "array" => match <[Item; 1]>::try_from(self.items) {
                Ok([Item::Data(elements)]) => Ok(Item::Typed(Value::Array(elements))),
                _ => Err(malformed),
            },
            "param" => match <[Item; 1]>::try_from(self.items) {
                Ok([Item::Value(value)]) => Ok(Item::Param(value)),
                _ => Err(malformed),
            },
            "params" => all(self.items, malformed, param_of).map(Item::Params),
            "fault" => into_fault(self.items).map(Item::Fault),
            "methodCall" | "methodResponse" => Err(malformed),
            _ => self.into_scalar().map(Item::Typed),
        }
    }

    fn into_document(self) -> Result<Document, ReadError> {
        let malformed = ReadError::Malformed(self.tag);
        match self.tag {
            "methodCall" => into_call(self.items).map(Document::Call),
            "methodResponse" => match <[Item; 1]>::try_from(self.items) {
                Ok([Item::Params(params)]) => match <[Value; 1]>::try_from(params) {
                    Ok([value]) => Ok(Document::Response(Ok(value))),
                    Err(_) => Err(malformed),
                },
                Ok([Item::Fault(fault)]) => Ok(Document::Response(Err(fault))),
                _ => Err(malformed),
            },
            "params" => all(self.items, malformed, param_of).map(Document::Params),
            _ => Err(ReadError::OtherDocument),
        }
    }

    /// A value has either one typed child or untyped text, which is a string.
    fn into_value(self) -> Result<Value, ReadError> {
        if self.items.is_empty() {
            return Ok(Value::String(self.text));
        }
        match <[Item; 1]>::try_from(self.items) {
            Ok([Item::Typed(value)]) if is_blank(&self.text) => Ok(value),
            _ => Err(ReadError::Malformed("value")),
        }
    }

    fn into_text(self) -> Result<String, ReadError> {
        if self.items.is_empty() {
            Ok(self.text)
        } else {
            Err(ReadError::Malformed(self.tag))
        }
    }

    fn into_scalar(self) -> Result<Value, ReadError> {
        let tag = self.tag;
        let text = self.into_text()?;
        let value = match tag {
            "string" => Some(Value::String(text)),
            "int" | "i1" | "i2" | "i4" | "i8" => text.trim().parse().ok().map(Value::Int),
            "boolean" => match text.trim() {
                "0" => Some(Value::Boolean(false)),
                "1" => Some(Value::Boolean(true)),
                _ => None,
            },
            "double" => text
                .trim()
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
                .map(Value::Double),
            "base64" => decode_base64(&text).map(Value::Base64),
            "dateTime.iso8601" | "dateTime" => Some(Value::DateTime(text.trim().to_owned())),
            "nil" => Some(Value::Nil),
            _ => None,
        };
        value.ok_or(ReadError::Malformed(tag))
    }
}

fn into_call(items: Vec<Item>) -> Result<Call, ReadError> {
    let mut items = items.into_iter();
    match (items.next(), items.next(), items.next()) {
        (Some(Item::MethodName(method)), None, None) => Ok(Call {
            method,
            params: Vec::new(),
        }),
        (Some(Item::MethodName(method)), Some(Item::Params(params)), None) => Ok(Call { method, params }),
        _ => Err(ReadError::Malformed("methodCall")),
    }
}

fn into_struct(items: Vec<Item>) -> Result<Value, ReadError> {
    let mut members = Struct::new();
    for item in items {
        let Item::Member(name, value) = item else {
            return Err(ReadError::Malformed("struct"));
        };
        // Which of two members would count depends on the reader; a signed document must not have two meanings.
        if members.insert(name, value).is_some() {
            return Err(ReadError::Malformed("struct"));
        }
    }
    Ok(Value::Struct(members))
}

fn into_fault(items: Vec<Item>) -> Result<Fault, ReadError> {
    let malformed = ReadError::Malformed("fault");
    let Ok([Item::Value(value)]) = <[Item; 1]>::try_from(items) else {
        return Err(malformed);
    };
    let member = |name: &str| value.as_struct().and_then(|members| members.get(name));
    let code = member("faultCode").and_then(Value::as_int).ok_or(malformed)?;
    let text = member("faultString").and_then(Value::as_str).ok_or(malformed)?;
    Ok(Fault {
        code,
        text: text.to_owned(),
    })
}

fn all(items: Vec<Item>, malformed: ReadError, part: fn(Item) -> Option<Value>) -> Result<Vec<Value>, ReadError> {
    items.into_iter().map(|item| part(item).ok_or(malformed)).collect()
}

fn value_of(item: Item) -> Option<Value> {
    if let Item::Value(value) = item {
        Some(value)
    } else {
        None
    }
}

fn param_of(item: Item) -> Option<Value> {
    if let Item::Param(value) = item {
        Some(value)
    } else {
        None
    }
}

/// Writers break lines in it.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64.decode(digits).ok()
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_whitespace())
}
