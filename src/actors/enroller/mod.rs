//! The keeper of the enrolment: which system this host is, under which account, name and key it talks.
//!
//! It registers at its process's start, when the systemid is replaced, and when a cause is reported; not at each
//! reconnect, since a herd of agents must not become a herd of registrations. What a generation has reached is kept by the
//! connector, so a crash registers nothing anew.

mod failback;
pub mod messages;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, SpawnHandle, WrapFuture};
use tokio::time::Instant;

use self::messages::{EnrolAgain, Enrolled, ReportEnrolment};
use self::plan::{Plan, Step};
use crate::actors::check_runner::CheckRunner;
use crate::actors::check_runner::messages::CheckEvent;
use crate::actors::connector::Connector;
use crate::actors::connector::messages::{Connect, ReportEnrolled};
use crate::actors::supervision::{ExitGuard, ExitReason, LiveAddr, Shutdown};
use crate::domain::backoff::Backoff;
use crate::domain::check::CheckInput;
use crate::ports::account_file::{AccountFile, OpenedAccount, Renewal};
use crate::ports::agent_status::{StatusBoard, Trouble};
use crate::ports::clock::Entropy;
use crate::ports::registrar::{Registrar, Registration};
use crate::ports::systemid::{FileMark, SystemidSource};
use crate::ports::transport::Dialer;

/// How often it is looked whether the systemid was replaced. One `stat` each time.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);
/// How long another actor may take to answer; longer than a supervisor's longest pause before a restart.
const PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// An enrolment that held so long was a success; a cause that comes earlier counts as a failure.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// Messages that wait.
const MAILBOX: usize = 16;

/// A server: where to register, and where to connect.
pub struct AgentServer {
    /// The registration service.
    pub registrar: Arc<dyn Registrar>,
    /// The XMPP server.
    pub dialer: Arc<dyn Dialer>,
}

/// What every generation is built from.
#[derive(Clone)]
pub struct EnrollerParts {
    /// The servers, best first; not empty.
    pub servers: Arc<[AgentServer]>,
    /// Where the systemid is.
    pub systemid: Arc<dyn SystemidSource>,
    /// Where the account is kept.
    pub account: Arc<dyn AccountFile>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Waits after failures.
    pub backoff: Backoff,
    /// Who connects.
    pub connector: LiveAddr<Connector>,
    /// Who has to forget request numbers of another system.
    pub check_runner: LiveAddr<CheckRunner>,
    /// Where it is shown how things are.
    pub status: Arc<dyn StatusBoard>,
}

/// The actor; see the [module](self).
pub struct Enroller {
    parts: EnrollerParts,
    plan: Plan,
    /// Counts what makes a call in flight outdated.
    epoch: u64,
    /// What it waits for: a call, or the time of the next try.
    waiting: Option<SpawnHandle>,
    failures: u32,
    published_at: Option<Instant>,
    /// A look for the first server, while another one is used.
    looking: Option<SpawnHandle>,
    /// Returns to the first server since it last was good for a while.
    returns: u32,
    mark: Option<FileMark>,
    /// The last complaint about the systemid, which is made once.
    complaint: Option<String>,
    guard: ExitGuard,
}

type Done<T> = Box<dyn FnOnce(&mut Enroller, T, &mut Context<Enroller>)>;

impl Enroller {
    /// A generation.
    pub fn new(parts: EnrollerParts, guard: ExitGuard) -> Self {
        let domains = parts.servers.iter().map(|server| server.dialer.domain().to_owned());
        Self {
            plan: Plan::new(domains.collect()),
            epoch: 0,
            waiting: None,
            failures: 0,
            published_at: None,
            looking: None,
            returns: 0,
            mark: None,
            complaint: None,
            guard,
            parts,
        }
    }

