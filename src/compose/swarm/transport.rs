//! How the dispatcher of a site reaches the agents: by itself, or over the site's own server.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use tokio::net::TcpStream;

use super::control::Control;
use super::error::SwarmError;
use super::jabberd::Jabberd;
use super::site::{Site, free_port};
use crate::compose::control::answers::UpstreamStatus;

/// How the dispatcher reaches the agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// They connect to it.
    Embedded,
    /// They connect to the site's jabberd2, and so does it.
    Jabberd,
}

impl Transport {
    /// What the names of its numbers begin with.
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::Embedded => "",
            Self::Jabberd => "jabberd2_",
        }
    }
}

/// Writes the dispatcher's configuration.
pub(super) fn configure(
    directory: &Path,
    transport: Transport,
    xmpp: SocketAddr,
    text: &str,
) -> Result<(), SwarmError> {
    let text = match transport {
        Transport::Embedded => format!("{text}[xmpp]\nlisten = [\"{xmpp}\"]\n"),
        Transport::Jabberd => {
            let authority = directory.join("data/tls/ca.crt");
            format!("transport = \"client\"\n{text}[upstream]\nserver = [\"{xmpp}\"]\nca = {authority:?}\n")
        }
    };
    let file = directory.join("osa-dispatcher.toml");
    fs::write(&file, text).map_err(SwarmError::file("write", &file))
}

impl Site {
    /// Gives the site a jabberd2 that does not run yet, and knows these accounts.
    pub(super) fn add_jabberd(&mut self, usernames: &[String]) -> Result<(), SwarmError> {
        let (directory, tls) = (self.directory.join("jabberd"), self.directory.join("data/tls"));
        let jabberd = Jabberd::prepare(directory, self.xmpp, free_port()?, &tls)?;
        jabberd.add_accounts(usernames, &self.password)?;
        self.jabberd = Some(jabberd);
        Ok(())
    }

    /// Its server, while it is in use.
    pub(super) fn jabberd_in_use(&self) -> Option<&Jabberd> {
        self.jabberd.as_ref().filter(|_| self.transport == Transport::Jabberd)
    }

    /// Has the dispatcher reach the agents this way from now on, which begins with a restart; whether it did otherwise.
    /// The agents come by themselves.
    pub(super) async fn change_to(&mut self, transport: Transport) -> Result<bool, SwarmError> {
        if self.transport == transport {
            return Ok(false);
        }
        self.dispatcher.terminate();
        if let Some(jabberd) = &mut self.jabberd {
            match transport {
                Transport::Embedded => jabberd.stop(),
                Transport::Jabberd => jabberd.launch().await?,
            }
        }
        self.transport = transport;
        configure(&self.directory, transport, self.xmpp, &self.configuration)?;
        self.start().await?;
        Ok(true)
    }

    /// Starts jabberd2 and the dispatcher again, after all these were made its contacts.
    pub(super) async fn restart_with_contacts(&mut self, usernames: &[String]) -> Result<(), SwarmError> {
        self.dispatcher.terminate();
        if let Some(jabberd) = &mut self.jabberd {
            jabberd.stop();
            jabberd.subscribe_all(usernames)?;
            jabberd.launch().await?;
        }
        self.start().await
    }

    /// Whether agents can reach the dispatcher, or it is where they are.
    pub(super) async fn is_reachable(&self) -> bool {
        match self.transport {
            Transport::Embedded => TcpStream::connect(self.xmpp).await.is_ok(),
            Transport::Jabberd => self.upstream().await.is_ok_and(|upstream| upstream.jid.is_some()),
        }
    }

    /// How its login to the site's server is.
    pub(super) async fn upstream(&self) -> Result<UpstreamStatus, SwarmError> {
        let status = Control(self.control_socket()).status().await?;
        let upstream = status.running.and_then(|running| running.upstream);
        upstream.ok_or_else(|| SwarmError::Rejected("no login to another server".to_owned()))
    }
}
