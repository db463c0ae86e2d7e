//! Both ends of an XMPP stream, without the socket (RFC 6120).
//!
//! [`ServerStream`](server::ServerStream) and [`ClientStream`](client::ClientStream) take bytes, time and answers, and
//! give out [`Output`]s. Nobody calls back: after every input, take outputs until there are none, perform them in
//! order, and arm one timer from `next_deadline`.

pub mod client;
mod fault;
mod outputs;
mod remark;
mod seed;
pub mod server;

pub use fault::StreamFault;
pub(crate) use fault::write_stream_error;
pub use outputs::Output;
pub(crate) use outputs::Outputs;
pub use remark::Remark;
pub use seed::Seed;

use minidom::Element;
use xmpp_parsers::stream_error::{DefinedCondition, StreamError};

/// How the closing tag of a stream is written.
const CLOSING_TAG: &str = "</stream:stream>";

/// Reads the condition out of a peer's `<stream:error/>`.
fn condition_of(error: Element) -> DefinedCondition {
    StreamError::try_from(error).map_or(DefinedCondition::UndefinedCondition, |error| error.condition)
}
