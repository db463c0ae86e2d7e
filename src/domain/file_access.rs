//! Why a program may not read a file, and who can mend it.

use std::fmt;
use std::path::PathBuf;

/// A group's right to read.
const GROUP_READS: u32 = 0o040;
/// A group's right to pass through a directory.
const GROUP_PASSES: u32 = 0o010;

/// The superuser's group by name, and by number.
const GROUP_OF_ROOT: [&str; 2] = ["root", "0"];

/// What a file is to a service, which decides how the service may come to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Nothing in it is secret.
    Public,
    /// It may hold secrets, and is the service's own.
    Own,
    /// It may hold secrets, belongs to another program, and is looked for among the service's credentials.
    Credential,
}

/// What stands in the way: the file itself, or the innermost directory that can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileAccess {
    /// What the file is.
    pub kind: FileKind,
    /// Who wants to read, by user name or number.
    pub user: String,
    /// The file or directory that says no.
    pub place: PathBuf,
    /// Whether it is a directory on the way.
    pub is_directory: bool,
    /// Its owner, by name or number.
    pub owner: String,
    /// Its group, by name or number.
    pub group: String,
    /// Its permission bits.
    pub mode: u32,
}

impl fmt::Display for FileAccess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, group, mode) = (&self.user, &self.group, self.mode & 0o7777);
        let place = self.place.display();
        let kind = if self.is_directory { "directory " } else { "" };
        let owner = &self.owner;
        write!(
            formatter,
            "{kind}{place} has owner {owner}, group {group}, mode {mode:04o}, and this program runs as {user}; "
        )?;
        let needed = if self.is_directory { GROUP_PASSES } else { GROUP_READS };
        // Whoever is in root's group may do much more than read this file.
        let group_helps = mode & needed != 0 && !GROUP_OF_ROOT.contains(&group.as_str());
        match self.kind {
            FileKind::Credential | FileKind::Own if group_helps => {
                write!(
                    formatter,
                    "add {user} to group {group} (SupplementaryGroups={group} in the service)"
                )?;
            }
            FileKind::Credential => formatter.write_str("hand the file over with LoadCredential= in the service")?,
            FileKind::Public | FileKind::Own if self.is_directory => write!(formatter, "chmod o+x {place}")?,
            FileKind::Public => write!(formatter, "chmod o+r {place}")?,
            FileKind::Own => write!(formatter, "chown {user} {place}")?,
        }
        formatter.write_str(", or run it as root")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: u32) -> FileAccess {
        FileAccess {
            kind: FileKind::Credential,
            user: "osa".to_owned(),
            place: PathBuf::from("/etc/rhn/rhn.conf"),
            is_directory: false,
            owner: "root".to_owned(),
            group: "apache".to_owned(),
            mode,
        }
    }

    #[test]
    fn group_that_may_read_is_the_way_out() {
        assert_eq!(
            file(0o100_640).to_string(),
            "/etc/rhn/rhn.conf has owner root, group apache, mode 0640, and this program runs as osa; add osa to group \
             apache (SupplementaryGroups=apache in the service), or run it as root"
        );
    }

    #[test]
    fn nobody_joins_the_group_of_root() {
        let of_root = FileAccess {
            group: "root".to_owned(),
            ..file(0o640)
        };
        assert!(!of_root.to_string().contains("group root ("), "{of_root}");
        assert!(of_root.to_string().contains("LoadCredential="), "{of_root}");
    }

    #[test]
    fn file_of_its_owner_alone_is_handed_over() {
        assert!(file(0o600).to_string().contains("mode 0600"));
        assert!(file(0o600).to_string().contains("LoadCredential="));
        let directory = FileAccess {
            is_directory: true,
            ..file(0o740)
        };
        assert!(directory.to_string().starts_with("directory /etc/rhn"));
        assert!(directory.to_string().contains("LoadCredential="));
    }

    #[test]
    fn file_that_is_no_credential_is_not_handed_over() {
        let of = |kind, is_directory, mode| {
            let access = FileAccess {
                kind,
                is_directory,
                ..file(mode)
            };
            access.to_string().split_once("; ").map(|(_, remedy)| remedy.to_owned())
        };
        let place = "/etc/rhn/rhn.conf, or run it as root";

        assert_eq!(of(FileKind::Public, false, 0o640), Some(format!("chmod o+r {place}")));
        assert_eq!(of(FileKind::Public, true, 0o750), Some(format!("chmod o+x {place}")));
        assert_eq!(of(FileKind::Own, false, 0o600), Some(format!("chown osa {place}")));
        assert_eq!(of(FileKind::Own, true, 0o700), Some(format!("chmod o+x {place}")));
    }
}
