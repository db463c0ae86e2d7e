//! XML-RPC as Satellites and their clients speak it. Compatibility contract, section 2; xmlrpc.com/spec.
//!
//! | File | Holds |
//! |---|---|
//! | [`value`] | the values and documents |
//! | [`reader`] | bytes to documents, under limits, without recursion |
//! | [`writer`] | documents to text, in the layout of the original peers |
//! | [`registration`] | the calls of `registration.*` with typed arguments and results |
//! | [`capability`] | capability headers |

pub mod capability;
pub mod reader;
pub mod registration;
pub mod value;
pub mod writer;
