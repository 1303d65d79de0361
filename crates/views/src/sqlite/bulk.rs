//! One statement for many rows.

use std::sync::OnceLock;

use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Executor, Sqlite};

pub(super) type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments<'q>>;

/// Rows of one execution at most: 2 to the power of this.
const LARGEST_POWER: usize = 8;

/// A statement whose `:rows` stands for rows of values. It is prepared for a few numbers of rows,
/// powers of two, so that all of them stay in the connection's cache of statements.
pub(super) struct Bulk {
    sql: &'static str,
    columns: usize,
    prepared: [OnceLock<String>; LARGEST_POWER + 1],
}

impl Bulk {
    pub const fn new(sql: &'static str, columns: usize) -> Self {
        Self { sql, columns, prepared: [const { OnceLock::new() }; LARGEST_POWER + 1] }
    }

    /// Runs the statement over all rows, in order; gives how many rows of the table it changed.
    pub async fn run<'q, T>(
        &'static self,
        connection: &mut SqliteConnection,
        rows: &'q [T],
        bind: fn(Query<'q>, &'q T) -> Query<'q>,
    ) -> Result<u64, sqlx::Error> {
        let mut changed = 0;
        let mut rest = rows;
        while !rest.is_empty() {
            let power = (rest.len().ilog2() as usize).min(LARGEST_POWER);
            let (chunk, others) = rest.split_at(1 << power);
            rest = others;
            let query = chunk.iter().fold(sqlx::query(self.text(power)), bind);
            changed += connection.execute(query).await?.rows_affected();
        }
        Ok(changed)
    }

    fn text(&'static self, power: usize) -> &'static str {
        self.prepared[power].get_or_init(|| {
            let row = format!("({})", vec!["?"; self.columns].join(", "));
            self.sql.replace(":rows", &vec![row; 1 << power].join(", "))
        })
    }
}
