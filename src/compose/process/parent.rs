//! Ending with the process that started this one, for those that show or measure something and have nothing to outlive.

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;

/// The flag that asks for it; hidden, as it is for our own programs.
pub const FLAG: &str = "--end-with";

/// From now on this process is told to end when its parent has ended, however that comes. `parent` is the process that
/// is meant: it may be gone already.
pub fn end_with(parent: i32) {
    // It fails for a signal that does not exist only.
    set_pdeathsig(Signal::SIGTERM).ok();
    // A parent that ended before that call is not noticed by it.
    if kill(Pid::from_raw(parent), None) == Err(Errno::ESRCH) {
        raise(Signal::SIGTERM).ok();
    }
}
