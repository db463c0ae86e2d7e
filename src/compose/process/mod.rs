//! What a daemon owes whoever started it: readiness, a pid file, the background.

pub mod detach;
pub mod notify;
pub mod parent;
pub mod pid_file;
pub mod readiness;
