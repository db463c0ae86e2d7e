//! Addresses that survive a restart of the actor behind them.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use actix::dev::ToEnvelope;
use actix::prelude::SendError;
use actix::{Actor, Addr, Handler, MailboxError, Message};
use async_trait::async_trait;

/// The address of whatever generation of a supervised actor lives now.
///
/// All clones share one `Addr`: in actix every clone of an `Addr` owns a slot beyond the mailbox's capacity, so only a
/// shared one is bounded.
pub struct LiveAddr<A: Actor>(Arc<RwLock<Option<Addr<A>>>>);

impl<A: Actor> LiveAddr<A> {
    /// An address with nobody behind it yet.
    pub fn vacant() -> Self {
        Self(Arc::new(RwLock::new(None)))
    }

    /// Points to another generation; for the parent.
    pub fn set(&self, addr: Addr<A>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(addr);
    }

    /// Whether an actor that takes messages is behind it now.
    pub fn is_connected(&self) -> bool {
        let addr = self.0.read().unwrap_or_else(PoisonError::into_inner);
        addr.as_ref().is_some_and(Addr::connected)
    }

    /// Sends at once or not at all.
    ///
    /// # Errors
    /// `Full` if the mailbox is, `Closed` if nobody is there; both give the message back.
    pub fn try_send<M>(&self, message: M) -> Result<(), SendError<M>>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(addr) => addr.try_send(message),
            None => Err(SendError::Closed(message)),
        }
    }

    /// Sends, waiting for room, and waits for the reply. A waiting caller holds one message, so what is queued is
    /// bounded by the number of callers. Not to be awaited without a time limit.
    ///
    /// # Errors
    /// `Closed` if nobody is there or the actor ended before it replied.
    pub async fn send<M>(&self, message: M) -> Result<M::Result, MailboxError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        let request = match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(addr) => addr.send(message),
            None => return Err(MailboxError::Closed),
        };
        request.await
    }

    /// The same for those that need to know only one message of the actor.
    pub fn recipient<M>(&self) -> LiveRecipient<M>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        LiveRecipient(Arc::new(self.clone()))
    }
}

impl<A: Actor> Clone for LiveAddr<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: Actor> fmt::Debug for LiveAddr<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LiveAddr")
            .field("is_connected", &self.is_connected())
            .finish()
    }
}

#[async_trait]
trait Receive<M>: Send + Sync
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn try_receive(&self, message: M) -> Result<(), SendError<M>>;
    async fn receive(&self, message: M) -> Result<M::Result, MailboxError>;
}

#[async_trait]
impl<A, M> Receive<M> for LiveAddr<A>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn try_receive(&self, message: M) -> Result<(), SendError<M>> {
        self.try_send(message)
    }

    async fn receive(&self, message: M) -> Result<M::Result, MailboxError> {
        self.send(message).await
    }
}

/// A [`LiveAddr`] that takes one kind of message and hides the actor.
pub struct LiveRecipient<M>(Arc<dyn Receive<M>>)
where
    M: Message + Send + 'static,
    M::Result: Send;

impl<M> LiveRecipient<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    /// See [`LiveAddr::try_send`].
    ///
    /// # Errors
    /// As there.
    pub fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        self.0.try_receive(message)
    }

    /// See [`LiveAddr::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&self, message: M) -> Result<M::Result, MailboxError> {
        self.0.receive(message).await
    }
}

impl<M> Clone for LiveRecipient<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for LiveRecipient<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LiveRecipient")
    }
}
