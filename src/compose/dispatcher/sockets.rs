//! Opens what the settings say to listen on.

use std::io;
use std::sync::Arc;

use super::ServeError;
use super::port_holder::holder;
use crate::net::listener::{ListenError, listen_everywhere, listen_on};
use crate::net::tls::ServerTls;
use crate::ports::transport::Listener;
use crate::settings::names::ListenAddresses;

/// Opens all sockets of a list.
///
/// # Errors
/// [`ServeError::Listen`], naming who listens there already.
pub fn listen(addresses: &ListenAddresses, tls: &Arc<ServerTls>) -> Result<Vec<Arc<dyn Listener>>, ServeError> {
    let mut listeners = Vec::new();
    for socket in addresses.sockets() {
        let takes_both = socket.address.is_ipv6() && socket.address.ip().is_unspecified() && !socket.v6_only;
        if takes_both {
            listeners.extend(listen_everywhere(socket.address.port(), tls).map_err(taken)?);
        } else {
            listeners.push(listen_on(socket.address, tls).map_err(taken)?);
        }
    }
    Ok(listeners)
}

fn taken(error: ListenError) -> ServeError {
    let is_taken = error.error.kind() == io::ErrorKind::AddrInUse;
    let holder = if is_taken { holder(error.address) } else { None };
    ServeError::Listen { error, holder }
}
