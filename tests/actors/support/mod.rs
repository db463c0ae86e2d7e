//! A dispatcher without database, sockets and clock, and an agent without files and processes.

pub mod agent;
pub mod client;
pub mod dispatcher;
pub mod duplex;
pub mod foreign;
pub mod http_proxy;
pub mod httpd;
pub mod launcher;
pub mod site;
pub mod status;
pub mod store;
pub mod upstream;
