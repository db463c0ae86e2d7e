//! What may have changed in the database since it was last asked.

use crate::domain::ids::SystemId;

/// Hints, not the truth: to be looked at, and cheap if there is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Systems whose actions, name, key or JID may have changed, or that are gone.
    pub systems: Vec<SystemId>,
    /// Connected systems whose name, key or JID was changed by somebody else: their lease and pause are void.
    pub renewed: Vec<SystemId>,
    /// Connected systems that an administrator wants pinged, in the Satellite's web interface or by its API.
    pub pinged: Vec<SystemId>,
}
