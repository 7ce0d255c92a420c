//! A secret that may come from a file: noticing that it changed there, and writing a new one back.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret, SecretString};

use crate::config::{SecretSource, SettingsError};

/// One secret and the state of its file when it was last read or written.
#[derive(Debug)]
pub(super) struct SecretFile {
    source: SecretSource,
    seen: SecretString,
    /// `None`: only reading the file tells whether it has changed.
    stamp: Option<Stamp>,
    readable: bool,
}

/// Why a new secret is not in the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotWritten {
    #[error("it does not come from a file")]
    NoFile,
    #[error("its file holds another one by now, which is used instead")]
    Overtaken,
    #[error("its file cannot be compared: {0}")]
    Unreadable(#[from] SettingsError),
    #[error("its file cannot be replaced: {0}")]
    Io(#[from] io::Error),
}

impl SecretFile {
    pub(super) fn open(source: SecretSource) -> Result<Self, SettingsError> {
        let seen = source.read()?;
        Ok(Self { source, seen, stamp: None, readable: true })
    }

    pub(super) fn source(&self) -> &SecretSource {
        &self.source
    }

    pub(super) fn secret(&self) -> &SecretString {
        &self.seen
    }

    /// Reads the file. Returns whether it holds another secret than before.
    pub(super) fn look(&mut self) -> Result<bool, SettingsError> {
        let stamp = self.source.path().and_then(Stamp::settled);
        let now = self.source.read().inspect_err(|_| {
            self.stamp = None;
            self.readable = false;
        })?;
        self.stamp = stamp;
        self.readable = true;
        let changed = !same(&now, &self.seen);
        self.seen = now;
        Ok(changed)
    }

    /// As [`Self::look`], but reads the file only where it was touched, and reports once that it cannot be read.
    pub(super) fn glance(&mut self) -> Result<bool, SettingsError> {
        let Some(path) = self.source.path() else { return Ok(false) };
        if self.stamp.is_some() && self.stamp == Stamp::of(path).ok() {
            return Ok(false);
        }
        let was_readable = self.readable;
        match self.look() {
            Err(_) if !was_readable => Ok(false),
            looked => looked,
        }
    }

    /// Replaces the secret in its file, at once or not at all, keeping what the file's owner chose: its mode, its
    /// owner where possible, a line break at its end, and a symbolic link to it.
    pub(super) fn replace(&mut self, secret: &SecretString) -> Result<(), NotWritten> {
        let path = self.source.path().ok_or(NotWritten::NoFile)?;
        // A link stays one: what is replaced is the file that it leads to.
        let path = fs::canonicalize(path)?;
        if !same(&self.source.read()?, &self.seen) {
            return Err(NotWritten::Overtaken);
        }
        let meant = fs::metadata(&path)?;
        if meant.permissions().readonly() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is read-only").into());
        }
        OpenOptions::new().write(true).open(&path)?;
        // A file may hold nothing but its secret and a line break at the end. So if it is longer than the secret, it
        // has the line break.
        let ended = meant.len() > self.seen.expose_secret().len() as u64;
        let line_break = if ended { "\n" } else { "" };
        let text = SecretString::from(format!("{}{line_break}", secret.expose_secret()));
        write_beside(&path, &text, &meant)?;
        self.seen = secret.clone();
        self.stamp = None;
        Ok(())
    }
}

/// Which state of a file was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// When its content or its inode changed last, in seconds and nanoseconds since 1970. Nobody can set this time
    /// back, as they can the time of modification.
    changed: (i64, i64),
}

impl Stamp {
    /// Two changes within this time may leave the same stamp: clocks of file systems are coarse.
    const COARSE: Duration = Duration::from_secs(2);

    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// `None` where the file may still change without a trace.
    fn settled(path: &Path) -> Option<Self> {
        let stamp = Self::of(path).ok()?;
        let (seconds, _) = stamp.changed;
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?);
        let age = SystemTime::now().duration_since(changed).ok()?;
        (age > Self::COARSE).then_some(stamp)
    }
}

fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

/// Writes a neighbour of the file and moves it over: a crash leaves the old content or the new one.
fn write_beside(path: &Path, text: &SecretString, meant: &fs::Metadata) -> io::Result<()> {
    let neighbour = neighbour_of(path)?;
    match fs::remove_file(&neighbour) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let moved = write_new(&neighbour, text, meant).and_then(|()| fs::rename(&neighbour, path));
    if let Err(error) = moved {
        // Best effort: what is left over is replaced by the next attempt.
        let _ = fs::remove_file(&neighbour);
        return Err(error);
    }
    // The move itself must survive a crash too. On file systems that cannot do this the file is in place all the same.
    let _ = path.parent().map(|folder| File::open(folder).and_then(|folder| folder.sync_all()));
    Ok(())
}

fn write_new(path: &Path, text: &SecretString, meant: &fs::Metadata) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    // Only the superuser may give a file away; anybody else's replacement is their own.
    let _ = chown(path, Some(meant.uid()), Some(meant.gid()));
    file.set_permissions(Permissions::from_mode(meant.mode()))?;
    file.write_all(text.expose_secret().as_bytes())?;
    file.sync_all()
}

