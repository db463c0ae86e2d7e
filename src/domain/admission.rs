//! Who may connect; pure.
//!
//! What costs a server most are connections that have not logged in, so those are limited, also per address. A whole
//! site may stand behind one address (a proxy, a translated network): the limit per address has room for it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// In total.
    pub connections: usize,
    /// Not yet logged in, in total; when there are so many, the listener waits.
    pub logging_in: usize,
    /// Not yet logged in, from one address (IPv6: from one /64).
    pub logging_in_per_address: usize,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            logging_in: 4_096,
            logging_in_per_address: 2_048,
        }
    }
}

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// There are too many in total.
    #[error("too many connections")]
    TooMany,
    /// There are too many from this address that have not logged in.
    #[error("too many connections from this address have not logged in")]
    TooManyFromAddress,
}

/// Whoever is counted together: an IPv4 address, or the /64 that an IPv6 host chooses its addresses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => {
                let network = address.to_bits() & (u128::MAX << 64);
                Self(Ipv6Addr::from_bits(network).into())
            }
        }
    }
}

/// Counts connections.
#[derive(Clone, Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    connections: usize,
    logging_in: usize,
    by_origin: HashMap<Origin, usize>,
}

impl Admission {
    /// Counts from zero.
    pub fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits,
            connections: 0,
            logging_in: 0,
            by_origin: HashMap::new(),
        }
    }

    /// Replaces the limits; connections that are over them stay.
    pub fn set_limits(&mut self, limits: AdmissionLimits) {
        self.limits = limits;
    }

    /// Whether the listener should wait before it accepts another one.
    pub fn is_full(&self) -> bool {
        self.logging_in >= self.limits.logging_in
    }

    /// Counts a new connection that has not logged in.
    ///
    /// # Errors
    /// [`Refusal`]; it is not counted then.
    pub fn admit(&mut self, origin: Origin) -> Result<(), Refusal> {
        if self.connections >= self.limits.connections {
            return Err(Refusal::TooMany);
        }
        let from_origin = self.by_origin.get(&origin).copied().unwrap_or(0);
        if from_origin >= self.limits.logging_in_per_address {
            return Err(Refusal::TooManyFromAddress);
        }
        self.by_origin.insert(origin, from_origin + 1);
        self.connections += 1;
        self.logging_in += 1;
        Ok(())
    }

    /// An admitted connection has logged in.
    pub fn logged_in(&mut self, origin: Origin) {
        self.logging_in = self.logging_in.saturating_sub(1);
        if let Some(count) = self.by_origin.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.by_origin.remove(&origin);
            }
        }
    }

    /// An admitted connection is gone.
    pub fn left(&mut self, origin: Origin, had_logged_in: bool) {
        if !had_logged_in {
            self.logged_in(origin);
        }
        self.connections = self.connections.saturating_sub(1);
    }

    /// How many connections there are, and how many of them have not logged in.
    pub fn counts(&self) -> (usize, usize) {
        (self.connections, self.logging_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AdmissionLimits = AdmissionLimits {
        connections: 4,
        logging_in: 3,
        logging_in_per_address: 2,
    };

    fn origin(text: &str) -> Origin {
        Origin::from(text.parse::<IpAddr>().expect("an address"))
    }

    #[test]
    fn strangers_of_one_address_are_limited_and_others_are_not_hurt() {
        let mut admission = Admission::new(LIMITS);
        let (one, other) = (origin("192.0.2.1"), origin("192.0.2.2"));
        admission.admit(one).expect("first");
        admission.admit(one).expect("second");

        assert_eq!(admission.admit(one), Err(Refusal::TooManyFromAddress));
        assert_eq!(admission.admit(other), Ok(()));
    }

    #[test]
    fn whole_site_behind_one_address_gets_in_by_logging_in() {
        let mut admission = Admission::new(LIMITS);
        let site = origin("192.0.2.1");

        for _ in 0..4 {
            admission.admit(site).expect("room, since the ones before logged in");
            admission.logged_in(site);
        }

        assert_eq!(admission.admit(site), Err(Refusal::TooMany));
    }

    #[test]
    fn listener_waits_while_too_many_are_logging_in() {
        let mut admission = Admission::new(LIMITS);
        for host in 1..=3 {
            assert!(!admission.is_full());
            admission.admit(origin(&format!("192.0.2.{host}"))).expect("room");
        }
        assert!(admission.is_full());

        admission.left(origin("192.0.2.1"), false);

        assert!(!admission.is_full());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:1"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
    }

    #[test]
    fn nothing_is_kept_of_addresses_that_left() {
        let mut admission = Admission::new(LIMITS);
        let (guest, member) = (origin("192.0.2.1"), origin("192.0.2.2"));
        admission.admit(guest).expect("room");
        admission.admit(member).expect("room");
        admission.logged_in(member);

        admission.left(guest, false);
        admission.left(member, true);

        assert_eq!(admission.counts(), (0, 0));
        assert!(admission.by_origin.is_empty());
    }
}
