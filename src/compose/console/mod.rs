//! What both programs say to whoever called them: answers, and what was wrong with the call.

pub mod answer;
pub mod usage;
pub mod values;
