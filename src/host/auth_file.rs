//! `osad-auth.conf`, with two keys more than the original's: which machine and which system the account is for.
//!
//! The original reads its three keys and leaves others alone. They are kept here, and not in the state directory,
//! because a clone's copy of this file is what must be recognised. Only digests are written: a machine-id is not to be
//! shown around (machine-id(5)).

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::state_dir::replace;
use crate::domain::secret::Secret;
use crate::ports::account_file::{AccountError, AccountFile, AgentAccount, OpenedAccount, Renewal};
use crate::ports::clock::Entropy;
use crate::ports::file_error::FileError;
use crate::settings::legacy::credentials::Credentials;
use crate::settings::legacy::ini::Ini;

/// The resource existing dispatchers expect (compatibility contract, section 1.7).
const RESOURCE: &str = "osad";
/// Section and further keys of the file.
const SECTION: &str = "osad-auth";
const MACHINE_KEY: &str = "machine";
const SYSTEM_KEY: &str = "system";
/// Random part of a new user name: 10 hex digits, as in the original. Units: bytes.
const NAME_ENTROPY: usize = 5;
/// Random part of a new password: 40 hex digits. The original has 20. Units: bytes.
const PASSWORD_ENTROPY: usize = 20;
/// Length of a digest in the file: 32 hex digits. Units: bytes.
const DIGEST_BYTES: usize = 16;

/// The file, and the machine it is on.
pub struct AuthFile {
    path: PathBuf,
    machine_id_path: PathBuf,
    entropy: Arc<dyn Entropy>,
}

struct Remembered {
    account: AgentAccount,
    machine: Option<String>,
    system: Option<String>,
}

impl AuthFile {
    /// The account in `path` on the machine that `machine_id_path` names.
    pub fn new(path: PathBuf, machine_id_path: PathBuf, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            path,
            machine_id_path,
            entropy,
        }
    }

    /// `None` if there is no account, or none that can be read: a new one mends that.
    fn read(&self) -> Result<Option<Remembered>, FileError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::new("read", &self.path)(error)),
        };
        let text = Secret::new(String::from_utf8(bytes).unwrap_or_default());
        let Ok(Some(credentials)) = Credentials::parse(text.expose()) else {
            return Ok(None);
        };
        let ini = Ini::parse(text.expose()).ok();
        let digest = |key| ini.as_ref()?.value(SECTION, key).ok().flatten();
        Ok(Some(Remembered {
            machine: digest(MACHINE_KEY),
            system: digest(SYSTEM_KEY),
            account: AgentAccount {
                username: credentials.username,
                password: credentials.password,
                resource: credentials.resource,
            },
        }))
    }

    fn write(&self, remembered: &Remembered) -> Result<(), AccountError> {
        let AgentAccount {
            username,
            password,
            resource,
        } = remembered.account.clone();
        let credentials = Credentials {
            username,
            password,
            resource,
        };
        let base = credentials
            .render()
            .map_err(|_| AccountError::Unwritable(self.path.clone()))?;
        let line = |key: &str, value: &Option<String>| value.as_ref().map(|value| format!("{key} = {value}\n"));
        let machine = line(MACHINE_KEY, &remembered.machine).unwrap_or_default();
        let system = line(SYSTEM_KEY, &remembered.system).unwrap_or_default();
        let text = Secret::new(format!("{}{machine}{system}", base.expose()));
        Ok(replace(&self.path, text.expose())?)
    }

    fn make_up(&self) -> AgentAccount {
        AgentAccount {
            username: format!("osad-{}", self.random_hex::<NAME_ENTROPY>()),
            password: Secret::new(self.random_hex::<PASSWORD_ENTROPY>()),
            resource: RESOURCE.to_owned(),
        }
    }

    fn random_hex<const N: usize>(&self) -> String {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        hex(&bytes)
    }

    /// `None` where the machine has no identity, as in some containers: then clones are told apart by conflicts only.
    fn machine(&self) -> Option<String> {
        let text = fs::read_to_string(&self.machine_id_path).ok()?;
        let id = text.trim();
        (!id.is_empty()).then(|| digest("osad machine", id))
    }
}

impl AccountFile for AuthFile {
    fn open(&self, system_id: &str) -> Result<OpenedAccount, AccountError> {
        let machine = self.machine();
        let system = Some(digest("osad system", system_id));
        let read = self.read()?;
        let renewal = match &read {
            None => Some(Renewal::Absent),
            Some(found) if differ(&found.machine, &machine) => Some(Renewal::ClonedMachine),
            Some(found) if differ(&found.system, &system) => Some(Renewal::OtherSystem),
            Some(_) => None,
        };
        let kept = read.filter(|_| renewal.is_none());
        let complete = kept
            .as_ref()
            .is_some_and(|found| found.system.is_some() && (found.machine.is_some() || machine.is_none()));
        let remembered = Remembered {
            machine: machine.or_else(|| kept.as_ref()?.machine.clone()),
            system,
            account: kept.map_or_else(|| self.make_up(), |kept| kept.account),
        };
        if !complete {
            self.write(&remembered)?;
        }
        Ok(OpenedAccount {
            account: remembered.account,
            renewal,
        })
    }

