//! The server that wakes the agents.

fn main() {}
