//! What moves a connection: its bytes and its one timer.

use std::pin::Pin;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use actix::fut::ActorFuture;
use actix::{ActorContext, ActorFutureExt, ActorState, Context, WrapFuture};

use super::Connector;
use super::live::{Ending, Live};
use crate::actors::check_runner::messages::Announce;
use crate::actors::wire::{Progress, Timer};
use crate::domain::check::{CheckInput, Dispatcher};
use crate::domain::push::client::Announcement;
use crate::ports::agent_status::LinkStatus;
use crate::protocol::agent::{LinkEvent, LinkOutput};

/// Bytes read at once; a server says little at a time.
const CHUNK: usize = 4 * 1024;
/// Pause before the check runner is asked again for what to announce.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(1);

/// Runs as long as its connection.
pub(super) struct Pump {
    connection: u64,
    timer: Timer,
}

impl Pump {
    pub(super) fn new(connection: u64) -> Self {
        Self {
            connection,
            timer: Timer::default(),
        }
    }
}

impl ActorFuture<Connector> for Pump {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        connector: &mut Connector,
        ctx: &mut Context<Connector>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        if self.connection != connector.connections {
            return Poll::Ready(());
        }
        connector.waker.clone_from(task.waker());
        connector.perform(ctx);
        loop {
            if ctx.state() != ActorState::Running {
                return Poll::Ready(());
            }
            if connector.poll_link(ctx, task).is_ready() {
                continue;
            }
            let Some(live) = &connector.live else {
                return Poll::Ready(());
            };
            if self.timer.poll(connector.next_deadline(live), task).is_pending() {
                return Poll::Pending;
            }
            connector.handle_deadlines(ctx);
        }
    }
}

impl Connector {
    /// Goes on after something other than the pump has changed the connection.
    pub(super) fn resume(&mut self, ctx: &mut Context<Self>) {
        self.perform(ctx);
        self.waker.wake_by_ref();
    }

    fn next_deadline(&self, live: &Live) -> Option<Instant> {
        let relist = self.relist.as_ref().map(|(at, _)| at.into_std());
        live.next_deadline().into_iter().chain(relist).min()
    }

    fn poll_link(&mut self, ctx: &mut Context<Self>, task: &mut task::Context<'_>) -> Poll<()> {
        let now = self.moment();
        let Some(live) = &mut self.live else {
            return Poll::Pending;
        };
        live.at(now.steady);
        let mut buffer = [0; CHUNK];
        let may_read = self.notices.has_room() && !live.link.outgoing.is_congested();
        let window = may_read.then_some(&mut buffer[..]);
        let progress = match live.link.poll(task, window, &self.handshakes, now.steady) {
            Poll::Ready(progress) => progress,
            Poll::Pending => return Poll::Pending,
        };
        let ended = match progress {
            Ok(Progress::Read(count)) => {
                live.agent.receive(buffer.get(..count).unwrap_or_default(), now);
                None
            }
            Ok(Progress::Secured(handshake)) => {
                live.agent.tls_established(handshake.channel_binding, now);
                None
            }
            Ok(Progress::Gone | Progress::Closed) => Some(Ending::Gone),
            Err(error) => Some(Ending::Link(error)),
        };
        // Why we are closing says more than that, or how, the connection is closed.
        match ended.map(|ended| live.ending.take().unwrap_or(ended)) {
            Some(ending) => self.end_live(ending, ctx),
            None => self.perform(ctx),
        }
        Poll::Ready(())
    }

    fn handle_deadlines(&mut self, ctx: &mut Context<Self>) {
        let (now, entropy) = (self.moment(), u16::from_ne_bytes(self.random()));
        let Some(live) = &mut self.live else { return };
        live.at(now.steady);
        if live.link.deadline().is_some_and(|at| at <= now.steady) {
            let ending = live.ending.take().unwrap_or(Ending::SlowReader);
            return self.end_live(ending, ctx);
        }
        live.agent.handle_deadline(now);
        if live.doubt.deadline().is_some_and(|at| at <= now.steady) && live.doubts(entropy) {
            self.doubt_link();
        }
        self.relist_if_due();
        self.perform(ctx);
    }

