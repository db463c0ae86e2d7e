//! XML namespaces, one constant each.

/// Stanzas between client and server (RFC 6120, section 4.8.2).
pub const CLIENT: &str = "jabber:client";
/// Stanzas between a component and its server (XEP-0114, section 3).
pub const COMPONENT: &str = "jabber:component:accept";
/// The stream element, features and stream errors (RFC 6120, section 4.8.1).
pub const STREAM: &str = "http://etherx.jabber.org/streams";
/// Stream error conditions (RFC 6120, section 4.9.2).
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Stanza error conditions (RFC 6120, section 8.3.2).
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// STARTTLS negotiation (RFC 6120, section 5).
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL negotiation (RFC 6120, section 6).
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Channel binding types a server supports (XEP-0440).
pub const SASL_CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
/// Resource binding (RFC 6120, section 7).
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Roster (RFC 6121, section 2).
pub const ROSTER: &str = "jabber:iq:roster";
/// Ping (XEP-0199).
pub const PING: &str = "urn:xmpp:ping";
/// In-band registration (XEP-0077).
pub const REGISTER: &str = "jabber:iq:register";
/// The stream feature that advertises in-band registration (XEP-0077, section 8).
pub const REGISTER_FEATURE: &str = "http://jabber.org/features/iq-register";
/// Login without SASL (XEP-0078), which is all that existing agents know.
pub const IQ_AUTH: &str = "jabber:iq:auth";
/// The stream feature that advertises login without SASL (XEP-0078, section 6).
pub const IQ_AUTH_FEATURE: &str = "http://jabber.org/features/iq-auth";
/// The signed `<x/>` of existing peers (compatibility contract, section 1.11).
pub const SIGNED: &str = "http://jabber.rhn.redhat.com/jabber/signed";
/// Our own payloads between new peers (`docs/protocol.md`).
pub const PUSH: &str = "urn:osa:push:1";
/// The `xml:` prefix.
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
