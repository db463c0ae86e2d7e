//! What a signed `<x/>` asks or answers. Compatibility contract, section 1.11.

/// The value of `action` on an agent's request to see a dispatcher's presence. Nobody ever verified it.
pub const SUBSCRIBE: &str = "http://jabber.rhn.redhat.com/jabber/presence/subscribe";

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Run the check command.
    CheckIn,
    /// Say that you are alive.
    Ping,
}

impl Action {
    /// The value of `action` in a request.
    pub const fn request(self) -> &'static str {
        match self {
            Self::CheckIn => "http://jabber.rhn.redhat.com/jabber/message/request/checkin",
            Self::Ping => "http://jabber.rhn.redhat.com/jabber/message/request/ping",
        }
    }

    /// The value of `action` in the answer to it.
    pub const fn response(self) -> &'static str {
        match self {
            Self::CheckIn => "http://jabber.rhn.redhat.com/jabber/message/response/checkin",
            Self::Ping => "http://jabber.rhn.redhat.com/jabber/message/response/ping",
        }
    }

    /// The request with this value of `action`.
    pub fn from_request(value: &str) -> Option<Self> {
        [Self::CheckIn, Self::Ping]
            .into_iter()
            .find(|action| action.request() == value)
    }

    /// The answer with this value of `action`.
    pub fn from_response(value: &str) -> Option<Self> {
        [Self::CheckIn, Self::Ping]
            .into_iter()
            .find(|action| action.response() == value)
    }
}
