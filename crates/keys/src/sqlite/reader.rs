//! The keys in one `SQLite` file, for a process beside the one that has it open.

use std::path::Path;

use async_trait::async_trait;
use rusqlite::Params;
use verbatim_domain::{KeyId, UserId};
use verbatim_sqlite::{ReadError, Readers};

use super::{MIGRATIONS, READERS, bytes, failed, stored, those};
use crate::{Error, KeyStore, Stored};

/// The keys in a file that another process may be writing.
#[derive(Debug)]
pub struct SqliteKeyReader {
    /// `None` where there is no file.
    readers: Option<Readers>,
}

impl SqliteKeyReader {
    /// Opens the file for reading. One that isn't there holds no keys.
    ///
    /// # Errors
    /// [`Error`], also when another version made the file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            return Ok(Self { readers: None });
        }
        let readers = Readers::of_version(path, READERS, &MIGRATIONS).map_err(failed)?;
        Ok(Self { readers: Some(readers) })
    }

    /// Rows of `select id, subject, wrapped from keys` and what follows.
    async fn select(
        &self,
        rest: &str,
        params: impl Params + Send + 'static,
    ) -> Result<Vec<Stored>, Error> {
        let Some(readers) = &self.readers else { return Ok(Vec::new()) };
        let sql = format!("select id, subject, wrapped from keys {rest}");
        readers.rows(sql, params, stored).await.map_err(failed)
    }
}

fn refused<T>() -> Result<T, Error> {
    Err(Error::Unavailable("it is open for reading".into()))
}

#[async_trait]
impl KeyStore for SqliteKeyReader {
    async fn in_use(&self, _: Vec<Stored>) -> Result<Vec<Stored>, Error> {
        refused()
    }

    async fn find(&self, ids: Vec<KeyId>) -> Result<Vec<Stored>, Error> {
        let Some(readers) = &self.readers else { return Ok(Vec::new()) };
        let finding =
            readers.read(move |connection| those(connection, &ids).map_err(ReadError::from));
        finding.await.map_err(failed)
    }

    async fn of_subject(&self, subject: &UserId) -> Result<Vec<Stored>, Error> {
        self.select("where subject = ?", [subject.to_string()]).await
    }

    async fn destroy(&self, _: &UserId, _: Vec<KeyId>) -> Result<(), Error> {
        refused()
    }

    async fn destroyed(&self) -> Result<Vec<Stored>, Error> {
        self.select("where wrapped is null order by subject", []).await
    }

    async fn page(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<Stored>, Error> {
        let after = after.map_or_else(Vec::new, bytes);
        self.select("where id > ? order by id limit ?", (after, limit)).await
    }

    async fn take_in(&self, _: Vec<Stored>) -> Result<(), Error> {
        refused()
    }

    async fn proof(&self, offered: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
        let Some(readers) = &self.readers else { return Ok(offered) };
        let proof = readers.rows("select proof from master", [], |row| row.get(0)).await;
        Ok(proof.map_err(failed)?.pop().or(offered))
    }
}
