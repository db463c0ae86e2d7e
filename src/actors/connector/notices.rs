//! News for the check runner, one after the other.

use std::collections::VecDeque;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::Connector;
use crate::actors::check_runner::messages::CheckEvent;
use crate::domain::check::CheckInput;

/// News that may wait; beyond it nothing is read from the server.
const NEWS_MAX: usize = 16;
/// How long the check runner may be too busy.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Notices {
    waiting: VecDeque<CheckInput>,
    sending: bool,
}

impl Notices {
    /// Whether the server's next words may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < NEWS_MAX
    }
}

impl Connector {
    /// Tells the check runner, after what it was told before.
    pub(super) fn notify(&mut self, news: CheckInput, ctx: &mut Context<Self>) {
        self.notices.waiting.push_back(news);
        if !self.notices.sending {
            self.send_news(ctx);
        }
    }

    fn send_news(&mut self, ctx: &mut Context<Self>) {
        let Some(news) = self.notices.waiting.pop_front() else {
            return;
        };
        self.notices.sending = true;
        let runner = self.parts.check_runner.clone();
        // What is lost while it is being restarted, it asks for; requests are made again by the dispatcher.
        let sent = async move { tokio::time::timeout(SEND_TIMEOUT, runner.send(CheckEvent(news))).await };
        ctx.spawn(sent.into_actor(self).map(|_, connector, ctx| {
            connector.notices.sending = false;
            connector.send_news(ctx);
            connector.waker.wake_by_ref();
        }));
    }
}
