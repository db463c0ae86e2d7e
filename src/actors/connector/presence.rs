//! Dispatchers that come and go on a connection that stays.

use std::time::Duration;

use actix::Context;
use tokio::time::Instant;

use super::Connector;
use super::live::{Doubt, Ending};
use crate::domain::check::{CheckInput, Dispatcher};
use crate::ports::agent_status::LinkStatus;

/// Shortest time between two registrations because of unknown dispatchers: anybody with an account may call himself one.
const RELIST_INTERVAL: Duration = Duration::from_secs(600);

impl Connector {
    pub(super) fn handle_link_up(&mut self, dispatcher: Dispatcher, ctx: &mut Context<Self>) {
        tracing::info!(event = "dispatcher_heard", dispatcher = ?dispatcher);
        self.heard = Some(dispatcher);
        self.unheard = 0;
        if let Some(live) = &mut self.live {
            live.dispatcher = Some(dispatcher);
            live.doubt = Doubt::None;
        }
        self.parts.status.link(LinkStatus::Linked);
        self.notify(CheckInput::LinkUp(dispatcher), ctx);
    }

    /// In answer to our probe: it was there all the time, and said nothing to our announcement.
    pub(super) fn handle_coming(&mut self, jid: &str) {
        let entropy = u16::from_ne_bytes(self.random());
        let Some(live) = &mut self.live else { return };
        if matches!(live.doubt, Doubt::Probed(_)) {
            return self.doubt_link();
        }
        tracing::info!(event = "dispatcher_came", jid);
        if live.dispatcher.is_none() && self.heard != Some(Dispatcher::Original) {
            live.be_patient(entropy);
        }
    }

    /// It will be back, and the server will say so.
    pub(super) fn handle_leaving(&mut self, jid: &str, ctx: &mut Context<Self>) {
        let Some(live) = &mut self.live else { return };
        tracing::info!(event = "dispatcher_left", jid);
        live.doubt = Doubt::None;
        if live.dispatcher.take().is_some() {
            self.show_login();
            self.notify(CheckInput::LinkDown, ctx);
        }
    }

    pub(super) fn handle_unknown(&mut self, jid: String) {
        let now = Instant::now();
        if self
            .relisted_at
            .is_some_and(|at| now.duration_since(at) < RELIST_INTERVAL)
        {
            tracing::debug!(event = "dispatcher_ignored", reason = "unknown dispatcher", jid);
            return;
        }
        self.relisted_at = Some(now);
        self.close_for(Ending::NewDispatcher(jid));
    }

    /// Nobody knows us.
    pub(super) fn doubt_link(&mut self) {
        self.unheard = self.unheard.saturating_add(1);
        self.close_for(Ending::Unheard);
    }
}
