//! The push life cycle under test: rule by rule, and as a seeded simulation on a virtual clock.
//!
//! `OSA_SIM_SCHEDULES=N` runs so many schedules instead of the default, `OSA_SIM_SEED=S` replays one.
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says with which seed"
)]

mod agents;
mod rng;
mod rules;
mod store;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use world::World;

/// Enough for a debug build; CI asks for 100 000 of an optimised one.
const SCHEDULES_DEFAULT: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Runs one schedule; a failing one names its seed, with which it replays.
fn run(seed: u64) -> World {
    let mut world = World::new(seed);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    if let Err(panic) = outcome {
        eprintln!("schedule failed; replay with OSA_SIM_SEED={seed}");
        std::panic::resume_unwind(panic);
    }
    world
}

#[test]
fn every_schedule_keeps_the_invariants() {
    if let Some(seed) = number("OSA_SIM_SEED") {
        run(seed);
        return;
    }
    let schedules = number("OSA_SIM_SCHEDULES").unwrap_or(SCHEDULES_DEFAULT);
    let (next, events, requests, faults) = (
        AtomicU64::new(0),
        AtomicU64::new(0),
        AtomicU64::new(0),
        AtomicU64::new(0),
    );
    let (counted, fewest) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                while counted.load(Ordering::Relaxed) < schedules {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let witness = run(seed).witness;
                    // Only schedules with enough in them count.
                    if witness.events >= 200 && witness.faults >= 1 {
                        counted.fetch_add(1, Ordering::Relaxed);
                        fewest.fetch_min(witness.events, Ordering::Relaxed);
                    }
                    events.fetch_add(witness.events, Ordering::Relaxed);
                    requests.fetch_add(witness.requests, Ordering::Relaxed);
                    faults.fetch_add(witness.faults, Ordering::Relaxed);
                }
            });
        }
    });
    println!(
        "{} schedules, {} of them with >= 200 events and a fault; {} events, {} requests, {} faults",
        next.into_inner(),
        counted.into_inner(),
        events.into_inner(),
        requests.into_inner(),
        faults.into_inner()
    );
}
