//! A PostgreSQL server of one measurement's own.
//!
//! PostgreSQL refuses to run as root; then it runs as `postgres`. It listens on a Unix socket only, flushes as it does by
//! default, and carries `auto_explain`, which is silent until it is asked.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use tokio_postgres::{Client, Config, NoTls};

use super::super::error::SwarmError;

/// The role that owns everything.
pub(in super::super) const OWNER: &str = "osa_owner";
/// The Satellite's database.
pub(in super::super) const DATABASE: &str = "satellite";
/// Where Debian has the programs, below a directory for each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// How long the server may take to start.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// What the server is told beyond its defaults, those of `shared_buffers` aside.
const SETTINGS: [&str; 10] = [
    "listen_addresses=",
    "max_connections=60",
    "max_wal_size=1GB",
    "maintenance_work_mem=256MB",
    "session_preload_libraries=auto_explain",
    "logging_collector=on",
    "log_destination=jsonlog",
    "log_directory=log",
    "log_filename=server",
    "log_rotation_size=0",
];

/// A server; stopped when dropped.
pub(in super::super) struct Cluster {
    directory: PathBuf,
    shared_buffers: String,
    process: Option<Child>,
}

impl Cluster {
    /// Makes one below `directory`; `template`, if it is there, is a data directory to begin with.
    pub(super) async fn start(
        directory: PathBuf,
        template: Option<&Path>,
        shared_buffers: &str,
    ) -> Result<Self, SwarmError> {
        fs::create_dir_all(&directory).map_err(SwarmError::file("make", &directory))?;
        if let Some((uid, gid)) = account()? {
            chown(&directory, Some(uid), Some(gid)).map_err(SwarmError::file("give away", &directory))?;
        }
        let mut cluster = Self {
            directory,
            shared_buffers: shared_buffers.to_owned(),
            process: None,
        };
        match template {
            Some(template) => copy(template, &cluster.data())?,
            None => run(program("initdb")?
                .args(["-U", OWNER, "-A", "trust", "-N", "--locale=C", "--encoding=UTF8", "-D"])
                .arg(cluster.data()))?,
        }
        cluster.launch().await?;
        if template.is_none() {
            let created = cluster.connect("postgres").await?;
            created.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await?;
        }
        Ok(cluster)
    }

    /// Leaves a copy of it, and goes on.
    pub(super) async fn keep_copy(&mut self, template: &Path) -> Result<(), SwarmError> {
        self.stop();
        copy(&self.data(), template)?;
        self.launch().await
    }

    /// Where its socket is.
    pub(in super::super) fn socket(&self) -> &Path {
        &self.directory
    }

    /// Where it tells what `auto_explain` has to say.
    pub(super) fn log(&self) -> PathBuf {
        self.data().join("log/server.json")
    }

    /// The first of its processes.
    pub(super) fn id(&self) -> u32 {
        self.process.as_ref().map_or(0, Child::id)
    }

    /// A connection of the owner's under the name `satellite`; it lives as long as the client.
    pub(super) async fn connect(&self, database: &str) -> Result<Client, SwarmError> {
        let mut config = Config::new();
        config
            .host_path(&self.directory)
            .dbname(database)
            .user(OWNER)
            .application_name("satellite");
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(async move {
            // Whoever uses the client is told.
            let _ = connection.await;
        });
        Ok(client)
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    async fn launch(&mut self) -> Result<(), SwarmError> {
        let log = self.directory.join("output");
        let output = File::options().create(true).append(true).open(&log);
        let mut command = program("postgres")?;
        command.arg("-D").arg(self.data()).arg("-k").arg(&self.directory);
        let shared_buffers = format!("shared_buffers={}", self.shared_buffers);
        for setting in SETTINGS.into_iter().chain([shared_buffers.as_str()]) {
            command.args(["-c", setting]);
        }
        command.stderr(output.map_err(SwarmError::file("open", &log))?);
        self.process = Some(command.spawn().map_err(SwarmError::file("start", "postgres"))?);
        let began = Instant::now();
        while let Err(error) = self.connect("postgres").await {
            if began.elapsed() > START_PATIENCE {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let id = i32::try_from(process.id()).unwrap_or(0);
        // Connections or not.
        if id > 0 && kill(Pid::from_raw(id), Signal::SIGINT).is_ok() {
            // However it ended, it has.
            let _ = process.wait();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// User and group to run as, if this process is root.
fn account() -> Result<Option<(u32, u32)>, SwarmError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres").ok().flatten();
    let user = user.ok_or(SwarmError::NoPostgres("the account postgres"))?;
    Ok(Some((user.uid.as_raw(), user.gid.as_raw())))
}

/// A program of the newest version that is installed.
fn program(name: &str) -> Result<Command, SwarmError> {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let newest = newest.max().ok_or(SwarmError::NoPostgres(VERSIONS))?;
    let mut command = Command::new(format!("{VERSIONS}/{newest}/bin/{name}"));
    if let Some((uid, gid)) = account()? {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command)
}

fn copy(from: &Path, to: &Path) -> Result<(), SwarmError> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(SwarmError::file("make", parent))?;
    }
    run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to))?;
    // What is to be measured would otherwise wait for this to be written.
    nix::unistd::sync();
    Ok(())
}

fn run(command: &mut Command) -> Result<(), SwarmError> {
    let program = PathBuf::from(command.get_program());
    let ended = command.output().map_err(SwarmError::file("start", &program))?;
    match ended.status.success() {
        true => Ok(()),
        false => Err(SwarmError::Failed(
            program,
            String::from_utf8_lossy(&ended.stderr).trim().to_owned(),
        )),
    }
}
