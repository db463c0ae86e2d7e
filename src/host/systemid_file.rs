//! The systemid file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::domain::secret::Secret;
use crate::ports::file_error::FileError;
use crate::ports::systemid::{FileMark, Systemid, SystemidFileError, SystemidSource};
use crate::protocol::systemid::SystemCertificate;

/// Largest file; usual ones have 2 KB. Units: bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The file of one path.
#[derive(Clone, Debug)]
pub struct SystemidFile(PathBuf);

impl SystemidFile {
    /// The file at `path`, there or not.
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn read_text(&self) -> io::Result<String> {
        let mut text = String::new();
        let read = File::open(&self.0)?
            .take(FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)?;
        if read as u64 > FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(text)
    }
}

impl SystemidSource for SystemidFile {
    fn mark(&self) -> Option<FileMark> {
        let file = fs::metadata(&self.0).ok()?;
        Some(FileMark {
            inode: (file.dev(), file.ino()),
            length: file.size(),
            modified: i128::from(file.mtime()) * 1_000_000_000 + i128::from(file.mtime_nsec()),
        })
    }

    fn read(&self) -> Result<Systemid, SystemidFileError> {
        let text = self.read_text().map_err(FileError::new("read systemid", &self.0))?;
        match SystemCertificate::parse(&text) {
            Ok(certificate) if certificate.is_anonymous => Err(SystemidFileError::Anonymous(self.0.clone())),
            Ok(certificate) => Ok(Systemid {
                text: Secret::new(text),
                system: certificate.system,
            }),
            Err(error) => Err(SystemidFileError::Damaged {
                path: self.0.clone(),
                error,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::SystemId;
    use crate::protocol::systemid::SystemName;

    fn text(kind: &str) -> String {
        let member = |name: &str, value: &str| {
            format!("<member><name>{name}</name><value><string>{value}</string></value></member>")
        };
        let fields = "<member><name>fields</name><value><array><data><value><string>system_id</string></value></data></array></value></member>";
        format!(
            "<?xml version=\"1.0\"?>\n<params><param><value><struct>{}{}{}{fields}</struct></value></param></params>\n",
            member("system_id", "ID-1000010001"),
            member("type", kind),
            member("checksum", "00")
        )
    }

    fn file(bytes: impl AsRef<[u8]>) -> (tempfile::TempDir, SystemidFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("systemid");
        fs::write(&path, bytes).unwrap();
        (dir, SystemidFile::new(path))
    }

    #[test]
    fn text_is_given_verbatim_with_the_system_it_names() {
        let (_dir, file) = file(text("REAL"));

        let systemid = file.read().unwrap();

        assert_eq!(systemid.text.expose(), text("REAL"));
        assert_eq!(systemid.system, SystemName::Id(SystemId(1_000_010_001)));
    }

    #[test]
    fn replaced_rewritten_and_removed_files_have_other_marks() {
        let (dir, file) = file(text("REAL"));
        let first = file.mark();
        fs::write(dir.path().join("new"), text("REAL")).unwrap();

        fs::rename(dir.path().join("new"), dir.path().join("systemid")).unwrap();
        let replaced = file.mark();
        fs::write(dir.path().join("systemid"), "").unwrap();
        let emptied = file.mark();
        fs::remove_file(dir.path().join("systemid")).unwrap();

        assert!(first.is_some() && first != replaced && replaced != emptied);
        assert_eq!(file.mark(), None);
    }

    #[test]
    fn missing_damaged_anonymous_and_huge_files_are_one_line_errors() {
        let (_dir, anonymous) = file(text("ANONYMOUS"));
        let (_dir2, damaged) = file("<?xml version='1.0'?><params>");
        let (_dir3, binary) = file(b"\xff\xfe");
        let (_dir4, huge) = file(vec![b' '; 70_000]);
        let missing = SystemidFile::new("/nowhere/systemid".into());

        for (file, wanted) in [
            (anonymous, "belongs to no system"),
            (
                damaged,
                "is unusable (damaged document: incomplete); register this host anew",
            ),
            (binary, "cannot read systemid "),
            (huge, "cannot read systemid "),
            (missing, "cannot read systemid /nowhere/systemid: "),
        ] {
            let error = file.read().unwrap_err().to_string();
            assert!(error.contains(wanted) && !error.contains('\n'), "{error}");
        }
    }
}
