//! A Rust source file, read just well enough to count and to see paths: no parser, but comments, texts and tests are
//! left out.

use std::fs;
use std::path::Path;

/// A file under `src/`.
pub struct Source {
    /// Path below `src/`.
    pub path: String,
    /// Its text.
    pub text: String,
    /// The text before its tests.
    tested: String,
    /// The same with comments, strings and characters blanked out; line breaks are kept.
    code: String,
}

/// A function with a body.
pub struct Function {
    /// Its name.
    pub name: String,
    /// Line of its name, from 1.
    pub line: usize,
    /// Lines between its braces.
    pub body_lines: usize,
}

impl Source {
    /// Reads a text as the file `path`.
    pub fn new(path: &str, text: &str) -> Self {
        let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
        let end = match text.find("#[cfg(test)]\nmod tests {") {
            _ if is_test => 0,
            Some(end) => end,
            None => text.len(),
        };
        let tested = text.get(..end).unwrap_or(text).to_owned();
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: blank_out(&tested),
            tested,
        }
    }

    /// Every Rust file below a directory, sorted.
    pub fn all(root: &Path) -> Vec<Self> {
        let mut found = Vec::new();
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = fs::read_to_string(&path).expect("a text");
                    let path = path.strip_prefix(root).expect("below the root");
                    found.push(Self::new(&path.display().to_string(), &text));
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }

    /// The room; `None` for the crate root and the programs, which see everything.
    pub fn room(&self) -> Option<&str> {
        let (room, _) = self.path.split_once('/')?;
        (room != "bin").then_some(room)
    }

    /// Rooms named by paths, `crate::{a, b::c}` included, with their lines.
    pub fn imported_rooms(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for root in ["crate::", "osa::"] {
            for at in self.words(root) {
                let rest = self.code.get(at + root.len()..).unwrap_or("");
                let names = match rest.strip_prefix('{') {
                    Some(group) => first_names(group),
                    None => vec![identifier(rest)],
                };
                found.extend(names.into_iter().map(|name| (self.line_of(at), name)));
            }
        }
        found
    }

    /// Lines of `super::…` paths that reach the crate's root.
    pub fn climbing_paths(&self) -> impl Iterator<Item = usize> {
        let modules = self
            .path
            .trim_end_matches(".rs")
            .trim_end_matches("/mod")
            .split('/')
            .count();
        let is_climbing = move |at: &usize| {
            let rest = self.code.get(*at..).unwrap_or("");
            let steps = rest.split("::").take_while(|step| *step == "super").count();
            steps >= modules
        };
        self.words("super::")
            .into_iter()
            .filter(is_climbing)
            .map(|at| self.line_of(at))
    }

    /// Lines where a word or path stands by itself.
    pub fn lines_with_word(&self, word: &str) -> impl Iterator<Item = usize> {
        let ends = |at: &usize| {
            !self
                .code
                .get(at + word.len()..)
                .is_some_and(|rest| rest.starts_with(is_in_word))
        };
        let found: Vec<usize> = self.words(word).into_iter().filter(ends).collect();
        found.into_iter().map(|at| self.line_of(at))
    }

    /// Functions with bodies, nested ones included.
    pub fn functions(&self) -> Vec<Function> {
        let function = |at: usize| {
            let rest = self.code.get(at + "fn ".len()..)?;
            let (opening, closing) = body(rest)?;
            let lines = rest.get(opening..closing)?.matches('\n').count();
            Some(Function {
                name: identifier(rest),
                line: self.line_of(at),
                body_lines: lines.saturating_sub(1),
            })
        };
        self.words("fn ").into_iter().filter_map(function).collect()
    }

    /// Names of types and modules defined here, with their lines.
    pub fn defined_types(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for keyword in ["struct ", "enum ", "trait ", "type ", "mod "] {
            for at in self.words(keyword) {
                let name = identifier(self.code.get(at + keyword.len()..).unwrap_or(""));
                found.push((self.line_of(at), name));
            }
        }
        found
    }

    /// Event names that are logged, with their lines.
    pub fn events(&self) -> impl Iterator<Item = (usize, String)> {
        let found = self.tested.match_indices("event = \"");
        found.filter_map(|(at, opening)| {
            let (event, _) = self.tested.get(at + opening.len()..)?.split_once('"')?;
            Some((self.line_of(at), event.to_owned()))
        })
    }

    fn words(&self, word: &str) -> Vec<usize> {
        let starts = |at: &usize| !self.code.get(..*at).is_some_and(|before| before.ends_with(is_in_word));
        self.code.match_indices(word).map(|(at, _)| at).filter(starts).collect()
    }

    fn line_of(&self, at: usize) -> usize {
        self.code.get(..at).unwrap_or("").matches('\n').count() + 1
    }
}

