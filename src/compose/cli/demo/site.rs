//! The throw-away directory, and what runs in it.

use std::fs::{self, DirBuilder, Permissions};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;

use futures_util::future::{Either, select};

use super::DemoError;
use super::process::{DemoProcess, write_file};
use crate::compose::cli::arguments::DemoArgs;
use crate::compose::cli::ask::ask_running;
use crate::compose::cli::error::CliError;
use crate::compose::cli::{bundle, init};
use crate::compose::control::answers::Answer;
use crate::compose::control::requests::Request;
use crate::compose::process::readiness::Readiness;
use crate::host::clock::OsEntropy;
use crate::ports::clock::Entropy;
use crate::ports::file_error::FileError;
use crate::settings::dispatcher::{DispatcherFlags, DispatcherSettings};

/// The server's name.
const HOSTNAME: &str = "localhost";
/// The directory holds identities of systems, if only for a minute.
const DIRECTORY_MODE: u32 = 0o700;
/// What stands for `rhn_check`: it takes a moment, and writes down that it ran.
const CHECK: &str = "#!/bin/sh\necho started >>\"$1\"\nsleep 0.2\necho finished >>\"$1\"\n";

/// A demo's files and processes. All of it goes when this is dropped.
pub struct DemoSite {
    directory: PathBuf,
    config: PathBuf,
    settings: DispatcherSettings,
    osad: PathBuf,
    dispatcher: Option<DemoProcess>,
    agents: Vec<DemoProcess>,
    /// What each agent's checks wrote down.
    runs: Vec<PathBuf>,
}

impl DemoSite {
    /// Makes the directory with configuration, authority, certificate and database.
    ///
    /// # Errors
    /// [`CliError`].
    pub fn make(args: &DemoArgs) -> Result<Self, CliError> {
        let osad = match &args.osad {
            Some(osad) => osad.clone(),
            None => own_program()?.with_file_name("osad"),
        };
        if !osad.is_file() {
            return Err(DemoError::NoAgent(osad).into());
        }
        let address = localhost().ok_or(DemoError::NoLocalhost)?;
        let directory = make_directory()?;
        let config = directory.join("osa-dispatcher.toml");
        write_file(&config, &configuration(&directory, address)).inspect_err(|_| remove(&directory))?;
        let flags = DispatcherFlags {
            config: Some(config.clone()),
            ..DispatcherFlags::default()
        };
        // The environment is this process's, and may be about another dispatcher.
        let settings = DispatcherSettings::load(&flags, [])
            .inspect_err(|_| remove(&directory))?
            .settings;
        let site = Self {
            directory,
            config,
            settings,
            osad,
            dispatcher: None,
            agents: Vec::new(),
            runs: Vec::new(),
        };
        init::make(&site.settings)?;
        Ok(site)
    }

