//! Who tells whom, when, and what happens if nobody answers. `docs/actors.md` draws the tree.

pub mod supervision;
