//! What the poller is told and asked.

use actix::{Handler, ResponseFuture};

use super::messages::{
    DescribeSystems, LookAt, LookForChanges, PingSystem, PollerStatus, RegistrationChanged, SessionEvent,
};
use super::*;
use crate::actors::supervision::Shutdown;
use crate::domain::push::agenda::Arrival;
use crate::domain::push::client::ClientEvent;

impl Poller {
    fn take_event(&mut self, event: SessionEvent, now: Timestamp) {
        match event {
            SessionEvent::Opened(session) => {
                let (system, connection, kind) = (session.system, session.connection, session.kind);
                let announcement = session.announcement;
                self.agenda.session_opened(
                    Arrival {
                        system,
                        connection,
                        kind,
                        announcement,
                    },
                    now,
                );
            }
            SessionEvent::Closed(sessions) => {
                for (system, connection) in sessions {
                    self.agenda.session_closed(system, connection, now);
                }
            }
            SessionEvent::Reported {
                system,
                connection,
                events,
            } => {
                for event in events {
                    self.take_word(system, connection, event, now);
                }
            }
            SessionEvent::RequestSent { system, number, .. } => self.agenda.request_sent(system, number, now),
            SessionEvent::RequestsNotSent(requests) => {
                for request in requests {
                    self.agenda.request_not_sent(request.system, request.number, now);
                }
            }
        }
    }

    fn take_word(&mut self, system: SystemId, connection: ConnectionId, event: ClientEvent, now: Timestamp) {
        if event == ClientEvent::Ponged {
            let at = Instant::now();
            for (asked, reply) in self.awaited_pongs.remove(&system).into_iter().flatten() {
                // Whoever asked may have given up.
                reply.send(at.duration_since(asked)).ok();
            }
        }
        self.agenda.client_reported(system, connection, event, now);
    }
}

impl Handler<SessionEvent> for Poller {
    type Result = ();

    fn handle(&mut self, event: SessionEvent, ctx: &mut Context<Self>) {
        self.take_event(event, self.now());
        self.drive(ctx);
    }
}

impl Handler<RegistrationChanged> for Poller {
    type Result = ();

    fn handle(&mut self, changed: RegistrationChanged, ctx: &mut Context<Self>) {
        self.agenda.registration_changed(changed.system, self.now());
        self.drive(ctx);
    }
}

impl Handler<LookAt> for Poller {
    type Result = ();

    fn handle(&mut self, LookAt(systems): LookAt, ctx: &mut Context<Self>) {
        self.agenda.look_at(systems);
        self.drive(ctx);
    }
}

impl Handler<LookForChanges> for Poller {
    type Result = ();

    fn handle(&mut self, _: LookForChanges, ctx: &mut Context<Self>) {
        self.tick(ctx);
    }
}

impl Handler<DescribeSystems> for Poller {
    type Result = actix::MessageResult<DescribeSystems>;

    fn handle(&mut self, DescribeSystems(wanted): DescribeSystems, _: &mut Context<Self>) -> Self::Result {
        let planner = self.agenda.planner();
        let described = |system| planner.snapshot(system).map(|snapshot| (system, snapshot));
        actix::MessageResult(PollerStatus {
            connected: planner.systems().count(),
            slots_used: planner.slots_used(),
            store: self.outage.trouble().cloned(),
            systems: match wanted {
                Some(systems) => systems.into_iter().filter_map(described).collect(),
                None => planner.systems().filter_map(described).collect(),
            },
        })
    }
}

impl Handler<PingSystem> for Poller {
    type Result = ResponseFuture<Option<Duration>>;

    fn handle(&mut self, PingSystem { system, within }: PingSystem, ctx: &mut Context<Self>) -> Self::Result {
        let Some(connection) = self.agenda.planner().connection(system) else {
            return Box::pin(std::future::ready(None));
        };
        let (reply, answer) = oneshot::channel();
        self.awaited_pongs.retain(|_, waiting| {
            waiting.retain(|(_, reply)| !reply.is_closed());
            !waiting.is_empty()
        });
        if self.awaited_pongs.len() < PINGS_MAX {
            self.awaited_pongs
                .entry(system)
                .or_default()
                .push((Instant::now(), reply));
            self.ping(system, connection, ctx);
        }
        Box::pin(async move { tokio::time::timeout(within, answer).await.ok()?.ok() })
    }
}

impl Handler<Shutdown> for Poller {
    type Result = ResponseFuture<()>;

    /// Sessions have ended by now; what they said is still to be recorded.
    fn handle(&mut self, shutdown: Shutdown, ctx: &mut Context<Self>) -> Self::Result {
        let (done, finished) = oneshot::channel();
        self.draining = Some(done);
        self.agenda.hurry();
        ctx.run_later(shutdown.within, |poller, ctx| poller.finish(ctx));
        self.drive(ctx);
        Box::pin(async move {
            // Either way the poller has stopped.
            finished.await.ok();
        })
    }
}

#[cfg(debug_assertions)]
impl Handler<crate::actors::supervision::Crash> for Poller {
    type Result = ();

    fn handle(&mut self, _: crate::actors::supervision::Crash, _: &mut Context<Self>) {
        panic!("crashed by a test");
    }
}
