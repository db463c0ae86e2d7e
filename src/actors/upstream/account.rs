//! The account that the dispatcher logs in with, as `rhnPushDispatcher` holds it.

use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::time::Instant;

use super::Upstream;
use super::live::Ending;
use crate::domain::dispatcher_account::DispatcherAccount;
use crate::protocol::stream::client::ClientEnd;
use xmpp_parsers::stream_error::DefinedCondition;

/// Another account is chosen at most this often: if that does not help, it is not the password.
const ROTATE_EVERY: Duration = Duration::from_secs(3_600);

impl Upstream {
    /// Reads the account, which may have changed, and connects.
    pub(super) fn prepare(&mut self, ctx: &mut Context<Self>) {
        let store = Arc::clone(&self.parts.accounts);
        let hostname = self.parts.domain().to_owned();
        let fresh = DispatcherAccount::first(self.random());
        let account = async move { store.dispatcher_account(&hostname, &fresh).await };
        let handle = ctx.spawn(account.into_actor(self).map(|account, upstream, ctx| match account {
            Ok(account) => {
                upstream.account = Some(account);
                upstream.dial(ctx);
            }
            Err(error) => upstream.come_back(format!("the account cannot be read: {error}"), None, ctx),
        }));
        self.await_only(handle, ctx);
    }

    /// The account is another's, or its password is lost: takes a new one, under a name that nobody has.
    pub(super) fn rotate_account(&mut self, ctx: &mut Context<Self>) {
        let Some(current) = self.account.clone() else { return };
        if self.rotated_at.is_some_and(|at| at.elapsed() < ROTATE_EVERY) {
            let reason = format!(
                "the server knows {}@{} with another password, and so it did with the account before: remove the \
                 account there, or set its password in rhnPushDispatcher",
                current.username,
                self.parts.dialer.domain()
            );
            return self.come_back(reason, None, ctx);
        }
        self.rotated_at = Some(Instant::now());
        let next = DispatcherAccount::another(self.random(), self.random());
        let server = self.parts.dialer.domain().to_owned();
        tracing::error!(
            event = "upstream_account_taken",
            server,
            account = current.username,
            next = next.username,
            "the server knows the account with another password; a new one is taken, and told to clients as they register"
        );
        let store = Arc::clone(&self.parts.accounts);
        let rotated = async move { store.rotate_dispatcher_account(&server, &current, &next).await };
        let handle = ctx.spawn(rotated.into_actor(self).map(|rotated, upstream, ctx| match rotated {
            Ok(_) => upstream.prepare(ctx),
            Err(error) => upstream.come_back(format!("the new account cannot be stored: {error}"), None, ctx),
        }));
        self.await_only(handle, ctx);
    }

    /// What an ending means for somebody who looks after the server.
    pub(super) fn account_reason(&self, ending: &Ending) -> String {
        if let Some(component) = &self.parts.component {
            return component_reason(&component.domain, ending);
        }
        let (domain, username) = (
            self.parts.dialer.domain(),
            self.account.as_ref().map(|it| it.username.as_str()),
        );
        let account = format!("{}@{domain}", username.unwrap_or_default());
        match ending {
            Ending::Stream(ClientEnd::NotAuthorized) => format!(
                "the server refuses {account} and makes no accounts: create it there, or set its password, with the one in \
                 rhnPushDispatcher; or let it register accounts"
            ),
            Ending::Stream(ClientEnd::RegistrationRefused(remark)) => format!(
                "the server refuses {account} and makes no account ({remark}): create it there, or set its password, with \
                 the one in rhnPushDispatcher; or let it register accounts"
            ),
            Ending::Stream(ClientEnd::ServerEnded(DefinedCondition::HostUnknown, remark)) => {
                format!("the server does not serve {domain} ({remark}): correct hostname or upstream.server")
            }
            ending if ending.is_conflict() => {
                format!(
                    "another program logged in as {account}, or the account was removed: stop the other dispatcher, two \
                     cannot use one account"
                )
            }
            ending => ending.to_string(),
        }
    }
}

/// The same for a component, which has no account. ejabberd does not say whether it knows the component or not.
fn component_reason(domain: &str, ending: &Ending) -> String {
    match ending {
        Ending::Stream(ClientEnd::ServerEnded(DefinedCondition::NotAuthorized, _)) => format!(
            "the server refuses the secret of the component {domain}: give it the one in upstream.secret in its \
             configuration, under this name"
        ),
        Ending::Stream(ClientEnd::ServerEnded(DefinedCondition::HostUnknown, _)) => {
            format!("the server has no component {domain}: add it to its configuration, or correct upstream.component")
        }
        Ending::Stream(ClientEnd::ServerEnded(DefinedCondition::InvalidNamespace, _) | ClientEnd::NoMechanism) => {
            "the server takes no components at this port: correct upstream.server".to_owned()
        }
        Ending::Stream(ClientEnd::Silent) => {
            format!("the server has gone silent, as ejabberd does if another program becomes the component {domain}")
        }
        ending if ending.is_conflict() => format!(
            "another program is the component {domain}, or the server has that name itself: stop the other dispatcher, \
             or correct upstream.component"
        ),
        ending => ending.to_string(),
    }
}
