//! The conversation between dispatcher and agent: requests to check in, answers, reports and pings.
//!
//! | File | Holds | Source |
//! |---|---|---|
//! | [`action`], [`signed`] | the signed `<x/>` of existing peers | compatibility contract, sections 1.11 and 1.12 |
//! | [`seal`], [`payload`] | our own elements and their signature | `docs/protocol.md` |
//! | [`replay`] | how old a signed element may be, and that it counts once | `docs/protocol.md` |
//! | [`dispatcher_talk`] | the dispatcher's half of one session | push life cycle, sections 2 to 4 |
//! | [`agent_talk`] | the agent's half | compatibility contract, section 4.6 |
//!
//! JIDs are plain strings here: existing peers compare and sign them without any preparation.

pub mod action;
pub mod agent_talk;
pub mod dispatcher_talk;
pub mod payload;
pub mod replay;
pub mod seal;
pub mod signed;
mod stanza;

pub use stanza::Serials;
