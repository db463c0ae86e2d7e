//! SCRAM (RFC 5802): both ends prove that they know the password, and neither sends it.
//!
//! ```text
//! client                                   server
//!   n,,n=user,r=nonce            ----->            client-first
//!                                <-----   r=nonce+,s=salt,i=4096   server-first
//!   c=biws,r=nonce+,p=proof      ----->            client-final
//!                                <-----   v=signature              server-final
//! ```

pub mod client;
pub mod hash;
pub mod message;
pub mod server;
