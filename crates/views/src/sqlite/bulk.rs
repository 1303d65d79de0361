//! One statement for many rows.

use std::sync::OnceLock;

use rusqlite::{CachedStatement, Connection, Error, ToSql};

/// Rows of one execution at most: 2 to the power of this.
const LARGEST_POWER: usize = 8;

/// A statement whose `:rows` stands for rows of values. It is prepared for a few numbers of rows,
/// powers of two, so that all of them stay in the connection's cache of statements.
pub(super) struct Bulk {
    sql: &'static str,
    columns: usize,
    prepared: [OnceLock<String>; LARGEST_POWER + 1],
}

/// The values of a statement that is about to run, bound one after the other.
pub(super) struct Values<'c> {
    statement: CachedStatement<'c>,
    bound: usize,
    failed: Result<(), Error>,
}

impl Values<'_> {
    pub fn bind(mut self, value: impl ToSql) -> Self {
        self.bound += 1;
        if self.failed.is_ok() {
            self.failed = self.statement.raw_bind_parameter(self.bound, value);
        }
        self
    }
}

impl Bulk {
    pub const fn new(sql: &'static str, columns: usize) -> Self {
        Self { sql, columns, prepared: [const { OnceLock::new() }; LARGEST_POWER + 1] }
    }

    /// Runs the statement over all rows, in order; gives how many rows of the table it changed.
    pub fn run<'c, T>(
        &'static self,
        connection: &'c Connection,
        rows: &[T],
        bind: fn(Values<'c>, &T) -> Values<'c>,
    ) -> Result<usize, Error> {
        let mut changed = 0;
        let mut rest = rows;
        while !rest.is_empty() {
            let power = (rest.len().ilog2() as usize).min(LARGEST_POWER);
            let (chunk, others) = rest.split_at(1 << power);
            rest = others;
            let statement = connection.prepare_cached(self.text(power))?;
            let values = Values { statement, bound: 0, failed: Ok(()) };
            let Values { mut statement, failed, .. } = chunk.iter().fold(values, bind);
            failed?;
            changed += statement.raw_execute()?;
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
