//! Transactions on a writer, in plain SQL.
//!
//! sqlx counts how deep it is in transactions, and `SQLite` rolls one back by itself when the disk is
//! full: the count stays, sqlx's next `begin` makes a savepoint, and the connection never gets out
//! of it. So a writer says `begin`, `commit` and `rollback` itself.

use sqlx::sqlite::SqliteConnection;

/// Begins a transaction that holds the write lock.
///
/// # Errors
/// `SQLite`'s; also when one is open already.
pub async fn begin(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("begin immediate").execute(connection).await.map(drop)
}

/// Commits the open transaction. After an error, [`rollback`].
///
/// # Errors
/// `SQLite`'s.
pub async fn commit(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("commit").execute(connection).await.map(drop)
}

/// Ends the open transaction, if there still is one. Once it has succeeded, what the connection
/// reads is what is committed.
///
/// # Errors
/// `SQLite`'s.
pub async fn rollback(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    match sqlx::query("rollback").execute(connection).await {
        Err(sqlx::Error::Database(error))
            if error.message().contains("no transaction is active") =>
        {
            Ok(())
        }
        result => result.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Connection;

    #[tokio::test]
    async fn a_connection_goes_on_after_sqlite_has_rolled_back_by_itself() {
        let mut connection =
            SqliteConnection::connect("sqlite::memory:").await.expect("a database");
        sqlx::raw_sql("create table t (n integer unique)")
            .execute(&mut connection)
            .await
            .expect("a table");
        begin(&mut connection).await.expect("a transaction");
        sqlx::raw_sql("insert or rollback into t values (1), (1)")
            .execute(&mut connection)
            .await
            .expect_err("not unique");
        rollback(&mut connection).await.expect("nothing left to roll back");
        begin(&mut connection).await.expect("another transaction");
        sqlx::raw_sql("insert into t values (2)").execute(&mut connection).await.expect("a row");
        commit(&mut connection).await.expect("committed");
        let rows: Vec<i64> =
            sqlx::query_scalar("select n from t").fetch_all(&mut connection).await.expect("rows");
        assert_eq!(rows, [2]);
    }
}