const OWNER_ONLY: u32 = 0o600;

/// Always the same name, so that crashes cannot fill the folder.
fn neighbour_of(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::other("its path has no name at the end"))?;
    let mut neighbour = std::ffi::OsString::from(".");
    neighbour.push(name);
    neighbour.push(".new");
    Ok(path.with_file_name(neighbour))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;
    use crate::config::SettingKey;

    #[test]
    fn a_change_is_seen_once() {
        let folder = TempDir::new().unwrap();
        let mut secret = open(&folder, "first\n");
        assert!(!secret.glance().unwrap());

        // As long as before and within the same moment: nothing but the content tells.
        fs::write(folder.path().join("token"), "other\n").unwrap();
        assert!(secret.glance().unwrap());
        assert!(!secret.glance().unwrap());
        assert_eq!(secret.secret().expose_secret(), "other");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_reported_once_and_the_secret_is_kept() {
        let folder = TempDir::new().unwrap();
        let mut secret = open(&folder, "first");
        fs::remove_file(folder.path().join("token")).unwrap();

        let error = secret.glance().unwrap_err().to_string();
        assert!(error.contains("hubspot.access_token_file"), "{error}");
        assert!(!secret.glance().unwrap(), "said before");
        secret.look().unwrap_err();
        assert_eq!(secret.secret().expose_secret(), "first");

        fs::write(folder.path().join("token"), "first").unwrap();
        assert!(!secret.glance().unwrap(), "it is the one we have");
        fs::write(folder.path().join("token"), "second").unwrap();
        assert!(secret.glance().unwrap());
    }

    #[test]
    fn an_untouched_file_is_not_read_again() {
        let folder = TempDir::new().unwrap();
        let mut secret = open(&folder, "first");
        let path = folder.path().join("token");
        secret.stamp = Stamp::of(&path).ok();
        // Were it read, this would be found.
        secret.seen = "something else".into();
        assert!(!secret.glance().unwrap());

        fs::rename(&path, folder.path().join("old")).unwrap();
        fs::write(&path, "first").unwrap();
        assert!(secret.glance().unwrap(), "a new file in its place");
    }

    #[test]
    fn a_file_just_written_is_not_taken_for_untouched() {
        let folder = TempDir::new().unwrap();
        let mut secret = open(&folder, "first");
        assert!(!secret.glance().unwrap());
        assert_eq!(secret.stamp, None, "it may change again within the same tick of the file system's clock");
    }

    #[test]
    fn our_own_writing_is_no_change() {
        let folder = TempDir::new().unwrap();
        let mut secret = open(&folder, "first\n");
        let path = folder.path().join("token");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();

        secret.replace(&"second".into()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second\n", "with its line break");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(!secret.glance().unwrap());
        assert!(!secret.look().unwrap());
    }

    #[test]
    fn an_operators_change_is_not_overwritten() {
        let folder = TempDir::new().unwrap();
        let mut secret = open(&folder, "first");
        let path = folder.path().join("token");
        fs::write(&path, "theirs").unwrap();

        assert!(matches!(secret.replace(&"second".into()), Err(NotWritten::Overtaken)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert!(secret.glance().unwrap(), "and it is still noticed");
    }

    #[test]
    fn a_read_only_file_is_left_alone() {
        let folder = TempDir::new().unwrap();
        let mut secret = open(&folder, "first");
        let path = folder.path().join("token");
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();

        let error = secret.replace(&"second".into()).unwrap_err();
        assert!(matches!(error, NotWritten::Io(_)), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
    }

    #[test]
    fn a_link_stays_a_link_and_a_left_over_neighbour_does_no_harm() {
        let folder = TempDir::new().unwrap();
        let target = folder.path().join("target");
        fs::write(&target, "first").unwrap();
        fs::write(folder.path().join(".target.new"), "left by a crash").unwrap();
        let link = folder.path().join("token");
        symlink(&target, &link).unwrap();
        let mut secret = SecretFile::open(source(&folder)).unwrap();

        secret.replace(&"second".into()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "second");
        assert!(!folder.path().join(".target.new").exists());
    }

    #[test]
    fn an_inline_secret_neither_changes_nor_is_written() {
        let key = SettingKey::new("hubspot.access_token");
        let mut secret = SecretFile::open(SecretSource::inline(key, "first".into())).unwrap();
        assert!(!secret.glance().unwrap());
        assert!(!secret.look().unwrap());
        assert!(matches!(secret.replace(&"second".into()), Err(NotWritten::NoFile)));
    }

    #[test]
    fn no_secret_is_shown() {
        let folder = TempDir::new().unwrap();
        let secret = open(&folder, "pat-secret");
        assert!(!format!("{secret:?}").contains("pat-secret"));
    }

    fn open(folder: &TempDir, text: &str) -> SecretFile {
        fs::write(folder.path().join("token"), text).unwrap();
        SecretFile::open(source(folder)).unwrap()
    }

    fn source(folder: &TempDir) -> SecretSource {
        SecretSource::file(SettingKey::new("hubspot.access_token_file"), folder.path().join("token"))
    }
}