    /// Does the next step, unless one is being done.
    fn advance(&mut self, ctx: &mut Context<Self>) {
        while self.waiting.is_none() {
            match self.plan.next() {
                Step::Rest => return,
                Step::ReadSystemid if !self.read_systemid() => return,
                Step::ReadSystemid => {}
                Step::OpenAccount(system) => match self.parts.account.open(&system) {
                    Ok(opened) => self.take_account(opened, ctx),
                    Err(error) => self.fail(&error, ctx),
                },
                Step::RenewAccount(system) => match self.parts.account.renew(&system) {
                    Ok(account) => {
                        tracing::warn!(event = "account_renewed", username = account.username);
                        self.plan.account_ready(account);
                    }
                    Err(error) => self.fail(&error, ctx),
                },
                Step::Register(systemid) => {
                    let Some(registrar) = self.registrar() else { return };
                    let call = async move { registrar.register(&systemid.text).await };
                    self.call(call, Self::take_registration, ctx);
                }
                Step::RegisterJid(systemid, jid) => {
                    let Some(registrar) = self.registrar() else { return };
                    let call = async move { registrar.register_jid(&systemid.text, &jid).await };
                    self.call(call, |enroller, ()| enroller.plan.jid_registered(), ctx);
                }
                Step::Publish(enrolled) => self.publish(enrolled, ctx),
            }
        }
    }

    fn registrar(&self) -> Option<Arc<dyn Registrar>> {
        let server = self.parts.servers.get(self.plan.server())?;
        Some(Arc::clone(&server.registrar))
    }

    fn take_account(&mut self, opened: OpenedAccount, ctx: &mut Context<Self>) {
        let OpenedAccount { account, renewal } = opened;
        if let Some(renewal) = renewal {
            tracing::info!(event = "account_made", username = account.username, reason = ?renewal);
        }
        self.plan.account_ready(account);
        match renewal {
            None | Some(Renewal::Absent) => {}
            Some(Renewal::ClonedMachine | Renewal::OtherSystem) => self.forget_numbers(ctx),
        }
    }

    /// Numbers of another system's requests must be gone before a connection is made as this one.
    fn forget_numbers(&mut self, ctx: &mut Context<Self>) {
        let runner = self.parts.check_runner.clone();
        let told = async move {
            loop {
                let forget = runner.send(CheckEvent(CheckInput::IdentityChanged));
                match tokio::time::timeout(PEER_TIMEOUT, forget).await {
                    Ok(Ok(())) => return,
                    // It is being restarted.
                    Ok(Err(_)) | Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                }
            }
        };
        self.wait_for(told, Box::new(|_, (), _| {}), ctx);
    }

    fn take_registration(&mut self, registration: Registration) {
        tracing::info!(
            event = "enrolled",
            client = %registration.client,
            drift_ms = registration.drift_millis,
            dispatchers = registration.dispatchers.len()
        );
        self.parts.status.registration(None);
        self.plan.registered(registration);
    }

    fn publish(&mut self, enrolled: Arc<Enrolled>, ctx: &mut Context<Self>) {
        let connector = self.parts.connector.clone();
        let connect = Connect(Arc::clone(&enrolled));
        let told = async move { tokio::time::timeout(PEER_TIMEOUT, connector.send(connect)).await };
        self.plan.published_to_connector(enrolled);
        self.published_at = Some(Instant::now());
        self.watch_first_server(ctx);
        // A connector that is being restarted asks for it.
        self.wait_for(told, Box::new(|_, _, _| {}), ctx);
    }

    /// Calls a registrar; its failure is followed by a pause, and by the next server.
    fn call<T: 'static, E: std::fmt::Display + 'static>(
        &mut self,
        call: impl Future<Output = Result<T, E>> + 'static,
        done: impl FnOnce(&mut Self, T) + 'static,
        ctx: &mut Context<Self>,
    ) {
        let take = move |enroller: &mut Self, outcome: Result<T, E>, ctx: &mut Context<Self>| match outcome {
            Ok(value) => done(enroller, value),
            Err(error) => {
                enroller.plan.try_next_server();
                enroller.fail(&error, ctx);
            }
        };
        self.wait_for(call, Box::new(take), ctx);
    }

