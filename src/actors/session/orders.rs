//! What a session is told to do.

use actix::{Context, Handler};

use super::totals::Ending;
use super::{EndCause, Session, SessionOrder, Way};
use crate::actors::poller::messages::{NotSentReason, RequestNotSent, SessionEvent};
use crate::domain::ids::RequestNumber;
use crate::domain::push::client::Client;
use crate::protocol::stream::StreamFault;

impl Session {
    fn send_request(&mut self, number: RequestNumber, client: &Client, ctx: &mut Context<Self>) {
        let (system, connection) = (client.system, self.ticket.connection());
        let outcome = self.try_request(number, client, ctx);
        self.perform(ctx);
        let event = match outcome {
            Ok(()) => SessionEvent::RequestSent {
                system,
                number,
                connection,
            },
            Err(reason) => SessionEvent::RequestsNotSent(vec![RequestNotSent {
                system,
                number,
                connection,
                reason,
            }]),
        };
        self.report(event, ctx);
    }

    fn try_request(
        &mut self,
        number: RequestNumber,
        client: &Client,
        ctx: &mut Context<Self>,
    ) -> Result<(), NotSentReason> {
        let now = self.parts.clock.now();
        match &mut self.talk {
            Some(_) if self.way.is_congested() => return Err(NotSentReason::Busy),
            Some(talk) => talk
                .request(now, number, client)
                .map_err(|_| NotSentReason::NotConnected)?,
            None => return Err(NotSentReason::NotConnected),
        }
        // The request is all that there is to write.
        self.perform_talk(ctx);
        let sent = self.way.last_sent();
        if sent.is_err()
            && let Some(talk) = &mut self.talk
        {
            talk.withdraw(number);
        }
        sent
    }

    /// A client at a socket is told why. To one behind another server nothing is said: its connection is not ours to end.
    fn end_as_told(&mut self, cause: EndCause, ctx: &mut Context<Self>) {
        let fault = match cause {
            EndCause::Conflict => StreamFault::Conflict,
            EndCause::AccountReset => StreamFault::AccountReset,
            EndCause::Displaced => StreamFault::Displaced,
            EndCause::Shutdown => StreamFault::SystemShutdown,
            EndCause::Unavailable => return self.end(Ending::Ordered(cause), ctx),
        };
        match &mut self.way {
            Way::Socket(socket) => socket.stream.close(fault),
            Way::Relay(_) => self.end(Ending::Ordered(cause), ctx),
        }
    }
}

impl Handler<SessionOrder> for Session {
    type Result = ();

    fn handle(&mut self, order: SessionOrder, ctx: &mut Self::Context) {
        let now = self.parts.clock.now();
        match order {
            SessionOrder::Request { number, client } => return self.send_request(number, &client, ctx),
            SessionOrder::Ping { client } => {
                // A ping that is not sent is not answered either, which is what the poller looks at.
                self.talk.as_mut().and_then(|talk| talk.ping(now, &client).ok());
            }
            SessionOrder::Acknowledge(run) => {
                if let Some(talk) = &mut self.talk {
                    talk.acknowledge(now, run);
                }
            }
            SessionOrder::Announce(audience) => self.announce(audience, ctx),
            SessionOrder::End(cause) => self.end_as_told(cause, ctx),
        }
        self.perform(ctx);
    }
}
