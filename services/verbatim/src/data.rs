//! The data folder: what lies where, and that one process at a time uses it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use secrecy::SecretString;
use verbatim_proof::Signer;

/// The names within a data folder.
#[derive(Debug, Clone)]
pub struct DataFolder {
    root: PathBuf,
}

impl DataFolder {
    /// Makes the folder where it is missing, for its owner alone.
    pub fn create(root: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root).with_context(|| {
            format!("VERBATIM_DATA_DIR: cannot make the folder {}", root.display())
        })?;
        Self::existing(root)
    }

    /// The folder, which must be there.
    pub fn existing(root: &Path) -> anyhow::Result<Self> {
        let root = root
            .canonicalize()
            .with_context(|| format!("VERBATIM_DATA_DIR: no such folder {}", root.display()))?;
        Ok(Self { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn journal(&self) -> PathBuf {
        self.root.join("journal.sqlite")
    }

    pub fn views(&self) -> PathBuf {
        self.root.join("views.sqlite")
    }

    pub fn analytics(&self) -> PathBuf {
        self.root.join("analytics.sqlite")
    }

    pub fn state(&self) -> PathBuf {
        self.root.join("state.sqlite")
    }

    pub fn seal(&self) -> PathBuf {
        self.root.join("seal.sqlite")
    }

    pub fn control(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    pub fn keys(&self) -> PathBuf {
        self.root.join("keys.sqlite")
    }

    /// Takes the folder for this process until the lock is dropped; `None` if another has it.
    pub fn try_lock(&self) -> anyhow::Result<Option<Lock>> {
        let path = self.root.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// As [`Self::try_lock`], but another process is an error.
    pub fn lock(&self) -> anyhow::Result<Lock> {
        match self.try_lock()? {
            Some(lock) => Ok(lock),
            None => bail!("the data folder {} is in use by another process", self.root.display()),
        }
    }

    /// The folder's own token secret, made on first use.
    pub fn token_secret(&self) -> anyhow::Result<SecretString> {
        self.secret("jwt_secret")
    }

    /// The folder's own master key, made on first use.
    pub fn master_key(&self) -> anyhow::Result<SecretString> {
        self.secret("master_key")
    }

    /// The folder's own master key, if it has one.
    pub fn existing_master_key(&self) -> anyhow::Result<Option<SecretString>> {
        read_secret(&self.root.join("master_key"))
    }

    /// 32 random bytes in hexadecimal, made on first use.
    fn secret(&self, name: &str) -> anyhow::Result<SecretString> {
        made_once(&self.root.join(name), || Ok(hex::encode(rand::random::<[u8; 32]>())))
    }

    /// The file of the folder's own key for seals.
    pub fn seal_key(&self) -> PathBuf {
        self.root.join("seal_key.pem")
    }

    /// The folder's own key for seals, in PEM, made on first use.
    pub fn own_seal_key(&self) -> anyhow::Result<SecretString> {
        made_once(&self.seal_key(), || Ok(Signer::generate()?))
    }
}

/// A file's secret, which is made if there is none yet, for its owner alone.
fn made_once(
    path: &Path,
    make: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<SecretString> {
    if let Some(secret) = read_secret(path)? {
        return Ok(secret);
    }
    // Written aside and linked into place: two processes that start at once agree on one.
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let secret = make()?;
    let written = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(secret.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    let removed = fs::remove_file(&draft);
    written.and(removed).with_context(|| format!("cannot write {}", path.display()))?;
    read_secret(path)?.with_context(|| format!("{} vanished", path.display()))
}

fn read_secret(path: &Path) -> anyhow::Result<Option<SecretString>> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => {
            bail!("{} is empty: remove it to have a new one made", path.display())
        }
        Ok(text) => Ok(Some(text.trim().to_owned().into())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Held while this process uses the folder; the system lets go of it however the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn one_process_at_a_time_has_the_folder() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = DataFolder::create(&temporary.path().join("a/b")).expect("made");
        let lock = folder.lock().expect("free");
        assert!(folder.lock().is_err_and(|error| error.to_string().contains("in use")));
        drop(lock);
        assert!(folder.lock().is_ok());
    }

    #[test]
    fn the_secret_is_made_once_and_for_its_owner_alone() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = DataFolder::create(temporary.path()).expect("made");
        let first = folder.token_secret().expect("made");
        let second = folder.token_secret().expect("read");
        assert_eq!(first.expose_secret(), second.expose_secret());
        assert_eq!(first.expose_secret().len(), 64);
        let mode =
            fs::metadata(folder.root().join("jwt_secret")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_key_for_seals_is_made_once_and_for_its_owner_alone() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = DataFolder::create(temporary.path()).expect("made");
        let first = folder.own_seal_key().expect("made");
        let second = folder.own_seal_key().expect("read");
        assert_eq!(first.expose_secret(), second.expose_secret());
        Signer::from_pem("log", first.expose_secret()).expect("it is a key");
        let mode = fs::metadata(folder.seal_key()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let names = fs::read_dir(temporary.path()).expect("the folder").count();
        assert_eq!(names, 1, "no draft is left");
    }
}
