//! The push life cycle under test: rule by rule, and as a seeded simulation on a virtual clock.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod rules;
