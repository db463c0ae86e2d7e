//! One agent: a core, driven as `osad` drives its two halves, on a socket while there is one.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::flock::{Flock, Member};
use super::link::Link;
use crate::domain::backoff::Backoff;
use crate::domain::check::{CheckInput, EndedRun};
use crate::domain::push::client::{RunEnd, RunStart};
use crate::host::clock::{OsEntropy, SystemClock};
use crate::ports::clock::{Clock, Entropy};
use crate::protocol::agent::{AgentCore, CoreOutput, Moment};
use crate::protocol::osa::agent_talk::{AgentTalk, Enrolment};
use crate::protocol::stream::Seed;
use crate::protocol::stream::client::ClientConfig;

/// The reconnecting of `osad` with its default settings.
const RECONNECT: Backoff = Backoff {
    first: Duration::from_secs(1),
    limit: Duration::from_secs(300),
};
/// What one read takes. An idle agent holds it, so it is no larger than a push.
const READ_BYTES: usize = 2_048;

/// Lives until its task is dropped: connects, stays, and comes back.
pub(super) async fn live(flock: Rc<Flock>, member: Member) {
    let mut core = AgentCore::new(true, seed(), now());
    let mut talk = None;
    let mut failures = 0;
    loop {
        tokio::time::sleep(RECONNECT.jittered(failures, random())).await;
        let mut life = Life {
            flock: &flock,
            member: &member,
            core: &mut core,
            entered: None,
            check: None,
        };
        let end = life.connection(talk.take()).await;
        let was_up = life.leave().await;
        drop(life);
        talk = core.disconnected(now());
        failures = match (was_up, end) {
            (true, _) => 1,
            (false, Ok(())) | (false, Err(_)) => {
                flock.count_failure();
                failures + 1
            }
        };
    }
}

/// One connection.
struct Life<'a> {
    flock: &'a Flock,
    member: &'a Member,
    core: &'a mut AgentCore,
    /// When the dispatcher had welcomed it.
    entered: Option<Instant>,
    /// The check that runs, and what it waits for.
    check: Option<(RunStart, Check<'a>)>,
}

type Check<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

impl Life<'_> {
    async fn connection(&mut self, talk: Option<AgentTalk>) -> io::Result<()> {
        let (mut cut, mut deaf) = (self.flock.cut(), self.flock.deaf());
        let permit = self.flock.admit().await;
        let began = Instant::now();
        let mut link = Link::connect(&self.flock.target).await?;
        let talk = talk.unwrap_or_else(|| self.talk());
        self.core.connected(self.account(), talk, seed(), now());
        let mut permit = Some(permit);
        let mut buffer = [0; READ_BYTES];
        loop {
            if self.perform(&mut link).await? {
                return Ok(());
            }
            if self.entered.is_some() && permit.take().is_some() {
                self.flock.entered(self.member.system, began.elapsed());
            }
            let deadline = self.core.next_deadline();
            let hears = !*deaf.borrow_and_update();
            tokio::select! {
                read = link.read(&mut buffer), if hears => match read? {
                    0 => return Ok(()),
                    length => self.core.receive(buffer.get(..length).unwrap_or_default(), now()),
                },
                () = sleep_until(deadline) => self.core.handle_deadline(now()),
                () = done(&mut self.check) => self.check_ended(),
                _ = cut.changed() => return Ok(()),
                _ = deaf.changed() => {}
            }
        }
    }

    /// Does what the core wants done; whether the connection is over.
    async fn perform(&mut self, link: &mut Link) -> io::Result<bool> {
        while let Some(output) = self.core.poll_output() {
            match output {
                CoreOutput::Write(bytes) => link.write(&bytes).await?,
                CoreOutput::StartTls => {
                    let exporter = link.handshake(&self.flock.target).await?;
                    self.core.tls_established(exporter, now());
                }
                CoreOutput::Close(_) => return Ok(true),
                CoreOutput::LinkUp(_) => self.entered = Some(Instant::now()),
                CoreOutput::Start(start) => self.run(start),
                CoreOutput::LoggedIn(_)
                | CoreOutput::ClockOff
                | CoreOutput::KeyVoid
                | CoreOutput::Remember(_)
                | CoreOutput::Forget(_)
                | CoreOutput::ForgetNumbers => {}
            }
        }
        Ok(false)
    }

    /// A check that takes no more time than the Satellite does, and succeeds.
    fn run(&mut self, start: RunStart) {
        let (flock, system) = (self.flock, self.member.system);
        self.core.handle_check(CheckInput::RunStarted(start.run), now());
        self.check = Some((start, Box::pin(flock.carry_out(system))));
    }

    fn check_ended(&mut self) {
        let Some((start, _)) = self.check.take() else {
            return;
        };
        let ended = EndedRun {
            run: start.run,
            end: RunEnd::Exited(0),
            run_time: Duration::ZERO,
        };
        self.core.handle_check(CheckInput::RunEnded(ended), now());
        self.flock.count_run(self.member.system);
    }

    /// The connection is gone; whether it had been up. A check does not mind.
    async fn leave(&mut self) -> bool {
        if let Some((_, check)) = &mut self.check {
            check.await;
        }
        self.check_ended();
        let was_up = self.entered.take().is_some();
        if was_up {
            self.flock.left();
        }
        was_up
    }

    fn account(&self) -> ClientConfig {
        let Flock { domain, password, .. } = self.flock;
        ClientConfig::new(domain, &self.member.username, password.clone())
    }

    fn talk(&self) -> AgentTalk {
        let enrolment = Enrolment {
            client: self.member.client.clone(),
            key: self.member.key.clone(),
            dispatchers: vec![self.flock.dispatcher.clone()],
            drift_millis: 0,
        };
        AgentTalk::new(self.member.jid(&self.flock.domain), enrolment, random().into())
    }
}

async fn done(check: &mut Option<(RunStart, Check<'_>)>) {
    match check {
        Some((_, check)) => check.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn now() -> Moment {
    Moment {
        wall: SystemClock.now(),
        steady: Instant::now(),
    }
}

fn seed() -> Seed {
    let mut bytes = [0; 32];
    OsEntropy.fill(&mut bytes);
    Seed::new(bytes)
}

fn random() -> u32 {
    let mut bytes = [0; 4];
    OsEntropy.fill(&mut bytes);
    u32::from_ne_bytes(bytes)
}
