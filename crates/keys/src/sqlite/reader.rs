//! The keys in one `SQLite` file, for a process beside the one that has it open.

use std::path::Path;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use uuid::Uuid;
use verbatim_domain::{KeyId, UserId};

use super::{MIGRATIONS, READERS, bytes, failed};
use crate::{Error, KeyStore, Stored};

/// The keys in a file that another process may be writing.
#[derive(Debug)]
pub struct SqliteKeyReader {
    /// `None` where there is no file.
    pool: Option<SqlitePool>,
}

impl SqliteKeyReader {
    /// Opens the file for reading. One that isn't there holds no keys.
    ///
    /// # Errors
    /// [`Error`], also when another version made the file.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            return Ok(Self { pool: None });
        }
        let pool = verbatim_sqlite::open_reader(path, READERS, &MIGRATIONS).await;
        Ok(Self { pool: Some(pool.map_err(failed)?) })
    }

    async fn select(&self, rest: &str, bound: Vec<u8>, limit: u32) -> Result<Vec<Stored>, Error> {
        let Some(pool) = &self.pool else { return Ok(Vec::new()) };
        let sql = format!("select id, subject, wrapped from keys {rest}");
        let rows = sqlx::query(&sql).bind(bound).bind(limit).fetch_all(pool).await;
        rows.map_err(failed)?.iter().map(read).collect()
    }
}

fn read(row: &SqliteRow) -> Result<Stored, Error> {
    let id = Uuid::from_slice(row.try_get(0).map_err(failed)?).map_err(failed)?;
    let subject: &str = row.try_get(1).map_err(failed)?;
    let wrapped = row.try_get(2).map_err(failed)?;
    Ok(Stored { id: KeyId(id), subject: subject.parse().map_err(failed)?, wrapped })
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
        let mut found = Vec::new();
        for id in ids {
            found.extend(self.select("where id = ? limit ?", bytes(id), 1).await?);
        }
        Ok(found)
    }

    async fn of_subject(&self, subject: &UserId) -> Result<Vec<Stored>, Error> {
        let subject = subject.as_str().as_bytes().to_vec();
        self.select("where subject = cast(? as text) limit ?", subject, u32::MAX).await
    }

    async fn destroy(&self, _: &UserId, _: Vec<KeyId>) -> Result<(), Error> {
        refused()
    }

    async fn destroyed(&self) -> Result<Vec<Stored>, Error> {
        self.select("where wrapped is null and id > ? limit ?", Vec::new(), u32::MAX).await
    }

    async fn page(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<Stored>, Error> {
        let after = after.map_or_else(Vec::new, bytes);
        self.select("where id > ? order by id limit ?", after, limit).await
    }

    async fn take_in(&self, _: Vec<Stored>) -> Result<(), Error> {
        refused()
    }

    async fn proof(&self, offered: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
        let Some(pool) = &self.pool else { return Ok(offered) };
        let proof = sqlx::query_scalar("select proof from master").fetch_optional(pool).await;
        Ok(proof.map_err(failed)?.or(offered))
    }
}
