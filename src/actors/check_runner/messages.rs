//! What a check runner is told.

use actix::Message;

use crate::domain::check::CheckInput;
use crate::domain::push::client::Announcement;

/// Something happened that concerns check runs.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct CheckEvent(pub CheckInput);

/// Say what a dispatcher has to know at the beginning of a connection. `None` before the traces of earlier runs are
/// read; ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Option<Announcement>")]
pub struct Announce;
