//! Leases on lanes, each step one call.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;
use verbatim_protocol::LaneCursor;

use super::{Failed, PostgresJournal};
use crate::{Claim, Error, Lanes, Owned, Ownership};

/// Claims as two arrays.
fn arrays(claims: &[Claim]) -> (Vec<i32>, Vec<i64>) {
    claims.iter().map(|claim| (i32::from(claim.lane), claim.epoch as i64)).unzip()
}

/// A cursor from three columns, all of them null before the first.
pub(super) fn cursor(row: &PgRow, first: usize) -> Result<Option<LaneCursor>, sqlx::Error> {
    let Some(stream) = row.try_get(first)? else { return Ok(None) };
    let sequence: i64 = row.try_get(first + 1)?;
    Ok(Some(LaneCursor { stream, sequence: sequence as u64, at: row.try_get(first + 2)? }))
}

fn owned(row: &PgRow) -> Result<Option<Owned>, sqlx::Error> {
    let Some(lane) = row.try_get::<Option<i32>, _>(0)? else { return Ok(None) };
    let epoch: i64 = row.try_get(1)?;
    let claim = Claim { lane: lane as u16, epoch: epoch as u64 };
    Ok(Some(Owned { claim, cursor: cursor(row, 2)? }))
}

fn ownership(rows: &[PgRow]) -> Result<Ownership, sqlx::Error> {
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let surplus: i64 = first.try_get(5)?;
    let look_in: f64 = first.try_get(6)?;
    Ok(Ownership {
        owned: rows.iter().filter_map(|row| owned(row).transpose()).collect::<Result<_, _>>()?,
        surplus: surplus as usize,
        look_in: Duration::from_secs_f64(look_in.max(0.0)),
    })
}

#[async_trait]
impl Lanes for PostgresJournal {
    async fn renew(&self, worker: Uuid, lease: Duration) -> Result<Ownership, Error> {
        let query = sqlx::query(include_str!("renew_lanes.sql"))
            .bind(worker.to_string())
            .bind(lease.as_secs_f64());
        let rows =
            self.database.run_to_end(|connection| Box::pin(query.fetch_all(connection))).await?;
        Ok(ownership(&rows).map_err(Failed::from)?)
    }

    async fn release(&self, claims: &[Claim]) -> Result<(), Error> {
        if claims.is_empty() {
            return Ok(());
        }
        let (lanes, epochs) = arrays(claims);
        let query = sqlx::query("select journal.release_lanes($1, $2)").bind(lanes).bind(epochs);
        self.database.run_to_end(|connection| Box::pin(query.execute(connection))).await?;
        Ok(())
    }

    async fn raise(&self, claims: &[Claim]) -> Result<Vec<Option<Claim>>, Error> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let (lanes, epochs) = arrays(claims);
        let query =
            sqlx::query_scalar("select journal.raise_lanes($1, $2)").bind(lanes).bind(epochs);
        let raised: Vec<Option<i64>> =
            self.database.run_to_end(|connection| Box::pin(query.fetch_one(connection))).await?;
        let raised = claims.iter().zip(raised).map(|(claim, epoch)| {
            epoch.map(|epoch| Claim { lane: claim.lane, epoch: epoch as u64 })
        });
        Ok(raised.collect())
    }
}
