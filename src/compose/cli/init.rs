//! `init`: makes what is missing, and leaves what is there as it is.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, chown, geteuid, gethostname};

use super::arguments::InitArgs;
use super::error::CliError;
use super::{Done, output};
use crate::compose::dispatcher::{all_server_files, authority_files};
use crate::host::clock::SystemClock;
use crate::net::ca::{self, Ensured};
use crate::ports::clock::Clock;
use crate::ports::file_error::FileError;
use crate::settings::dispatcher::{CONFIG_FILE, DispatcherFlags, DispatcherSettings};
use crate::settings::legacy::places::Places;
use crate::settings::names::DomainName;
use crate::store::sqlite::{SqliteOptions, SqliteStore};

/// The configuration file that is made; every key stands in it at its default.
const TEMPLATE: &str = include_str!("../../../config/osa-dispatcher.toml");
/// The data directory holds secrets.
const DIRECTORY_MODE: u32 = 0o700;
/// The configuration holds none.
const CONFIG_MODE: u32 = 0o644;

pub fn init(args: &InitArgs) -> Done {
    let flags = args.config.flags();
    refuse_satellite(&flags)?;
    let file = flags.config.clone().unwrap_or_else(|| PathBuf::from(CONFIG_FILE));
    let is_new = ensure_config(&file, &flags)?;
    let mut said = vec![words(is_new, "configuration", &file)];
    if !is_new {
        refuse_other_hostname(&file, &flags)?;
    }
    let flags = DispatcherFlags {
        config: Some(file),
        ..flags
    };
    let settings = DispatcherSettings::load(&flags, std::env::vars())?.settings;
    let made = make(&settings)?;
    said.extend(made.iter().map(|made| words(made.is_new, made.what, &made.path)));
    said.push(
        "next: `osa-dispatcher serve`, or `systemctl enable --now osa-dispatcher`; then `osa-dispatcher systems add NAME`"
            .to_owned(),
    );
    output::line(said.join("\n"))?;
    Ok(0)
}

/// Without a configuration of its own, the dispatcher would serve the Satellite and never look at what is made here.
fn refuse_satellite(flags: &DispatcherFlags) -> Result<(), CliError> {
    let environment: Vec<_> = std::env::vars().collect();
    match Places::new(flags, &environment).files()?.read()?.rhn_conf {
        Some(path) => Err(CliError::OnSatellite(path)),
        None => Ok(()),
    }
}

/// A certificate for another name than the configuration's would keep the dispatcher from starting.
fn refuse_other_hostname(file: &Path, flags: &DispatcherFlags) -> Result<(), CliError> {
    let Some(given) = &flags.hostname else { return Ok(()) };
    let own = DispatcherFlags {
        config: Some(file.to_owned()),
        ..DispatcherFlags::default()
    };
    let configured = DispatcherSettings::load(&own, std::env::vars())?
        .settings
        .hostname
        .to_string();
    if configured.eq_ignore_ascii_case(given) {
        return Ok(());
    }
    Err(CliError::OtherHostname {
        file: file.to_owned(),
        configured,
        given: given.clone(),
    })
}

/// Something that `init` sees to.
pub struct Made {
    is_new: bool,
    what: &'static str,
    path: PathBuf,
}

/// Makes data directory, database, authority and certificate, as far as they are missing.
///
/// # Errors
/// [`CliError`]; what was there before stays.
pub fn make(settings: &DispatcherSettings) -> Result<Vec<Made>, CliError> {
    let made = |is_new: bool, what: &'static str, path: &Path| {
        let path = path.to_owned();
        Made { is_new, what, path }
    };
    let (data, tls) = (&settings.data_dir, &settings.tls);
    let directory = ensure_directory(data)?;
    for parent in [&tls.ca, &tls.certificate, &tls.key]
        .into_iter()
        .filter_map(|path| path.parent())
    {
        ensure_directory(parent)?;
    }
    let authority_is_new = !tls.ca.exists();
    let mut certificates = Vec::new();
    for server in all_server_files(settings) {
        server.certificate.parent().map(ensure_directory).transpose()?;
        let ensured = ca::ensure(&authority_files(settings), &server, SystemClock.now())?;
        certificates.push(made(ensured != Ensured::Nothing, "certificate", &server.certificate));
    }
    let database = !settings.database.exists();
    // Also when it is there: a damaged or newer one is found out now.
    drop(SqliteStore::open_for_command(&SqliteOptions::at(&settings.database))?);
    hand_over(data).map_err(FileError::new("change the owner of", data))?;
    let mut all = vec![
        made(directory, "data directory", data),
        made(authority_is_new && tls.ca.exists(), "certificate authority", &tls.ca),
    ];
    all.extend(certificates);
    all.push(made(database, "database", &settings.database));
    Ok(all)
}

