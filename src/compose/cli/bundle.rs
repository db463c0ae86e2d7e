//! Adds a system, and writes what its client needs.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::arguments::AddArgs;
use super::ask::{ask, refuse_beside_satellite, settings};
use super::error::CliError;
use super::{Done, output};
use crate::compose::console::named_place::PlaceError;
use crate::compose::control::answers::{Answer, SystemAdded};
use crate::compose::control::desk::check_system_name;
use crate::compose::control::requests::Request;
use crate::compose::dispatcher::all_server_files;
use crate::host::clock::SystemClock;
use crate::net::tls::ServerTls;
use crate::ports::clock::Clock;
use crate::ports::file_error::FileError;
use crate::ports::store::{SYSTEMS, StoreError};
use crate::ports::tls::{Certificates, TlsWarning};
use crate::settings::dispatcher::DispatcherSettings;
use crate::settings::names::{HTTPS_PORT, XMPP_PORT};

/// The client's identity.
pub const SYSTEMID: &str = "systemid";
/// The certificate of the authority that the client is to trust, under its usual name.
pub const CA_FILE: &str = "RHN-ORG-TRUSTED-SSL-CERT";
/// The client's configuration.
pub const CONFIG: &str = "osad.toml";
/// Where all of it goes on the client.
const CLIENT_DIRECTORY: &str = "/etc/osa";

/// The bundle holds the client's identity, so it is its owner's alone.
const DIRECTORY_MODE: u32 = 0o700;
/// As above.
const FILE_MODE: u32 = 0o600;

pub fn add_system(args: &AddArgs) -> Done {
    let settings = settings(&args.plain.config)?;
    refuse_beside_satellite(&settings, SYSTEMS)?;
    refuse_name(&settings, &args.name)?;
    let authority = fs::read_to_string(&settings.tls.ca).map_err(FileError::new("read CA file", &settings.tls.ca))?;
    refuse_wrong_authority(&settings)?;
    // All that can go wrong with files is done first: the system can be added only once.
    let out_is_new = !args.out.exists();
    let directory = place(&args.out, &args.name)?;
    let request = Request::AddSystem {
        name: args.name.clone(),
    };
    let added = match ask(&settings, request) {
        Ok(Answer::SystemAdded(added)) => added,
        refused => {
            // It is empty, and nobody has seen it.
            fs::remove_dir(&directory).ok();
            if out_is_new {
                fs::remove_dir(&args.out).ok();
            }
            return refused.and(Err(CliError::OtherAnswer));
        }
    };
    fill(&directory, &added, &authority)?;
    match args.plain.json {
        true => output::json(&serde_json::json!({ "id": added.id, "name": added.name, "bundle": directory }))?,
        false => output::print(&instructions(&added, &directory))?,
    }
    Ok(0)
}

/// With the certificate of another authority in its bundle, the client could never connect.
fn refuse_wrong_authority(settings: &DispatcherSettings) -> Result<(), CliError> {
    // What else is wrong with the certificate does not concern the bundle, and is said by `serve` and `check-config`.
    let Ok(tls) = ServerTls::load_all(all_server_files(settings), SystemClock.now()) else {
        return Ok(());
    };
    let warnings = tls.in_use().warnings;
    match warnings.into_iter().find(TlsWarning::is_of_wrong_authority) {
        Some(warning) => Err(CliError::WrongAuthority(warning)),
        None => Ok(()),
    }
}

/// Refuses a name before anything is made for it; that it is still free is found out again when the system is added.
fn refuse_name(settings: &DispatcherSettings, name: &str) -> Result<(), CliError> {
    check_system_name(name)?;
    let Answer::Systems(systems) = ask(settings, Request::ListSystems)? else {
        return Err(CliError::OtherAnswer);
    };
    if systems.iter().any(|system| system.name == name) {
        let what = format!("system {name}");
        return Err(StoreError::Exists { what }.into());
    }
    Ok(())
}

/// Makes the bundle's directory.
fn place(out: &Path, name: &str) -> Result<PathBuf, CliError> {
    fs::create_dir_all(out).map_err(PlaceError::new("make directory", "--out", out))?;
    let directory = out.join(name);
    match make(&directory) {
        Err(error) if error.source.kind() == io::ErrorKind::AlreadyExists => Err(CliError::BundleExists(directory)),
        made => {
            made.map_err(|error| PlaceError::new("make directory", "--out", &directory)(error.source))?;
            Ok(directory)
        }
    }
}

/// Writes a bundle into a new directory.
///
/// # Errors
/// [`FileError`]; what was written stays.
pub fn write(directory: &Path, added: &SystemAdded, authority: &str) -> Result<(), FileError> {
    make(directory)?;
    fill(directory, added, authority)
}

fn make(directory: &Path) -> Result<(), FileError> {
    let made = DirBuilder::new().mode(DIRECTORY_MODE).create(directory);
    made.map_err(FileError::new("make directory", directory))
}

