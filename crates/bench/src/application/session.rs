//! A connection of the application, which counts the time that it waits for the database.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::query::Query;
use sqlx::{Connection, MySql, MySqlConnection};

#[derive(Debug)]
pub(super) struct Session {
    connection: MySqlConnection,
    waited: Duration,
}

impl Session {
    pub(super) async fn connect(database: &str) -> Result<Self> {
        let mut connection =
            MySqlConnection::connect(database).await.context("the application cannot connect")?;
        // The server's default, and what an ORM leaves it at.
        sqlx::raw_sql("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .execute(&mut connection)
            .await?;
        Ok(Self { connection, waited: Duration::ZERO })
    }

    /// Executes one statement; the rows that it returned.
    pub(super) async fn run(
        &mut self,
        query: Query<'_, MySql, MySqlArguments>,
    ) -> sqlx::Result<Vec<MySqlRow>> {
        let began = Instant::now();
        let rows = query.fetch_all(&mut self.connection).await;
        self.waited += began.elapsed();
        rows
    }

    /// Executes one statement that writes; whether it found a row.
    pub(super) async fn write(
        &mut self,
        query: Query<'_, MySql, MySqlArguments>,
    ) -> sqlx::Result<bool> {
        let began = Instant::now();
        let done = query.execute(&mut self.connection).await;
        self.waited += began.elapsed();
        Ok(done?.rows_affected() > 0)
    }

    pub(super) async fn begin(&mut self) -> sqlx::Result<()> {
        self.control("BEGIN").await
    }

    pub(super) async fn commit(&mut self) -> sqlx::Result<()> {
        self.control("COMMIT").await
    }

    pub(super) async fn rollback(&mut self) -> sqlx::Result<()> {
        self.control("ROLLBACK").await
    }

    async fn control(&mut self, statement: &'static str) -> sqlx::Result<()> {
        let began = Instant::now();
        let done = sqlx::raw_sql(statement).execute(&mut self.connection).await;
        self.waited += began.elapsed();
        done.map(drop)
    }

    /// How long was waited since the last call.
    pub(super) fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    pub(super) async fn close(self) -> Result<()> {
        Ok(self.connection.close().await?)
    }
}
