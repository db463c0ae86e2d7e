//! Questions of the machines, answered from the database.

use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::{Session, SessionParts, now};
use crate::actors::poller::messages::{SessionEvent, SessionOpened};
use crate::domain::ids::SystemId;
use crate::domain::push::client::{AgentKind, Announcement, Client, ClientEvent};
use crate::domain::secret::Secret;
use crate::ports::store::StoreError;
use crate::protocol::osa::dispatcher_talk;
use crate::protocol::register::AccountName;
use crate::protocol::sasl::{Salts, Verifiers};
use crate::protocol::stream::server::{Answer, Question, QuestionToken};

impl Session {
    pub(super) fn ask_for_account(&mut self, token: QuestionToken, question: Question, ctx: &mut Context<Self>) {
        self.questions += 1;
        let answer = answer_account(Arc::clone(&self.parts), question);
        ctx.spawn(answer.into_actor(self).map(move |answer, session, ctx| {
            session.questions = session.questions.saturating_sub(1);
            if let Some(socket) = session.socket() {
                socket.stream.answer(token, answer, now());
            }
            session.resume(ctx);
        }));
    }

    pub(super) fn ask_for_client(&mut self, question: dispatcher_talk::Question, ctx: &mut Context<Self>) {
        self.questions += 1;
        let answer = answer_client(Arc::clone(&self.parts), question.clone());
        ctx.spawn(answer.into_actor(self).map(move |clients, session, ctx| {
            session.questions = session.questions.saturating_sub(1);
            session.take_clients(&question, clients, ctx);
            session.resume(ctx);
        }));
    }

    /// Several registrations may claim one JID. A new agent says by its announcement which is its own; an existing one
    /// shows it by the ping that it answers.
    fn take_clients(&mut self, question: &dispatcher_talk::Question, clients: Vec<Client>, ctx: &mut Context<Self>) {
        let now = self.parts.clock.now();
        let greeted = |client: &Client| self.greeted.as_ref() == Some(&client.name);
        let own = clients.iter().position(greeted).unwrap_or(0);
        let (mut chosen, mut others) = (None, Vec::new());
        for (position, client) in clients.into_iter().enumerate() {
            match position == own {
                true => chosen = Some(client),
                false => others.push(client),
            }
        }
        if let Some(talk) = &mut self.talk {
            talk.handle_client(now, question, chosen);
        }
        self.perform(ctx);
        if !matches!(self.pushable, Some((_, AgentKind::Existing))) {
            return;
        }
        for other in others {
            tracing::info!(event = "jid_contested", jid = %other.jid, claimant = other.system.0);
            // A ping that is not sent is tried again with the next presence.
            self.talk.as_mut().and_then(|talk| talk.ping(now, &other).ok());
        }
    }

    /// The client signed validly as another system than the one it was taken for: it is that one.
    pub(super) fn become_system(&mut self, system: SystemId, event: ClientEvent, ctx: &mut Context<Self>) {
        self.questions += 1;
        let parts = Arc::clone(&self.parts);
        let client = async move { parts.registrations.client_of_system(system).await };
        ctx.spawn(client.into_actor(self).map(move |client, session, ctx| {
            session.questions = session.questions.saturating_sub(1);
            match client {
                Ok(Some(client)) => session.move_to(client, event, ctx),
                // The registration went while it was read.
                Ok(None) => {}
                Err(error) => session.parts.complaints.client_not_read(&error),
            }
            session.resume(ctx);
        }));
    }

    fn move_to(&mut self, client: Client, event: ClientEvent, ctx: &mut Context<Self>) {
        let (system, connection) = (client.system, self.ticket.connection());
        let Some((before, kind)) = self.pushable.filter(|_| self.jid.as_deref() == Some(&client.jid)) else {
            return;
        };
        if before != system {
            self.tell_poller(SessionEvent::Closed(vec![(before, connection)]), ctx);
            let opened = SessionOpened {
                system,
                connection,
                client,
                kind,
                announcement: Some(Announcement::default()),
                at: self.parts.clock.now(),
            };
            self.become_pushable(opened, ctx);
        }
        self.report_event(system, event, ctx);
    }
}

