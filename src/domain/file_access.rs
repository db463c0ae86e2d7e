//! Why a program may not read a file, and who can mend it.

use std::fmt;
use std::path::PathBuf;

/// A group's right to read.
const GROUP_READS: u32 = 0o040;
/// A group's right to pass through a directory.
const GROUP_PASSES: u32 = 0o010;

/// What stands in the way: the file itself, or the innermost directory that can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileAccess {
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
        match mode & needed {
            0 => write!(
                formatter,
                "hand the file over with LoadCredential= in the service, or run it as root"
            ),
            _ => write!(
                formatter,
                "add {user} to group {group} (SupplementaryGroups={group} in the service), or run it as root"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: u32) -> FileAccess {
        FileAccess {
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
}