    fn renew(&self, system_id: &str) -> Result<AgentAccount, AccountError> {
        let remembered = Remembered {
            machine: self.machine(),
            system: Some(digest("osad system", system_id)),
            account: self.make_up(),
        };
        self.write(&remembered)?;
        Ok(remembered.account)
    }
}

/// Whether both are known and not the same; the original's file knows neither.
fn differ(remembered: &Option<String>, now: &Option<String>) -> bool {
    matches!((remembered, now), (Some(remembered), Some(now)) if remembered != now)
}

fn digest(purpose: &str, text: &str) -> String {
    let digest = Sha256::new()
        .chain_update(purpose)
        .chain_update([0])
        .chain_update(text)
        .finalize();
    hex(digest.get(..DIGEST_BYTES).unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::host::clock::OsEntropy;

    const ORIGINAL: &str = "# Automatically generated. Do not edit!\n\n[osad-auth]\nusername = osad-1a2b3c4d5e\n\
                            password = 0123456789abcdef0123\nresource = osad\n";

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new(id: &str) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            machine.become_machine(id);
            machine
        }

        fn become_machine(&self, id: &str) {
            fs::write(self.0.path().join("machine-id"), format!("{id}\n")).unwrap();
        }

        fn file(&self) -> AuthFile {
            let path = |name| self.0.path().join(name);
            AuthFile::new(path("osad-auth.conf"), path("machine-id"), Arc::new(OsEntropy))
        }

        fn text(&self) -> String {
            fs::read_to_string(self.file().path).unwrap()
        }
    }

    #[test]
    fn new_account_is_private_stays_and_reads_like_the_originals() {
        let machine = Machine::new("m1");

        let first = machine.file().open("ID-1").unwrap();
        let second = machine.file().open("ID-1").unwrap();

        assert_eq!((first.renewal, second.renewal), (Some(Renewal::Absent), None));
        assert_eq!(first.account, second.account);
        let AgentAccount {
            username,
            password,
            resource,
        } = first.account;
        assert_eq!(
            (username.len(), password.expose().len(), resource.as_str()),
            (15, 40, "osad")
        );
        assert!(username.starts_with("osad-"), "{username}");
        let text = machine.text();
        assert!(
            text.starts_with("# Automatically generated. Do not edit!\n\n[osad-auth]\n"),
            "{text}"
        );
        assert!(!text.contains("m1") && !text.contains("ID-1"), "{text}");
        let mode = fs::metadata(machine.file().path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn account_of_the_original_is_kept_and_bound_to_machine_and_system() {
        let machine = Machine::new("m1");
        fs::write(machine.file().path, ORIGINAL).unwrap();

        let adopted = machine.file().open("ID-1").unwrap();
        let text = machine.text();
        machine.become_machine("m2");
        let cloned = machine.file().open("ID-1").unwrap();

        assert_eq!(
            (adopted.account.username.as_str(), adopted.renewal),
            ("osad-1a2b3c4d5e", None)
        );
        assert!(text.starts_with(ORIGINAL), "{text}");
        assert_eq!(cloned.renewal, Some(Renewal::ClonedMachine));
        assert_ne!(cloned.account, adopted.account);
    }

    #[test]
    fn host_registered_as_another_system_gets_another_account() {
        let machine = Machine::new("m1");
        let before = machine.file().open("ID-1").unwrap();

        let after = machine.file().open("ID-2").unwrap();

        assert_eq!(after.renewal, Some(Renewal::OtherSystem));
        assert_ne!(after.account, before.account);
    }

    #[test]
    fn unknown_machine_is_no_clone_and_does_not_unbind_the_account() {
        let machine = Machine::new("m1");
        let before = machine.file().open("ID-1").unwrap();
        fs::remove_file(machine.0.path().join("machine-id")).unwrap();

        let unknown = machine.file().open("ID-1").unwrap();
        machine.become_machine("m2");

        assert_eq!(unknown.account, before.account);
        assert_eq!(
            machine.file().open("ID-1").unwrap().renewal,
            Some(Renewal::ClonedMachine)
        );
    }

    #[test]
    fn damaged_file_or_placeholder_is_replaced() {
        for text in [&b"[osad-auth]\n"[..], b"\xff\xfe", b"[osad-auth\n", b""] {
            let machine = Machine::new("m1");
            fs::write(machine.file().path, text).unwrap();

            assert_eq!(machine.file().open("ID-1").unwrap().renewal, Some(Renewal::Absent));
        }
    }

    #[test]
    fn renewed_account_is_another_one_and_stays() {
        let machine = Machine::new("m1");
        let before = machine.file().open("ID-1").unwrap().account;

        let renewed = machine.file().renew("ID-1").unwrap();

        assert_ne!(renewed, before);
        assert_eq!(machine.file().open("ID-1").unwrap().account, renewed);
    }

    #[test]
    fn unwritable_place_is_named() {
        let machine = Machine::new("m1");
        let mut file = machine.file();
        file.path = machine.0.path().join("nowhere/osad-auth.conf");

        let error = file.open("ID-1").unwrap_err().to_string();

        assert!(
            error.starts_with("cannot write ") && error.contains("nowhere/osad-auth.conf"),
            "{error}"
        );
    }
}
