//! A dispatcher without database, sockets and clock.

pub mod client;
pub mod dispatcher;
pub mod duplex;
pub mod site;
pub mod store;