    fn wait_for<T: 'static>(
        &mut self,
        future: impl Future<Output = T> + 'static,
        done: Done<T>,
        ctx: &mut Context<Self>,
    ) {
        let epoch = self.epoch;
        let handle = ctx.spawn(future.into_actor(self).map(move |outcome, enroller, ctx| {
            if enroller.epoch == epoch {
                enroller.waiting = None;
                done(enroller, outcome, ctx);
                enroller.advance(ctx);
            }
        }));
        self.waiting = Some(handle);
    }

    fn fail(&mut self, error: &dyn std::fmt::Display, ctx: &mut Context<Self>) {
        let wait = self.next_wait();
        tracing::warn!(event = "enrolment_failed", %error, attempt = self.failures, retry_ms = wait.as_millis());
        self.show_failure(error.to_string(), wait);
        self.pause(wait, ctx);
    }

    fn show_failure(&self, reason: String, retry_in: Duration) {
        self.parts.status.registration(Some(Trouble { reason, retry_in }));
    }

    fn next_wait(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let mut random = [0; 4];
        self.parts.entropy.fill(&mut random);
        self.parts.backoff.jittered(self.failures, u32::from_ne_bytes(random))
    }

    fn pause(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        self.wait_for(tokio::time::sleep(wait), Box::new(|_, (), _| {}), ctx);
    }

    /// Reads the systemid; false if there is none that can be used.
    fn read_systemid(&mut self) -> bool {
        self.mark = self.parts.systemid.mark();
        match self.parts.systemid.read() {
            Ok(systemid) => {
                if self.complaint.take().is_some() {
                    self.parts.status.registration(None);
                }
                if self.plan.systemid() != Some(&systemid) {
                    self.plan.systemid_read(systemid);
                }
                true
            }
            Err(error) => {
                let complaint = error.to_string();
                if self.complaint.as_ref() != Some(&complaint) {
                    tracing::error!(event = "systemid_unusable", %error);
                    self.show_failure(complaint.clone(), WATCH_INTERVAL);
                    self.complaint = Some(complaint);
                }
                false
            }
        }
    }

    /// Notices a replaced systemid. One that is gone or damaged does not end the connection: the host may just be
    /// registered anew.
    fn watch(&mut self, ctx: &mut Context<Self>) {
        if self.plan.systemid().is_none() {
            return self.advance(ctx);
        }
        if self.parts.systemid.mark() == self.mark && self.complaint.is_none() {
            return;
        }
        let before = self.plan.systemid().cloned();
        if self.read_systemid() && self.plan.systemid() != before.as_ref() {
            tracing::info!(event = "systemid_replaced");
            self.start_over(ctx);
        }
    }

    /// Whatever is being waited for is not wanted any more.
    fn start_over(&mut self, ctx: &mut Context<Self>) {
        self.epoch += 1;
        if let Some(handle) = self.waiting.take() {
            ctx.cancel_future(handle);
        }
        self.advance(ctx);
    }

    fn begin(&mut self, known: Option<Arc<Enrolled>>, ctx: &mut Context<Self>) {
        if let Some(enrolled) = known {
            self.plan.resume(enrolled);
            self.published_at = Some(Instant::now());
            self.watch_first_server(ctx);
        }
    }
}

impl Actor for Enroller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        let connector = self.parts.connector.clone();
        let known = async move {
            let known = tokio::time::timeout(PEER_TIMEOUT, connector.send(ReportEnrolled)).await;
            known.ok().and_then(Result::ok).flatten()
        };
        self.wait_for(known, Box::new(Self::begin), ctx);
        ctx.run_interval(WATCH_INTERVAL, Self::watch);
    }
}

impl Handler<EnrolAgain> for Enroller {
    type Result = ();

    fn handle(&mut self, EnrolAgain(cause): EnrolAgain, ctx: &mut Self::Context) {
        // One cause at a time: what is being done over anyway is not done twice.
        let Some(published_at) = self.published_at.filter(|_| self.plan.published().is_some()) else {
            return;
        };
        if published_at.elapsed() >= STABLE_AFTER {
            self.failures = 0;
            if self.plan.server() == 0 {
                self.returns = 0;
            }
        }
        tracing::info!(event = "enrolment_reconsidered", cause = ?cause);
        self.plan.reconsider(cause);
        // A little later, since clones of one machine have this in common with each other.
        let wait = self.next_wait();
        self.epoch += 1;
        self.pause(wait, ctx);
    }
}

impl Handler<ReportEnrolment> for Enroller {
    type Result = Option<Arc<Enrolled>>;

    fn handle(&mut self, _: ReportEnrolment, _: &mut Self::Context) -> Self::Result {
        self.plan.published()
    }
}

impl Handler<Shutdown> for Enroller {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.guard.end_as(ExitReason::Shutdown);
        ctx.stop();
    }
}

#[cfg(debug_assertions)]
impl Handler<crate::actors::supervision::Crash> for Enroller {
    type Result = ();

    fn handle(&mut self, _: crate::actors::supervision::Crash, _: &mut Self::Context) {
        panic!("crashed by a test");
    }
}
