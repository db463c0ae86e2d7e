//! Actors under paused time, in-memory pipes and loopback.

mod supervision;
