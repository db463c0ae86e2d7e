//! Bytes to meaning and back: pure, without I/O, clock or randomness. Time, entropy and answers come in as arguments.
//!
//! | Module | Standard |
//! |---|---|
//! | [`codec`] | XML streams under limits: RFC 6120, sections 4, 11 and 13.12 |
//! | [`stream::server`], [`stream::client`] | RFC 6120: header and features 4.3, 4.7; STARTTLS 5; SASL 6; binding 7; stream errors 4.9. RFC 6121: presence 4, subscription 3 |
//! | [`stream::StreamFault`] | stream errors: RFC 6120, section 4.9.3 |
//! | [`stanza`] | stanza errors: RFC 6120, section 8.3; numeric codes: XEP-0086 |
//! | [`sasl`] | RFC 4422; SCRAM: RFC 5802, 7677; channel binding: RFC 5929, 9266, XEP-0440; PLAIN: RFC 4616; SASLprep: RFC 4013 |
//! | [`register`] | in-band registration: XEP-0077 |
//! | [`roster`], [`contacts`] | roster: RFC 6121, section 2; presence and subscriptions: sections 3 and 4 |
//! | `stream::server::open`, `stream::client::open` | ping: XEP-0199; white space: RFC 6120, section 4.6.1 |
//! | [`osa`] | the signed conversation: compatibility contract, sections 1.11 to 1.13 |
//! | [`xmlrpc`], [`systemid`] | registration: compatibility contract, section 2; xmlrpc.com/spec |
//! | [`ns`] | all namespaces |

pub mod agent;
pub mod codec;
pub mod contacts;
pub mod iq_auth;
pub mod ns;
pub mod osa;
pub mod register;
pub mod roster;
pub mod sasl;
pub mod stanza;
pub mod stream;
pub mod systemid;
pub mod xmlrpc;
