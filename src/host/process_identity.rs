//! Which process it was: a number alone is given to another one sooner or later.

use std::fs;
use std::io;

/// A process, told apart from later ones of the same number, over a reboot too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProcessIdentity {
    pub(super) pid: u32,
    /// When it started. Units: clock ticks since the boot.
    pub(super) started: u64,
    /// The kernel's random name of the boot.
    pub(super) boot: String,
}

impl ProcessIdentity {
    /// The process that has this number now.
    ///
    /// # Errors
    /// What `/proc` says; `NotFound` if there is none.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let started = living_since(&stat).ok_or(io::ErrorKind::NotFound)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(Self {
            pid,
            started,
            boot: boot.trim().to_owned(),
        })
    }

    /// Whether it still runs. A zombie does not.
    pub(super) fn is_alive(&self) -> bool {
        Self::of(self.pid).is_ok_and(|now| now == *self)
    }
}

/// The start time in a line of `/proc/PID/stat`, see proc(5); `None` if the process has ended.
fn living_since(stat: &str) -> Option<u64> {
    // The second field, the program's name, may hold blanks and parentheses; the third says how the process is.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let is_dead = matches!(fields.next()?, "Z" | "X" | "x");
    let started = fields.nth(18)?.parse().ok()?;
    (!is_dead).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_found_behind_a_name_with_parentheses() {
        let stat = |state| {
            format!(
                "12 (a) Z (b) {state} 1 12 12 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 987654 5427200 90 18446744073709551615"
            )
        };

        assert_eq!(living_since(&stat("S")), Some(987_654));
        assert_eq!(living_since(&stat("Z")), None);
        assert_eq!(living_since("12 (cut"), None);
    }

    #[test]
    fn only_the_very_same_process_is_alive() {
        let own = ProcessIdentity::of(std::process::id()).unwrap();
        let [mut earlier, mut booted] = [own.clone(), own.clone()];
        earlier.started -= 1;
        booted.boot.push('0');

        assert!(own.is_alive());
        assert!(!earlier.is_alive());
        assert!(!booted.is_alive());
    }
}
