//! Check runs under real supervising processes: what the command sees, and that its result outlives everything.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;
use osa::domain::check::Recovered;
use osa::domain::ids::{RequestNumber, RunId};
use osa::domain::push::client::{RunEnd, RunReport, RunStart};
use osa::host::check_runs::CheckRuns;
use osa::host::state_dir::StateDir;
use osa::ports::check_launcher::{CheckLauncher, LaunchError, RunEnding};

const RUN: RunId = RunId([7; 16]);
/// Tells the stand-in agent below that it is one, and where its bench is.
const STAND_IN: &str = "OSA_TEST_STAND_IN_AGENT";

/// A check command that writes down what it sees, says that it runs, and ends as it is told to.
const SCRIPT: &str = r#"#!/bin/sh
cd_at_start=$(pwd)
fds=$(for fd in /proc/$$/fd/*; do readlink "$fd"; done | sort -u | tr '\n' ' ')
touch "$BENCH/made"
{
    echo "arguments $*"
    echo "umask $(umask)"
    echo "mode $(stat -c %a "$BENCH/made")"
    echo "cwd $cd_at_start"
    echo "fds $fds"
    echo "word $CARGO_PKG_NAME"
    echo "session $(ps -o sid= -p $$ | tr -d ' ')"
    echo "parent $PPID"
} > "$BENCH/facts"
echo started > "$BENCH/started"
read -r word < "$BENCH/gate"
case $word in
    kill) kill -9 $$ ;;
    *) exit "$word" ;;
esac
"#;

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for fifo in ["started", "gate"] {
            nix::unistd::mkfifo(&bench.path(fifo), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        }
        let script = SCRIPT.replace("$BENCH", bench.dir.path().to_str().unwrap());
        fs::write(bench.path("check"), script).unwrap();
        fs::set_permissions(bench.path("check"), fs::Permissions::from_mode(0o755)).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn runs(&self) -> CheckRuns {
        agent(self.dir.path())
    }

    /// Waits until the command runs.
    fn await_start(&self) {
        let mut word = String::new();
        File::open(self.path("started"))
            .unwrap()
            .read_to_string(&mut word)
            .unwrap();
        assert_eq!(word, "started\n");
    }

    /// Lets the command end.
    fn end_with(&self, word: &str) {
        let gate = File::options().write(true).open(self.path("gate"));
        writeln!(gate.unwrap(), "{word}").unwrap();
    }

    fn fact(&self, name: &str) -> String {
        let facts = fs::read_to_string(self.path("facts")).unwrap();
        let mut lines = facts
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.next().unwrap_or_default().to_owned()
    }
}

fn agent(bench: &Path) -> CheckRuns {
    let state = StateDir::open(&bench.join("state")).unwrap();
    let command = [bench.join("check").to_str().unwrap(), "one", "two words"].map(String::from);
    CheckRuns::supervised_by(state, command.to_vec(), env!("CARGO_BIN_EXE_osad").into())
}

fn start(covers: i64) -> RunStart {
    RunStart {
        run: RUN,
        covers: RequestNumber(covers),
    }
}

fn wait(runs: &CheckRuns) -> RunEnding {
    block_on(runs.wait(RUN).unwrap()).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

fn recovered(runs: &CheckRuns) -> Recovered {
    runs.recover().unwrap().recovered
}

#[test]
fn command_sees_the_surroundings_it_is_promised() {
    let bench = Bench::new();
    let leaked = File::create(bench.path("leaked")).unwrap();
    fcntl(&leaked, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let runs = bench.runs();
    // As in the original daemon, whose files were open to all.
    umask(Mode::empty());

    runs.start(start(1)).unwrap();
    bench.await_start();
    bench.end_with("0");
    wait(&runs);

    let fds = bench.fact("fds").replace(bench.path("check").to_str().unwrap(), "");
    // The shell's own pipe while it lists; a supervising process has none.
    let fds: Vec<&str> = fds
        .split_whitespace()
        .filter(|name| !name.starts_with("pipe:"))
        .collect();
    assert_eq!(fds, ["/dev/null"]);
    assert_eq!(bench.fact("arguments"), "one two words");
    assert_eq!(bench.fact("umask"), "0022");
    assert_eq!(bench.fact("mode"), "644");
    assert_eq!(bench.fact("cwd"), "/");
    assert_eq!(bench.fact("word"), env!("CARGO_PKG_NAME"));
    assert_eq!(bench.fact("session"), bench.fact("parent"));
}

#[test]
fn exit_status_and_signal_are_found_as_a_shell_would_say_them() {
    for (word, status) in [("0", 0), ("3", 3), ("255", 255), ("kill", 137)] {
        let bench = Bench::new();
        let runs = bench.runs();

        runs.start(start(1)).unwrap();
        bench.await_start();
        bench.end_with(word);

        assert_eq!(wait(&runs).ended.end, RunEnd::Exited(status), "{word}");
    }
}

#[test]
fn supervising_process_ends_when_its_state_directory_is_gone() {
    let bench = Bench::new();
    bench.runs().start(start(1)).unwrap();
    bench.await_start();
    let supervisor = fs::read_to_string(format!("/proc/{}/comm", bench.fact("parent"))).unwrap();
    assert_eq!(supervisor, "osad\n");

    fs::remove_dir_all(bench.path("state")).unwrap();
    bench.end_with("0");

    let stat = format!("/proc/{}/stat", bench.fact("parent"));
    let ended = async {
        // Gone, or a child of this process that waits to be collected.
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    block_on(async { tokio::time::timeout(Duration::from_secs(240), ended).await }).unwrap();
}

#[test]
fn result_is_kept_until_it_is_forgotten() {
    let bench = Bench::new();
    let runs = bench.runs();
    runs.start(start(12)).unwrap();
    bench.await_start();
    bench.end_with("4");
    let RunEnding { ended, .. } = wait(&runs);
    drop(runs);

    let next = bench.runs();
    let report = RunReport {
        run: RUN,
        covers: RequestNumber(12),
        end: RunEnd::Exited(4),
        run_time: ended.run_time,
    };
    let millis = u64::try_from(report.run_time.as_millis()).unwrap();
    let expected = RunReport {
        run_time: Duration::from_millis(millis),
        ..report
    };
    assert_eq!(recovered(&next).ended, [expected]);
    next.forget(RUN).unwrap();
    assert_eq!(recovered(&next), Recovered::default());
    let left: Vec<_> = fs::read_dir(bench.path("state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["agent.lock"]);
}

/// A check may update the agent, which restarts it.
#[test]
fn unit_restarts_the_agent_and_leaves_its_check_alone() {
    let unit = include_str!("../../config/systemd/osad.service");

    assert!(unit.lines().any(|line| line == "KillMode=process"), "{unit}");
}

/// Not a test of its own: the agent that the next test kills, as a process.
#[test]
fn stand_in_agent_starts_a_run_and_waits_to_be_killed() {
    let Some(bench) = std::env::var_os(STAND_IN) else {
        return;
    };
    let runs = agent(Path::new(&bench));
    runs.start(start(5)).unwrap();
    wait(&runs);
}

#[test]
fn agent_killed_in_the_middle_of_a_check_finds_its_result_later() {
    let bench = Bench::new();
    let mut killed = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "check_runs::stand_in_agent_starts_a_run_and_waits_to_be_killed",
        ])
        .env(STAND_IN, bench.dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    bench.await_start();
    killed.kill().unwrap();
    killed.wait().unwrap();

    let next = bench.runs();
    let live = recovered(&next).live;
    bench.end_with("6");

    assert_eq!(live, Some(start(5)));
    assert_eq!(wait(&next).ended.end, RunEnd::Exited(6));
    assert_eq!(recovered(&next).ended.len(), 1);
}

/// Ends the supervising process of the command that runs, and returns when it is gone.
fn kill_supervisor(bench: &Bench) {
    let draft = bench.path("state").join(format!("{RUN}.exit.new"));
    while !fs::read_to_string(&draft).unwrap().contains("command ") {
        std::thread::yield_now();
    }
    let supervisor = bench.fact("parent");
    kill(Pid::from_raw(supervisor.parse().unwrap()), Signal::SIGKILL).unwrap();
    let lock = File::open(bench.path("state").join(format!("{RUN}.lock"))).unwrap();
    lock.lock_shared().unwrap();
}

#[test]
fn run_whose_supervisor_was_killed_is_lost_when_its_command_has_ended() {
    let bench = Bench::new();
    let runs = bench.runs();
    runs.start(start(5)).unwrap();
    bench.await_start();
    kill_supervisor(&bench);
    let mut waiting = runs.wait(RUN).unwrap();
    let early = block_on(async { tokio::time::timeout(Duration::from_millis(100), &mut waiting).await });
    assert!(early.is_err(), "the command runs: {early:?}");

    bench.end_with("0");

    assert_eq!(block_on(waiting).unwrap().ended.end, RunEnd::Lost);
    let report = recovered(&runs).ended[0];
    assert_eq!((report.covers, report.end), (RequestNumber(5), RunEnd::Lost));
}

#[test]
fn next_agent_adopts_a_command_whose_supervisor_was_killed() {
    let bench = Bench::new();
    let runs = bench.runs();
    runs.start(start(5)).unwrap();
    bench.await_start();
    kill_supervisor(&bench);
    drop(runs);

    let next = bench.runs();
    let found = recovered(&next);
    bench.end_with("0");

    assert_eq!((found.live, found.ended.len()), (Some(start(5)), 0));
    assert_eq!(wait(&next).ended.end, RunEnd::Lost);
    next.forget(RUN).unwrap();
    assert_eq!(recovered(&next), Recovered::default());
}

#[test]
fn missing_command_is_a_failed_run_whose_error_names_it() {
    let bench = Bench::new();
    let runs = bench.runs();
    fs::remove_file(bench.path("check")).unwrap();

    runs.start(start(1)).unwrap();
    let RunEnding { ended, trouble } = wait(&runs);

    assert_eq!(ended.end, RunEnd::Exited(127));
    let check = bench.path("check").display().to_string();
    assert_eq!(
        trouble.unwrap().to_string(),
        format!(
            "cannot run check command {check}: No such file or directory (os error 2); install it, or correct \
             check.command (rhn_check_command)"
        )
    );
}

#[test]
fn command_that_is_no_program_is_a_failed_run() {
    let bench = Bench::new();
    let runs = bench.runs();
    fs::set_permissions(bench.path("check"), fs::Permissions::from_mode(0o644)).unwrap();

    runs.start(start(1)).unwrap();

    assert_eq!(wait(&runs).ended.end, RunEnd::Exited(126));
}

#[test]
fn state_directory_that_vanished_fails_the_start_and_leaves_nothing() {
    let bench = Bench::new();
    let runs = bench.runs();
    fs::remove_dir_all(bench.path("state")).unwrap();

    let error = runs.start(start(1)).unwrap_err();

    assert!(matches!(error, LaunchError::File(_)), "{error}");
    assert!(error.to_string().contains("state"), "{error}");
}

#[test]
fn promise_is_remembered_and_damage_is_moved_aside_once() {
    let bench = Bench::new();
    let runs = bench.runs();
    runs.remember(RequestNumber(9)).unwrap();
    assert_eq!(recovered(&runs).promised, Some(RequestNumber(9)));

    for name in ["promise".to_owned(), format!("{RUN}.exit")] {
        fs::write(bench.path("state").join(name), b"\xff\0garbage").unwrap();
    }
    let first = runs.recover().unwrap();
    let second = runs.recover().unwrap();

    assert_eq!(first.moved_aside.len(), 2);
    assert_eq!(first.recovered.promised, None);
    assert_eq!(first.recovered.ended[0].end, RunEnd::Lost);
    assert_eq!(second.moved_aside.len(), 0);
    assert_eq!(second.recovered, Recovered::default());
}

#[test]
fn numbers_are_forgotten_even_by_a_live_run() {
    let bench = Bench::new();
    let runs = bench.runs();
    runs.remember(RequestNumber(500)).unwrap();
    runs.start(start(499)).unwrap();
    bench.await_start();

    runs.forget_numbers().unwrap();
    let live = recovered(&runs);
    bench.end_with("0");
    wait(&runs);

    assert_eq!((live.live, live.promised), (Some(start(0)), None));
    assert_eq!(recovered(&runs).ended[0].covers, RequestNumber(0));
}
