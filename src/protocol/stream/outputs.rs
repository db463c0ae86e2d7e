//! What a stream wants done.

use std::collections::VecDeque;

/// One thing to do, in order. `E` is what only this end of a stream reports, `R` why it ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Output<E, R> {
    /// Send these bytes; everything one input caused stands in one of these, so that it can travel in one TLS record.
    Write(Vec<u8>),
    /// Send what is queued, then begin the TLS handshake, and report it by `tls_established`.
    StartTls,
    /// Something happened.
    Event(E),
    /// Send what is queued, then close the connection. The last output there is.
    Close(R),
}

/// Outputs that wait to be taken. Holds no memory while empty.
pub(crate) struct Outputs<E, R> {
    queue: VecDeque<Output<E, R>>,
    /// Text behind the last one in the queue.
    text: String,
}

impl<E, R> Outputs<E, R> {
    pub(crate) const fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            text: String::new(),
        }
    }

    /// Where to append what is to be sent.
    pub(crate) fn text(&mut self) -> &mut String {
        &mut self.text
    }

    pub(crate) fn push(&mut self, output: Output<E, R>) {
        self.flush_text();
        self.queue.push_back(output);
    }

    pub(crate) fn poll(&mut self) -> Option<Output<E, R>> {
        if let Some(output) = self.queue.pop_front() {
            return Some(output);
        }
        self.queue = VecDeque::new();
        self.take_text().map(Output::Write)
    }

    fn flush_text(&mut self) {
        if let Some(bytes) = self.take_text() {
            self.queue.push_back(Output::Write(bytes));
        }
    }

    fn take_text(&mut self) -> Option<Vec<u8>> {
        if self.text.is_empty() {
            return None;
        }
        Some(std::mem::take(&mut self.text).into_bytes())
    }
}
