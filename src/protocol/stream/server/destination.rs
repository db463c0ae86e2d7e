//! Where a client's stanza goes. There is no destination that is another client: none reaches another.

use minidom::Element;

use super::ServerConfig;
use crate::protocol::stanza::bare;

/// Who takes a stanza of a client that is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The dispatcher hears it, under the sender's full JID.
    Dispatcher,
    /// The server answers it, or takes it as an answer.
    Server,
    /// Nobody: a message or query is answered with an error, a presence is dropped.
    Nobody,
}

impl Destination {
    /// Decides from name, type and address of the stanza; `sender` is the session's full JID.
    pub fn of(stanza: &Element, sender: &str, config: &ServerConfig) -> Self {
        let to = stanza.attr("to");
        match stanza.name() {
            "message" if to.is_some_and(|to| config.is_dispatcher(to)) => Self::Dispatcher,
            "presence" => Self::of_presence(stanza.attr("type"), to, config),
            "iq" => Self::of_iq(to, sender, config),
            _ => Self::Nobody,
        }
    }

    fn of_presence(kind: Option<&str>, to: Option<&str>, config: &ServerConfig) -> Self {
        match (kind, to.map(|to| config.is_dispatcher(to))) {
            (None | Some("unavailable"), None) => Self::Dispatcher,
            (Some("subscribe" | "probe"), Some(true)) => Self::Server,
            // Nobody else is here whom presence could be told, and the roster never changes.
            _ => Self::Nobody,
        }
    }

    fn of_iq(to: Option<&str>, sender: &str, config: &ServerConfig) -> Self {
        let ours = to.is_none_or(|to| is_own(to, sender) || config.serves(to) || config.is_dispatcher(to));
        if ours { Self::Server } else { Self::Nobody }
    }
}

/// Whether `to` is the sender's own account, with or without resource.
pub(super) fn is_own(to: &str, sender: &str) -> bool {
    bare(to).eq_ignore_ascii_case(bare(sender))
}

#[cfg(test)]
mod tests {
    use minidom::Element;

    use super::Destination::{Dispatcher, Nobody, Server};
    use super::*;

    #[test]
    fn stanzas_go_to_dispatcher_or_server_and_never_to_another_client() {
        let config = ServerConfig::new("sat.test", [0; 32]);
        let table = [
            ("<message to='rhn-dispatcher-sat@sat.test/superclient'/>", Dispatcher),
            ("<message to='RHN-dispatcher-sat@sat.test'/>", Dispatcher),
            ("<message/>", Nobody),
            ("<message to='osad-b@sat.test/osad'/>", Nobody),
            ("<message to='osad-b@sat.test'/>", Nobody),
            ("<message to='osad-a@sat.test/osad'/>", Nobody),
            ("<message to='sat.test'/>", Nobody),
            ("<message to='osad-b@sat.test/rhn-dispatcher-sat@sat.test'/>", Nobody),
            ("<presence/>", Dispatcher),
            ("<presence type='unavailable'/>", Dispatcher),
            ("<presence to='osad-b@sat.test/osad'/>", Nobody),
            ("<presence to='osad-b@sat.test' type='subscribe'/>", Nobody),
            ("<presence to='osad-b@sat.test' type='unavailable'/>", Nobody),
            ("<presence to='rhn-dispatcher-sat@sat.test' type='subscribe'/>", Server),
            ("<presence to='rhn-dispatcher-sat@sat.test' type='probe'/>", Server),
            ("<presence type='error'/>", Nobody),
            ("<iq type='get'/>", Server),
            ("<iq type='get' to='sat.test'/>", Server),
            ("<iq type='get' to='osad-a@sat.test'/>", Server),
            ("<iq type='set' to='rhn-dispatcher-sat@sat.test'/>", Server),
            ("<iq type='get' to='osad-b@sat.test/osad'/>", Nobody),
            ("<iq type='result' to='osad-b@sat.test/osad'/>", Nobody),
            ("<unknown to='rhn-dispatcher-sat@sat.test'/>", Nobody),
        ];
        for (text, destination) in table {
            let stanza: Element = text
                .replacen("/>", " xmlns='jabber:client'/>", 1)
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                Destination::of(&stanza, "osad-a@sat.test/osad", &config),
                destination,
                "{text}"
            );
        }
    }
}