    /// Does everything that the conversation wants done.
    fn perform(&mut self, ctx: &mut Context<Self>) {
        let now = self.moment().steady;
        while let Some(live) = &mut self.live {
            let Some(output) = live.agent.poll_output() else { return };
            match output {
                LinkOutput::Write(bytes) => {
                    if live.link.outgoing.queue(bytes, now).is_err() {
                        self.end_live(Ending::SlowReader, ctx);
                    }
                }
                LinkOutput::StartTls => live.link.start_tls(),
                LinkOutput::Close(end) => {
                    live.ending.get_or_insert(Ending::Stream(end));
                    live.link.close(now);
                }
                LinkOutput::Event(event) => self.handle_event(event, ctx),
            }
        }
    }

    fn handle_event(&mut self, event: LinkEvent, ctx: &mut Context<Self>) {
        match event {
            LinkEvent::LoggedIn { jid, registered } => self.handle_login(jid, registered, ctx),
            LinkEvent::RequestReceived(number) => self.notify(CheckInput::RequestReceived(number), ctx),
            LinkEvent::Acknowledged(run) => self.notify(CheckInput::ReportAcknowledged(run), ctx),
            LinkEvent::LinkUp(dispatcher) => self.handle_link_up(dispatcher, ctx),
            LinkEvent::AnnouncementWanted => self.ask_announcement(ctx),
            LinkEvent::DispatcherCame(jid) => self.handle_coming(&jid),
            LinkEvent::DispatcherLeft(jid) => self.handle_leaving(&jid, ctx),
            LinkEvent::DispatcherUnknown(jid) => self.handle_unknown(jid),
            LinkEvent::ClockOff => self.close_for(Ending::ClockOff),
            LinkEvent::KeyVoid => self.close_for(Ending::KeyVoid),
            LinkEvent::Ignored(why) => tracing::debug!(event = "dispatcher_ignored", reason = %why),
        }
    }

    fn handle_login(&mut self, jid: String, registered: bool, ctx: &mut Context<Self>) {
        let Some(live) = &mut self.live else { return };
        live.logged_in_at = Some(tokio::time::Instant::now().into_std());
        tracing::info!(event = "connected", jid, registered, peer_addr = %live.link.peer_addr());
        self.show_login();
        if self.enrolled.as_ref().is_some_and(|enrolled| enrolled.jid != jid) {
            return self.close_for(Ending::OtherJid(jid));
        }
        self.ask_announcement(ctx);
    }

    /// Announces, once the check runner says what.
    fn ask_announcement(&mut self, ctx: &mut Context<Self>) {
        let runner = self.parts.check_runner.clone();
        let announcement = async move {
            loop {
                match tokio::time::timeout(ANNOUNCE_PAUSE, runner.send(Announce)).await {
                    Ok(Ok(Some(announcement))) => return announcement,
                    // It is being restarted, or still reads what earlier runs left.
                    Ok(Ok(None) | Err(_)) => tokio::time::sleep(ANNOUNCE_PAUSE).await,
                    Err(_) => {}
                }
            }
        };
        let announced = announcement.into_actor(self);
        self.await_only(
            announced.map(|announcement, connector, ctx| connector.announce(&announcement, ctx)),
            ctx,
        );
    }

    fn announce(&mut self, announcement: &Announcement, ctx: &mut Context<Self>) {
        self.pending = None;
        let now = self.moment();
        // An original dispatcher does not answer announcements.
        let doubts = self.heard != Some(Dispatcher::Original);
        if let Some(live) = &mut self.live {
            live.at(now.steady);
            live.agent.announce(announcement, now);
            if doubts {
                live.expect_answer(self.unheard);
            }
            self.resume(ctx);
        }
    }

    pub(super) fn show_login(&self) {
        if let Some(live) = &self.live {
            let address = live.link.peer_addr().to_string();
            self.parts.status.link(LinkStatus::LoggedIn { address });
        }
    }

    /// Says goodbye, for this reason.
    pub(super) fn close_for(&mut self, ending: Ending) {
        if let Some(live) = &mut self.live
            && live.ending.is_none()
        {
            live.ending = Some(ending);
            live.agent.close();
        }
    }
}