fn fill(directory: &Path, added: &SystemAdded, authority: &str) -> Result<(), FileError> {
    write_file(directory.join(SYSTEMID), &added.systemid.0)?;
    write_file(directory.join(CA_FILE), authority)?;
    write_file(directory.join(CONFIG), &configuration(added))
}

fn write_file(path: PathBuf, text: &str) -> Result<(), FileError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(FILE_MODE);
    let write = || options.open(&path)?.write_all(text.as_bytes());
    write().map_err(FileError::new("write", &path))
}

/// The client's configuration; what it leaves out is as `config/osad.toml` says.
fn configuration(added: &SystemAdded) -> String {
    let SystemAdded { name, hostname, .. } = added;
    let registration = match added.registration_port {
        HTTPS_PORT => String::new(),
        port => format!(":{port}"),
    };
    let jabber_server = match added.xmpp_port {
        XMPP_PORT => String::new(),
        port => format!("jabber_server = \"{hostname}:{port}\"\n"),
    };
    format!(
        r#"# Configuration of osad on {name}, for {CLIENT_DIRECTORY}/{CONFIG}.
server_url = ["https://{hostname}{registration}/XMLRPC"]
{jabber_server}systemid = "{CLIENT_DIRECTORY}/{SYSTEMID}"
auth_file = "{CLIENT_DIRECTORY}/osad-auth.conf"
# What an action starts. It can be started twice for one action, so it must be idempotent.
#check.command = "/usr/sbin/rhn_check"

[tls]
ca = "{CLIENT_DIRECTORY}/{CA_FILE}"
"#
    )
}

fn instructions(added: &SystemAdded, directory: &Path) -> String {
    let (name, directory) = (&added.name, directory.display());
    format!(
        "system {name} is added; its bundle is in {directory}, and holds its identity: keep it secret.\n\n\
         On the client, osad must be installed and {host} must resolve. From here, as root of both:\n\n  \
           tar -C {directory} -cf - {SYSTEMID} {CA_FILE} {CONFIG} | ssh root@{name} 'mkdir -p {CLIENT_DIRECTORY} && tar -C {CLIENT_DIRECTORY} --no-same-owner -xf -'\n  \
           ssh root@{name} systemctl enable --now osad\n  \
           rm -r {directory}\n\n\
         Then here:\n\n  \
           osa-dispatcher systems list\n  \
           osa-dispatcher schedule {name}\n",
        host = added.hostname,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::control::answers::Private;
    #[cfg(feature = "agent")]
    use crate::settings::agent::{AgentFlags, AgentSettings};
    use std::os::unix::fs::PermissionsExt;

    fn added(xmpp_port: u16, registration_port: u16) -> SystemAdded {
        SystemAdded {
            id: 1,
            name: "web-1".to_owned(),
            systemid: Private("<secret/>".to_owned()),
            hostname: "push.example.com".to_owned(),
            xmpp_port,
            registration_port,
        }
    }

    #[test]
    fn bundle_is_its_owners_alone() {
        let out = tempfile::tempdir().unwrap();
        let directory = out.path().join("web-1");

        write(&directory, &added(5222, 443), "ca").unwrap();

        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        for name in [SYSTEMID, CA_FILE, CONFIG] {
            assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
        }
        assert!(
            write(&directory, &added(5222, 443), "ca").is_err(),
            "nothing is overwritten"
        );
    }

    #[test]
    fn usual_ports_are_left_out_and_others_named() {
        let usual = configuration(&added(5222, 443));
        let other = configuration(&added(15222, 8443));

        assert!(
            usual.contains("\"https://push.example.com/XMLRPC\"") && !usual.contains("jabber_server"),
            "{usual}"
        );
        assert!(other.contains("https://push.example.com:8443/XMLRPC"), "{other}");
        assert!(
            other.contains("jabber_server = \"push.example.com:15222\"\n"),
            "{other}"
        );
    }

    #[test]
    fn unpacking_leaves_the_clients_directory_as_it_is() {
        let text = instructions(&added(5222, 443), Path::new("web-1"));

        assert!(
            text.contains("-cf - systemid RHN-ORG-TRUSTED-SSL-CERT osad.toml |"),
            "the bundle's own directory, which is open to nobody, stays behind: {text}"
        );
    }

    #[cfg(feature = "agent")]
    #[test]
    fn command_that_is_uncommented_is_the_checks() {
        let text = configuration(&added(5222, 443)).replace("#check.command = \"/usr/sbin", "check.command = \"/opt");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(CONFIG);
        fs::write(&file, &text).unwrap();
        let flags = AgentFlags {
            config: Some(file),
            ..AgentFlags::default()
        };

        let settings = AgentSettings::load(&flags, []).unwrap().settings;

        assert_eq!(settings.check.command.program, Path::new("/opt/rhn_check"), "{text}");
        assert_eq!(settings.tls.ca, Path::new(CLIENT_DIRECTORY).join(CA_FILE));
    }

    #[test]
    fn instructions_do_not_show_the_identity() {
        assert!(!instructions(&added(5222, 443), Path::new("web-1")).contains("<secret/>"));
    }
}