fn is_in_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn identifier(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|character| is_in_word(*character))
        .collect()
}

/// First names of the paths in `a::b, c::{d, e}, f}`.
fn first_names(group: &str) -> Vec<String> {
    let mut names = vec![identifier(group)];
    let mut depth = 0_usize;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(identifier(group.get(at + 1..).unwrap_or(""))),
            _ => {}
        }
    }
    names
}

/// Where a function's body opens and closes; `None` if it has none.
fn body(function: &str) -> Option<(usize, usize)> {
    let (mut brackets, mut braces, mut opening) = (0_i32, 0_usize, 0);
    for (at, character) in function.char_indices() {
        match character {
            '(' | '[' if braces == 0 => brackets += 1,
            ')' | ']' if braces == 0 => brackets -= 1,
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => {
                opening = if braces == 0 { at } else { opening };
                braces += 1;
            }
            '}' if braces <= 1 => return (braces == 1).then_some((opening, at)),
            '}' => braces -= 1,
            _ => {}
        }
    }
    None
}

/// Replaces comments, strings and characters by blanks; keeps line breaks.
fn blank_out(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = opaque_length(rest).unwrap_or(0);
        let (opaque, after) = rest.split_at(length);
        out.extend(
            opaque
                .chars()
                .map(|character| if character == '\n' { '\n' } else { ' ' }),
        );
        rest = after;
        if length == 0 {
            // A whole word at once, so that the `r` of `for` is not taken for the start of a raw string.
            let word = rest.find(|character| !is_in_word(character)).unwrap_or(rest.len());
            let (code, after) = rest.split_at(word.max(first.len_utf8()));
            out.push_str(code);
            rest = after;
        }
    }
    out
}

/// Length of the comment, string or character that the text starts with. Units: bytes.
fn opaque_length(text: &str) -> Option<usize> {
    let until = |from: usize, end: &str| {
        let found = text.get(from..)?.find(end).map(|at| from + at + end.len());
        Some(found.unwrap_or(text.len()))
    };
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return until(2, "*/");
    }
    let unprefixed = text.strip_prefix('b').unwrap_or(text);
    if let Some(raw) = unprefixed.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw.get(hashes..).is_some_and(|rest| rest.starts_with('"')) {
            let from = text.len() - raw.len() + hashes + 1;
            return until(from, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    let prefix = text.len() - unprefixed.len();
    match unprefixed.chars().next()? {
        '"' => quoted_length(unprefixed).map(|length| prefix + length),
        '\'' => character_length(unprefixed).map(|length| prefix + length),
        _ => None,
    }
}

fn quoted_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// Length of a character literal; `None` for a lifetime.
fn character_length(text: &str) -> Option<usize> {
    let inner = text.get(1..)?;
    if inner.starts_with('\\') {
        return inner.get(2..)?.find('\'').map(|at| at + 4);
    }
    let first = inner.chars().next()?.len_utf8();
    inner.get(first..)?.starts_with('\'').then_some(first + 2)
}
