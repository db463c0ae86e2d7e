//! Real `osad` processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::SwarmError;
use super::owner::{Owner, System};
use super::process::Process;
use super::site::{HOSTNAME, Site, beside_us};
use super::stamp;

/// The `osad` processes of a site.
#[derive(Default)]
pub(super) struct Osads {
    systems: Vec<System>,
    processes: Vec<Process>,
}

impl Osads {
    /// Adds a system for each, and starts it. Its check sends a stamp to `stamps`.
    pub(super) async fn start(
        site: &Site,
        owner: &Owner,
        program: Option<&PathBuf>,
        count: usize,
        stamps: &Path,
    ) -> Result<Self, SwarmError> {
        let program = program.cloned().unwrap_or_else(|| beside_us("osad"));
        let mut osads = Self::default();
        for number in 0..count {
            let name = format!("osad-{number}");
            let added = owner.add_system(&name).await?;
            let directory = site.directory().join(&name);
            prepare(&directory, site, &added, stamps)?;
            let mut command = Command::new(&program);
            command
                .args(["run", "--nodetach"])
                .arg("--config")
                .arg(directory.join("osad.toml"));
            let process = Process::start("osad", &mut command, &directory.join("osad.log"))?;
            osads.processes.push(process);
            osads.systems.push(added);
        }
        Ok(osads)
    }

    /// Their systems.
    pub(super) fn systems(&self) -> &[System] {
        &self.systems
    }

    /// Says so if one has ended.
    pub(super) fn check(&mut self) -> Result<(), SwarmError> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    /// The largest of them. Units: bytes.
    pub(super) fn resident_max(&self) -> u64 {
        let resident = self.processes.iter().map(|process| process.usage().resident);
        resident.max().unwrap_or(0)
    }
}

impl Drop for Osads {
    fn drop(&mut self) {
        self.processes.iter_mut().for_each(Process::terminate);
    }
}

fn prepare(directory: &Path, site: &Site, added: &System, stamps: &Path) -> Result<(), SwarmError> {
    fs::create_dir_all(directory).map_err(SwarmError::file("make", directory))?;
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).map_err(SwarmError::file("write", path))
    };
    write("systemid", added.systemid.expose())?;
    write("machine-id", &format!("{:032x}\n", added.id))?;
    write("osad.toml", &configuration(directory, site, &added.name, stamps))
}

fn configuration(directory: &Path, site: &Site, name: &str, stamps: &Path) -> String {
    let (own, base, authority) = (beside_us("osa-swarm"), directory.display(), site.authority());
    format!(
        "server_url = [\"https://{HOSTNAME}:{registration}/XMLRPC\"]\n\
         jabber_server = \"{HOSTNAME}:{xmpp}\"\n\
         systemid = \"{base}/systemid\"\n\
         auth_file = \"{base}/osad-auth.conf\"\n\
         state_dir = \"{base}/state\"\n\
         machine_id_path = \"{base}/machine-id\"\n\
         run_beside_dispatcher = true\n\
         [check]\ncommand = \"{own} {stamp} {stamps} {name}\"\n\
         [tls]\nca = \"{authority}\"\n\
         [log]\nlevel = \"warn\"\n",
        registration = site.registration_port(),
        xmpp = site.xmpp_port(),
        own = own.display(),
        stamp = stamp::SUBCOMMAND,
        stamps = stamps.display(),
        authority = authority.display(),
    )
}