    /// Starts the dispatcher; returns when it is ready.
    ///
    /// # Errors
    /// [`DemoError`], with its last words if it ended.
    pub async fn start_dispatcher(&mut self) -> Result<(), CliError> {
        let readiness = Readiness::bind(&self.directory)?;
        let program = own_program()?;
        let log = self.directory.join("osa-dispatcher.log");
        let mut process = DemoProcess::start("osa-dispatcher", &program, &log, |command| {
            command.args(["serve", "--nodetach", "--config"]).arg(&self.config);
            command.env("NOTIFY_SOCKET", readiness.path());
        })?;
        let ended = match select(pin!(readiness.wait()), pin!(process.ends())).await {
            Either::Left(_) => None,
            Either::Right((error, _)) => Some(error),
        };
        self.dispatcher = Some(process);
        ended.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Adds systems, and starts an agent with the bundle of each.
    ///
    /// # Errors
    /// [`CliError`].
    pub async fn start_agents(&mut self, count: u16) -> Result<(), CliError> {
        let check = self.directory.join("check");
        write_file(&check, CHECK)?;
        fs::set_permissions(&check, Permissions::from_mode(0o700))
            .map_err(FileError::new("make executable", &check))?;
        let authority = &self.settings.tls.ca;
        let authority = fs::read_to_string(authority).map_err(FileError::new("read CA file", authority))?;
        for number in 1..=count {
            let name = format!("client-{number}");
            let request = Request::AddSystem { name: name.clone() };
            let Answer::SystemAdded(added) = self.ask(request).await? else {
                return Err(CliError::OtherAnswer);
            };
            let home = self.directory.join(&name);
            bundle::write(&home, &added, &authority)?;
            self.start_agent(&name, &home, &check)?;
        }
        Ok(())
    }

    fn start_agent(&mut self, name: &str, home: &Path, check: &Path) -> Result<(), CliError> {
        let runs = home.join("runs");
        write_file(&home.join("machine-id"), &format!("{name}\n"))?;
        let path = |file: &str| home.join(file);
        let process = DemoProcess::start(name, &self.osad, &path("osad.log"), |command| {
            command
                .args(["run", "--nodetach", "--config"])
                .arg(path(bundle::CONFIG));
            command
                .env("OSA_SYSTEMID", path(bundle::SYSTEMID))
                .env("OSA_TLS_CA", path(bundle::CA_FILE))
                .env("OSA_AUTH_FILE", path("osad-auth.conf"))
                .env("OSA_STATE_DIR", path("state"))
                .env("OSA_MACHINE_ID_PATH", path("machine-id"))
                .env("OSA_RUN_BESIDE_DISPATCHER", "true")
                .env("OSA_CHECK_COMMAND", format!("{} {}", check.display(), runs.display()));
        })?;
        self.agents.push(process);
        self.runs.push(runs);
        Ok(())
    }

    /// Whether every agent has done the check of its start, which an action would otherwise wait for.
    pub fn first_checks_are_over(&self) -> bool {
        let is_over = |runs: &PathBuf| fs::read_to_string(runs).is_ok_and(|text| text.contains("finished"));
        self.runs.iter().all(is_over)
    }

    /// Asks the dispatcher.
    ///
    /// # Errors
    /// [`CliError`].
    pub async fn ask(&self, request: Request) -> Result<Answer, CliError> {
        ask_running(&self.settings, request).await
    }

    /// Whether all processes are still there.
    ///
    /// # Errors
    /// [`DemoError::Ended`].
    pub fn check_processes(&mut self) -> Result<(), DemoError> {
        self.dispatcher
            .iter_mut()
            .chain(&mut self.agents)
            .try_for_each(DemoProcess::check)
    }

    /// What can be tried from a second terminal.
    pub fn invitation(&self) -> String {
        let program = own_program().unwrap_or_else(|_| PathBuf::from("osa-dispatcher"));
        let (program, config) = (program.display(), self.config.display());
        format!(
            "\nstill running; in a second terminal, try:\n\n  \
               {program} schedule --all --config {config}\n  \
               {program} actions --config {config}\n  \
               {program} explain client-1 --config {config}\n  \
               {program} status --config {config}\n\n\
             logs and state are in {directory}; Ctrl-C ends everything and removes it\n\n",
            directory = self.directory.display(),
        )
    }

    /// Ends all processes: agents first, so that they say goodbye to somebody.
    pub async fn end(mut self) {
        let agents = std::mem::take(&mut self.agents);
        agents.iter().for_each(DemoProcess::terminate);
        for agent in agents {
            agent.finish().await;
        }
        if let Some(dispatcher) = self.dispatcher.take() {
            dispatcher.terminate();
            dispatcher.finish().await;
        }
    }
}

impl Drop for DemoSite {
    fn drop(&mut self) {
        remove(&self.directory);
    }
}

/// Nobody misses it; what cannot be removed is the system's to clean up.
fn remove(directory: &Path) {
    fs::remove_dir_all(directory).ok();
}

fn own_program() -> Result<PathBuf, DemoError> {
    std::env::current_exe().map_err(|source| DemoError::Spawn {
        program: PathBuf::from("osa-dispatcher"),
        source,
    })
}

/// The address that agents try first.
fn localhost() -> Option<IpAddr> {
    let mut addresses = (HOSTNAME, 0).to_socket_addrs().ok()?;
    addresses.next().map(|address| address.ip())
}

fn make_directory() -> Result<PathBuf, FileError> {
    let mut random = [0; 6];
    OsEntropy.fill(&mut random);
    let suffix: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let directory = std::env::temp_dir().join(format!("osa-demo-{suffix}"));
    let made = DirBuilder::new().mode(DIRECTORY_MODE).create(&directory);
    made.map_err(FileError::new("make directory", &directory))?;
    Ok(directory)
}

/// Free ports: the dispatcher says which it got.
fn configuration(directory: &Path, address: IpAddr) -> String {
    let listen = std::net::SocketAddr::new(address, 0);
    let data = directory.join("data");
    format!(
        "hostname = {HOSTNAME:?}\ndata_dir = {data:?}\n\n[xmpp]\nlisten = [\"{listen}\"]\n\n[registration]\nlisten = [\"{listen}\"]\n"
    )
}
