//! The stream's opening tag and what is offered behind it (RFC 6120, sections 4.3 and 4.7).

use super::context::{Context, Login, write_header};
use super::{ExpectBind, ExpectLogin, ExpectStartTls, State};
use crate::protocol::codec::{StreamHeader, push};
use crate::protocol::ns;
use crate::protocol::register::AccountName;
use crate::protocol::sasl::Mechanism;
use crate::protocol::stream::StreamFault;

/// The client's header is due, for the first time or again.
pub(super) struct ExpectHeader {
    pub(super) login: Login,
    phase: Phase,
}

/// How far the client has come; decides what is offered.
enum Phase {
    BeforeTls,
    InsideTls,
    LoggedIn(AccountName),
}

impl ExpectHeader {
    pub(super) fn before_tls(login: Login) -> Self {
        Self {
            login,
            phase: Phase::BeforeTls,
        }
    }

    pub(super) fn inside_tls(login: Login) -> Self {
        Self {
            login,
            phase: Phase::InsideTls,
        }
    }

    pub(super) fn logged_in(login: Login, username: AccountName) -> Self {
        Self {
            login,
            phase: Phase::LoggedIn(username),
        }
    }

    pub(super) fn handle_header(
        mut self,
        header: &StreamHeader,
        context: &mut Context<'_>,
    ) -> Result<State, StreamFault> {
        let checked = self.check(header, context);
        let domain = match &checked {
            Ok(domain) => domain.as_str(),
            Err(_) => context.config.first_domain(),
        };
        let id = self.login.seed.draw_text();
        write_header(domain, &id, context.out.text());
        self.login.domain = checked?;
        self.login.stream_id = id;
        Ok(self.offer(context))
    }

    /// The domain the client wants, lower case. A client that came to one domain cannot go on to another.
    fn check(&self, header: &StreamHeader, context: &Context<'_>) -> Result<String, StreamFault> {
        if header.version.as_deref().is_some_and(|version| !is_version_1(version)) {
            return Err(StreamFault::UnsupportedVersion);
        }
        let domain = header.to.as_deref().unwrap_or_default().to_ascii_lowercase();
        let known = context.config.serves(&domain);
        if !known || !(self.login.domain.is_empty() || self.login.domain == domain) {
            return Err(StreamFault::HostUnknown);
        }
        Ok(domain)
    }

    fn offer(self, context: &mut Context<'_>) -> State {
        context.text().push_str("<stream:features>");
        let state = match self.phase {
            Phase::BeforeTls => {
                push(
                    context.text(),
                    format_args!("<starttls xmlns='{}'><required/></starttls>", ns::TLS),
                );
                State::ExpectStartTls(Box::new(ExpectStartTls { login: self.login }))
            }
            Phase::InsideTls => {
                write_login_features(&self.login, context);
                State::ExpectLogin(Box::new(ExpectLogin { login: self.login }))
            }
            Phase::LoggedIn(username) => {
                push(context.text(), format_args!("<bind xmlns='{}'/>", ns::BIND));
                State::ExpectBind(Box::new(ExpectBind {
                    login: self.login,
                    username,
                }))
            }
        };
        context.text().push_str("</stream:features>");
        state
    }
}

fn write_login_features(login: &Login, context: &mut Context<'_>) {
    push(context.text(), format_args!("<mechanisms xmlns='{}'>", ns::SASL));
    let can_bind = login.exporter.is_some();
    for mechanism in Mechanism::STRONGEST_FIRST {
        if can_bind || !mechanism.needs_exporter() {
            push(context.text(), format_args!("<mechanism>{mechanism}</mechanism>"));
        }
    }
    context.text().push_str("</mechanisms>");
    if can_bind {
        push(
            context.text(),
            format_args!(
                "<sasl-channel-binding xmlns='{}'><channel-binding type='tls-exporter'/></sasl-channel-binding>",
                ns::SASL_CHANNEL_BINDING
            ),
        );
    }
    push(context.text(), format_args!("<auth xmlns='{}'/>", ns::IQ_AUTH_FEATURE));
    if context.config.registration {
        push(
            context.text(),
            format_args!("<register xmlns='{}'/>", ns::REGISTER_FEATURE),
        );
    }
}

/// RFC 6120, section 4.7.5: the major number decides.
fn is_version_1(version: &str) -> bool {
    version.split('.').next() == Some("1")
}
