//! The push life cycle under test: rule by rule, and as a seeded simulation on a virtual clock.
//!
//! All stanzas are real: written, signed and verified by the product, whose server says where they go. They are carried
//! as elements; bytes, logins and TLS are tested elsewhere. An adversary overhears, repeats, forges and changes them, and
//! clients speak to and for one another; a ledger of who signed what judges whatever has an effect (I6, I7).
//! Taken may be, of what the adversary sends, only repetitions: by existing agents, which cannot tell them; by the
//! dispatcher on a later connection of the same client, where they repeat what is recorded; and stanzas that had been lost.
//!
//! `OSA_SIM_SCHEDULES=N` runs so many schedules instead of the default, `OSA_SIM_SEED=S` replays one.
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says with which seed"
)]

mod agenda;
mod agents;
mod rng;
mod rules;

mod store;
mod wire;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use world::{Attacks, Witness, World};

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
    let (next, summary) = (AtomicU64::new(0), Mutex::new(Summary::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                loop {
                    let witness = run(next.fetch_add(1, Ordering::Relaxed)).witness;
                    let mut summary = summary.lock().expect("a failed schedule ends the test");
                    summary.add(&witness);
                    if summary.counted >= schedules {
                        break;
                    }
                }
            });
        }
    });
    let summary = summary.into_inner().expect("all schedules passed");
    println!("{summary:#?}");
    for (name, count) in summary.attacks.each() {
        assert!(count.tried > count.taken, "no refused {name} stanza in {summary:?}");
    }
    let Attacks { forged, foreign, .. } = summary.attacks;
    assert_eq!((forged.taken, foreign.taken), (0, 0), "{summary:?}");
}

/// What all schedules came to.
#[derive(Debug, Default)]
struct Summary {
    schedules: u64,
    /// Those with enough in them.
    counted: u64,
    events: u64,
    requests: u64,
    faults: u64,
    attacks: Attacks,
}

impl Summary {
    fn add(&mut self, witness: &Witness) {
        self.schedules += 1;
        self.counted += u64::from(witness.events >= 200 && witness.faults >= 1);
        self.events += witness.events;
        self.requests += witness.requests;
        self.faults += witness.faults;
        self.attacks.add(&witness.attacks);
    }
}
