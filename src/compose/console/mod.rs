//! What both programs say to whoever called them: answers, and what was wrong with the call.

pub mod answer;
pub mod named_place;
pub mod usage;
pub mod values;
