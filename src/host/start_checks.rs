//! What an agent refuses to start with.

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

/// A dispatcher is enabled on this machine.
///
/// It would wake its own host through itself, and an update of the one would end the other in the middle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "osa-dispatcher is enabled on this machine ({marker} exists), and a server does not wake itself: disable one of the \
     two, or set run_beside_dispatcher = true",
    marker = .marker.display()
)]
pub struct DispatcherHere {
    /// The file that says so.
    pub marker: PathBuf,
}

/// Refuses to run beside a dispatcher, unless the operator insists.
///
/// # Errors
/// [`DispatcherHere`] if the marker exists, be it as a dangling link: an enabled unit is one.
pub fn refuse_beside_dispatcher(marker: &Path, insists: bool) -> Result<(), DispatcherHere> {
    if !insists && fs::symlink_metadata(marker).is_ok() {
        return Err(DispatcherHere {
            marker: marker.to_owned(),
        });
    }
    Ok(())
}

/// A server's name has no address. May heal, as name servers come and go.
#[derive(Debug, thiserror::Error)]
#[error("{key}: cannot resolve {name}: {source}; correct the name, or this machine's name servers")]
pub struct UnresolvableName {
    /// The setting that names the server.
    pub key: &'static str,
    /// The name.
    pub name: String,
    /// The resolver's words.
    pub source: io::Error,
}

/// Finds the addresses of a server, asking the system's resolver and waiting for it.
///
/// # Errors
/// [`UnresolvableName`].
pub fn resolve(key: &'static str, name: &str, port: u16) -> Result<Vec<SocketAddr>, UnresolvableName> {
    let failed = |source| UnresolvableName {
        key,
        name: name.to_owned(),
        source,
    };
    let addresses: Vec<SocketAddr> = (name, port).to_socket_addrs().map_err(failed)?.collect();
    if addresses.is_empty() {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn enabled_dispatcher_is_refused_unless_insisted() {
        let dir = tempfile::tempdir().unwrap();
        let marker = dir.path().join("osa-dispatcher.service");
        assert_eq!(refuse_beside_dispatcher(&marker, false), Ok(()));

        symlink("/nowhere/osa-dispatcher.service", &marker).unwrap();

        assert_eq!(
            refuse_beside_dispatcher(&marker, false),
            Err(DispatcherHere { marker: marker.clone() })
        );
        assert_eq!(refuse_beside_dispatcher(&marker, true), Ok(()));
    }

    #[test]
    fn name_without_address_is_refused_naming_key_and_name() {
        let error = resolve("server_url", "no-such-host.invalid", 443)
            .unwrap_err()
            .to_string();

        assert!(
            error.starts_with("server_url: cannot resolve no-such-host.invalid: "),
            "{error}"
        );
    }
}
