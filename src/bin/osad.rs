//! The agent of a managed host.

fn main() {}