async fn answer_account(parts: Arc<SessionParts>, question: Question) -> Answer {
    match question {
        Question::Verifiers(username) => read_verifiers(&parts, &username).await,
        Question::CreateAccount { username, password } => create_account(&parts, &username, password).await,
    }
}

async fn read_verifiers(parts: &SessionParts, username: &AccountName) -> Answer {
    let account = match parts.accounts.account(username.as_str()).await {
        Ok(Some(account)) => account,
        Ok(None) => return Answer::Verifiers(None),
        Err(error) => {
            parts.complaints.account_not_read(username.as_str(), &error);
            return Answer::Unavailable;
        }
    };
    match account.verifiers.parse() {
        Ok(verifiers) => Answer::Verifiers(Some(Box::new(unseal(parts, username, verifiers)))),
        Err(error) => {
            tracing::error!(event = "account_damaged", account = username.as_str(), error = %error, "reset the account");
            Answer::Unavailable
        }
    }
}

/// Adds the password, where it is kept and a digest may be checked with it.
fn unseal(parts: &SessionParts, username: &AccountName, verifiers: Verifiers) -> Verifiers {
    let sealed = parts.vault.as_deref().zip(verifiers.sealed_password());
    match sealed.and_then(|(vault, sealed)| vault.open(username.as_str(), sealed)) {
        Some(password) => verifiers.with_password(password),
        None => verifiers,
    }
}

async fn create_account(parts: &SessionParts, username: &AccountName, password: Secret) -> Answer {
    let sealed = parts.vault.as_deref();
    let sealed = sealed.and_then(|vault| vault.seal(username.as_str(), &password));
    let Some(verifiers) = derive(parts, password, sealed).await else {
        return Answer::Unavailable;
    };
    let now = parts.clock.now();
    match parts.accounts.create_account(username.as_str(), &verifiers, now).await {
        Ok(()) => {
            parts.complaints.account_created(username.as_str());
            Answer::Created
        }
        Err(StoreError::Exists { .. }) => Answer::Taken,
        Err(error) => {
            parts.complaints.account_not_created(username.as_str(), &error);
            Answer::Unavailable
        }
    }
}

/// Computes verifiers on a thread of its own, a few at once: it takes milliseconds.
async fn derive(parts: &SessionParts, password: Secret, sealed: Option<String>) -> Option<String> {
    let permit = Arc::clone(&parts.derivations).acquire_owned().await.ok()?;
    let mut salts = Salts {
        sha256: [0; 16],
        sha1: [0; 16],
        // Accounts made in-band are agents': their passwords are random.
        fast: Some([0; 16]),
    };
    parts.entropy.fill(&mut salts.sha256);
    parts.entropy.fill(&mut salts.sha1);
    if let Some(salt) = &mut salts.fast {
        parts.entropy.fill(salt);
    }
    let iterations = parts.config.scram_iterations;
    let derived = tokio::task::spawn_blocking(move || {
        let verifiers = Verifiers::derive(&password, &salts, iterations);
        drop(permit);
        verifiers.map(|verifiers| match sealed {
            Some(sealed) => verifiers.with_sealed_password(sealed).to_stored(),
            None => verifiers.to_stored(),
        })
    });
    derived.await.ok()?.ok()
}

async fn answer_client(parts: Arc<SessionParts>, question: dispatcher_talk::Question) -> Vec<Client> {
    let answer = match &question {
        dispatcher_talk::Question::ClientByJid(jid) => parts.registrations.clients_by_jid(jid).await,
        dispatcher_talk::Question::ClientByName(name) => {
            let client = parts.registrations.client_by_name(name).await;
            client.map(|client| client.into_iter().collect())
        }
    };
    answer.unwrap_or_else(|error| {
        parts.complaints.client_not_read(&error);
        Vec::new()
    })
}
