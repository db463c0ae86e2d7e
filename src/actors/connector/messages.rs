//! What a connector is told, and what it is asked.

use std::sync::Arc;

use actix::Message;

use crate::actors::enroller::messages::Enrolled;
use crate::domain::check::Dispatcher;
use crate::protocol::agent::Telling;

/// Connect as this; an earlier connection is ended.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Connect(pub Arc<Enrolled>);

/// Tell the dispatcher.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Tell(pub Telling);

/// Say which dispatcher is at the other end, if it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Option<Dispatcher>")]
pub struct ReportLink;

/// Say what you connect as, if you know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Option<Arc<Enrolled>>")]
pub struct ReportEnrolled;
