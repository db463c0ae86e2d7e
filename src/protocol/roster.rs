//! The roster (RFC 6121, section 2): every client has one contact, the dispatcher, in both directions. Nothing is
//! stored and nothing is pushed.

use crate::protocol::codec::{Escaped, push};
use crate::protocol::ns;

/// The answer to a request for the roster.
pub(crate) fn roster(dispatcher: &str) -> String {
    let mut payload = String::new();
    push(
        &mut payload,
        format_args!(
            "<query xmlns='{}'><item jid='{}' subscription='both'/></query>",
            ns::ROSTER,
            Escaped(dispatcher)
        ),
    );
    payload
}