fn words(made: bool, what: &str, path: &Path) -> String {
    let outcome = if made { "made" } else { "kept" };
    format!("{outcome} {what} {}", path.display())
}

/// Whether the file was made.
fn ensure_config(path: &Path, flags: &DispatcherFlags) -> Result<bool, CliError> {
    if path.exists() {
        return Ok(false);
    }
    let hostname = match &flags.hostname {
        Some(name) => name.clone(),
        None => own_name()?,
    };
    // Said before anything is written.
    if DomainName::parse(&hostname).is_err() {
        return Err(CliError::BadHostname(hostname));
    }
    let mut text = set(TEMPLATE, "hostname", &hostname);
    if let Some(directory) = &flags.data_dir {
        // The file is read by processes in other directories.
        let directory = std::path::absolute(directory).map_err(FileError::new("find", directory))?;
        text = set(&text, "data_dir", &directory.display().to_string());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(FileError::new("make directory", parent))?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(CONFIG_MODE);
    let write = || options.open(path)?.write_all(text.as_bytes());
    write().map_err(FileError::new("write", path))?;
    Ok(true)
}

/// Sets a key that stands in the template as a comment.
fn set(template: &str, key: &str, value: &str) -> String {
    let comment = format!("#{key} =");
    let line = |line: &str| match line.starts_with(&comment) {
        // A string of TOML escapes as one of Rust does, for what a name or path holds.
        true => format!("{key} = {value:?}\n"),
        false => format!("{line}\n"),
    };
    template.lines().map(line).collect()
}

/// The machine's name, if it is one that clients could connect to.
fn own_name() -> Result<String, CliError> {
    let name = gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let is_full = name.contains('.') && DomainName::parse(&name).is_ok();
    if is_full {
        Ok(name)
    } else {
        Err(CliError::NoHostname(name))
    }
}

/// Whether the directory was made.
fn ensure_directory(path: &Path) -> Result<bool, FileError> {
    if path.is_dir() {
        return Ok(false);
    }
    let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path);
    made.map_err(FileError::new("make directory", path))?;
    Ok(true)
}

/// Gives what root made in a service user's directory to that user, who could not use it otherwise.
fn hand_over(directory: &Path) -> io::Result<()> {
    let owner = fs::symlink_metadata(directory)?;
    if !geteuid().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Never through a link, which might lead out of the directory.
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            continue;
        }
        let path = entry.path();
        chown(
            &path,
            Some(Uid::from_raw(owner.uid())),
            Some(Gid::from_raw(owner.gid())),
        )?;
        if kind.is_dir() {
            hand_over(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_that_is_made_can_be_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("etc/osa.toml");
        let flags = DispatcherFlags {
            hostname: Some("push.example.com".to_owned()),
            data_dir: Some(directory.path().join("data")),
            ..DispatcherFlags::default()
        };

        assert!(ensure_config(&file, &flags).unwrap());
        assert!(!ensure_config(&file, &flags).unwrap(), "it is not written twice");

        let flags = DispatcherFlags {
            config: Some(file),
            ..DispatcherFlags::default()
        };
        let settings = DispatcherSettings::load(&flags, []).unwrap().settings;
        assert_eq!(settings.hostname.as_str(), "push.example.com");
        assert_eq!(settings.data_dir, directory.path().join("data"));
    }
}
