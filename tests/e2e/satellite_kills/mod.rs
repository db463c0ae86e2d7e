//! A dispatcher beside a Satellite that is killed again and again while its agents work: nothing is lost, and soon after
//! everything is shown as it is. `scripts/endurance kills` does so a thousand times.
#![expect(clippy::disallowed_methods, reason = "what is waited for happens in other processes")]

mod stage;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::endurance::{parameter, report};
use crate::site::{Site, command};
use stage::{NEW_AGENTS, STAY_AWAY, Stage, tail};

/// Random numbers that a seed gives again (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// One start of the dispatcher.
struct Start {
    child: Child,
}

impl Start {
    fn of(site: &Site) -> Self {
        let log = fs::File::options().create(true).append(true).open(site.path("starts"));
        let child = command(env!("CARGO_BIN_EXE_osa-dispatcher"))
            .args(["serve", "--nodetach", "--config"])
            .arg(site.config())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        Self { child }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Nothing but us ends it.
    fn assert_alive(&mut self, site: &Site) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "it ended by itself, {ended:?}: {}", tail(site));
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As a service manager does; how it ended.
    fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap()
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Says that it is over, whatever happened.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Where in its life the dispatcher ends, and how; how often each was done.
type Ends = BTreeMap<&'static str, usize>;

/// Lets this start live for a while.
fn let_live(stage: &Stage, dice: &mut Dice) -> &'static str {
    match dice.below(20) {
        0..=10 => {
            sleep(dice.millis(0, 300));
            "while starting"
        }
        11..=15 => {
            sleep(dice.millis(300, 1_200));
            "while agents come back"
        }
        16 => {
            sleep(dice.millis(1_500, 3_000));
            "while agents work"
        }
        _ => {
            stage.wait_for_agents();
            stage.schedule_for_all();
            sleep(dice.millis(0, 300));
            "while everybody is asked"
        }
    }
}

/// Ends this start.
fn end(stage: &Stage, start: &mut Start, dice: &mut Dice, ends: &mut Ends) {
    let when = let_live(stage, dice);
    start.assert_alive(&stage.site);
    let how = match dice.below(10) {
        0 => {
            let status = start.stop();
            // The signal may come before anybody listens for it.
            let is_clean = status.code() == Some(0) || status.signal() == Some(Signal::SIGTERM as i32);
            assert!(is_clean, "{status:?}: {}", tail(&stage.site));
            "stopped"
        }
        1 => {
            start.signal(Signal::SIGTERM);
            sleep(dice.millis(0, 100));
            start.kill();
            "killed while stopping"
        }
        _ => {
            start.kill();
            "killed"
        }
    };
    *ends.entry(when).or_default() += 1;
    *ends.entry(how).or_default() += 1;
}

/// Ends the dispatcher so often, starting it again at once; the last start has not begun.
fn end_all(stage: &Stage, kills: u64, seed: u64) -> Ends {
    let (mut dice, mut ends) = (Dice(seed), Ends::new());
    std::thread::scope(|scope| {
        let meanwhile = scope.spawn(|| stage.go_on(Dice(!seed)));
        let over = Over(&stage.is_over);
        for _ in 1..kills {
            end(stage, &mut Start::of(&stage.site), &mut dice, &mut ends);
        }
        let mut start = Start::of(&stage.site);
        // What a check leaves behind that dies, the next one finds, or nobody for half an hour.
        stage.queue.calm_down();
        sleep(Duration::from_secs(1));
        stage.agents_fall_silent(STAY_AWAY);
        start.assert_alive(&stage.site);
        start.kill();
        drop(over);
        meanwhile.join().unwrap();
    });
    ends
}

#[test]
fn nothing_is_lost_with_a_dispatcher_that_is_killed_at_random_points() {
    let (kills, agents) = (parameter("KILLS", 50), parameter("AGENTS", 200));
    let seed = parameter("SEED", u64::from(std::process::id()) * 1_000_003);
    println!("SEED={seed}");
    let stage = Stage::set(agents);
    let begun = Instant::now();
    let ends = end_all(&stage, kills, seed);
    stage.agents_leave(STAY_AWAY);
    let killed_for = begun.elapsed();

    let mut last = Start::of(&stage.site);
    let (done, right) = stage.settle(&stage.names[STAY_AWAY..]);
    stage.schedule_for_all();
    stage.settle(&stage.names[STAY_AWAY..]);
    stage.agents_come_back();
    stage.settle(&stage.names);

    assert_eq!(last.stop().code(), Some(0));
    stage.agents_leave(usize::MAX);
    let summary = format!(
        "SEED={seed}: {agents} agents, {NEW_AGENTS} of them new; the dispatcher ended {kills} times in {:.0} s: {ends:?}\n\
         after the last start everything was done within {:.1} s, and 0 rows were wrong within {:.1} s\n{}",
        killed_for.as_secs_f64(),
        done.as_secs_f64(),
        right.as_secs_f64(),
        stage.told()
    );
    println!("{summary}");
    report(&summary);
}
