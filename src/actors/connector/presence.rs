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

    /// It will be back, and the server will say so; unless another one takes its place.
    pub(super) fn handle_leaving(&mut self, jid: &str, ctx: &mut Context<Self>) {
        let entropy = u16::from_ne_bytes(self.random());
        let Some(live) = &mut self.live else { return };
        tracing::info!(event = "dispatcher_left", jid);
        live.be_patient(entropy);
        if live.dispatcher.take().is_some() {
            self.show_login();
            self.notify(CheckInput::LinkDown, ctx);
        }
    }

    pub(super) fn handle_unknown(&mut self, jid: String) {
        if self.relist.is_some() {
            return tracing::debug!(event = "dispatcher_ignored", reason = "unknown dispatcher", jid);
        }
        let now = Instant::now();
        let spread = Duration::from_millis(u16::from_ne_bytes(self.random()).into());
        let due = self.relisted_at.map(|at| at + RELIST_INTERVAL);
        match due.filter(|due| *due > now) {
            Some(due) => {
                let wait_secs = (due + spread - now).as_secs();
                tracing::info!(event = "dispatcher_unknown", jid, wait_secs);
                self.relist = Some((due + spread, jid));
            }
            None => self.relist_for(jid),
        }
    }

    /// Registers again, which tells who the dispatchers are.
    fn relist_for(&mut self, jid: String) {
        self.relisted_at = Some(Instant::now());
        self.close_for(Ending::NewDispatcher(jid));
    }

    pub(super) fn relist_if_due(&mut self) {
        if let Some((_, jid)) = self.relist.take_if(|(at, _)| *at <= Instant::now()) {
            self.relist_for(jid);
        }
    }

    /// Nobody knows us.
    pub(super) fn doubt_link(&mut self) {
        self.unheard = self.unheard.saturating_add(1);
        self.close_for(Ending::Unheard);
    }
}
