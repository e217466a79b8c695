//! Opening the store: the pool, its sessions, and connections for one purpose.

mod one_server;
mod unused;

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use log::LevelFilter;
use reelshift_store::StoreError;
use reelshift_store::clock::ClockWatch;
use reelshift_store::schema::Step;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection, Executor, MySqlConnection, MySqlPool};
use tokio::sync::OnceCell;

use crate::application_time::TimeZone;
use crate::contact::Contact;
use crate::credentials::{self, PasswordSource};
use crate::database_url::check_files;
use crate::deadline;
use crate::error::{Error, Result, is_refused_password, number};
use crate::legacy::VideosTable;
use crate::presence::Presences;
use crate::schema::shipped_steps;
use crate::server::Server;
use crate::session::{self, IdleTime};
use crate::tls;
use unused::ClosesUnused;

/// How long a connection may take to be made, or to become free.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a session is opened at most, where a cluster ends the first statement of each.
const OPENINGS: u32 = 3;

/// A connection idle for this long is not used again: the server closes it at about that
/// time, and may do so while the next statement is on its way.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// How a store connects.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Connections that this process opens at most, besides one for a schema change.
    pub max_connections: u32,
    /// Speaks to a server elsewhere without TLS where the URL does not ask for it, or asks
    /// for none.
    pub allow_plaintext: bool,
    /// The time zone of the application's DATETIME columns, where it is not the one that the
    /// server gives a session: `+01:00`, `Europe/Berlin`.
    pub application_time_zone: Option<String>,
    /// Where the password comes from, where it is not the URL's.
    pub password: Option<PasswordSource>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            max_connections: 8,
            allow_plaintext: false,
            application_time_zone: None,
            password: None,
        }
    }
}

/// The storage port on one MySQL or MariaDB database. Clones share one pool.
#[derive(Clone)]
pub struct MySqlStore {
    pub(crate) pool: MySqlPool,
    /// Where it leads; the password in it is the first one.
    options: MySqlConnectOptions,
    pub(crate) server: Server,
    /// The one given.
    pub(crate) application_time_zone: Option<TimeZone>,
    /// What the server gives a session that sets none.
    pub(crate) session_time_zone: String,
    legacy: Arc<OnceCell<VideosTable>>,
    /// Whether the server has `innodb_snapshot_isolation`.
    snapshot_isolation: bool,
    pub(crate) steps: Arc<[Step]>,
    pub(crate) contact: Arc<Contact>,
    pub(crate) clock: Arc<ClockWatch>,
    pub(crate) presences: Arc<Presences>,
    /// Ends with the last clone.
    _unused: Arc<ClosesUnused>,
}

impl std::fmt::Debug for MySqlStore {
    // By hand, since the driver's options print the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MySqlStore")
            .field("database", &place(&self.options))
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Opens the database that `url` names: `mysql://USER:PASSWORD@HOST:PORT/DATABASE`, with
/// `?ssl-mode=` and `ssl-ca=` as [`tls`] reads them.
///
/// # Errors
/// `Invalid` when the URL is malformed, names no database or an unknown one, or its user
/// is refused; `Refused` when it leads elsewhere without TLS, or to a proxy that moves reads to
/// another server; `Transient` when the server cannot be reached. No message holds a password.
pub async fn connect(url: &str, options: ConnectOptions) -> Result<MySqlStore, StoreError> {
    let (connect_options, secret) = match &options.password {
        None => (self::options(url, options.allow_plaintext)?, String::new()),
        Some(source) => {
            let secret = source.read().await?;
            (source.options(url, &secret, options.allow_plaintext)?, secret)
        }
    };
    let application_time_zone =
        options.application_time_zone.as_deref().map(TimeZone::parse).transpose()?;
    // One connection by itself first: the pool would retry a server that is down until
    // its timeout and then not say why.
    let mut probe = open(&connect_options).await?;
    let (version, session_time_zone, clock): (String, String, f64) = sqlx::query_as(
        "SELECT VERSION(), CAST(@@session.time_zone AS CHAR), UNIX_TIMESTAMP(NOW(6)) + 0e0",
    )
    .fetch_one(&mut probe)
    .await
    .map_err(Error::from)?;
    let settings = session::settings(IdleTime::Short, false);
    probe.execute(AssertSqlSafe(settings)).await.map_err(Error::from)?;
    let snapshot_isolation = sqlx::query("SHOW VARIABLES LIKE 'innodb_snapshot_isolation'")
        .fetch_optional(&mut probe)
        .await
        .map_err(Error::from)?
        .is_some();
    one_server::require_one_server(&mut probe, &place(&connect_options)).await?;
    probe.close().await.map_err(Error::from)?;
    let server = Server::parse(&version);
    let settings: Arc<str> = session::settings(IdleTime::Short, snapshot_isolation).into();
    let pool = MySqlPoolOptions::new()
        .max_connections(options.max_connections.max(1))
        .acquire_timeout(CONNECT_TIMEOUT)
        // Neither of them: the pool's task that would see to it can spin for ever with a
        // thread of the runtime (sqlx 0.9.0, issue 3645).
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .before_acquire(|connection, state| {
            Box::pin(async move {
                Ok(state.idle_for < IDLE_TIMEOUT && deadline::answers(connection).await?)
            })
        })
        // A connection that the server has ended is not kept, which is nothing to report.
        .after_release(|connection, _| {
            Box::pin(async { Ok(deadline::answers(connection).await.unwrap_or(false)) })
        })
        .after_connect(move |connection, _| {
            let settings = Arc::clone(&settings);
            Box::pin(async move {
                connection.execute(AssertSqlSafe(settings)).await?;
                Ok(())
            })
        })
        .connect_lazy_with(connect_options.clone());
    if let Some(source) = options.password {
        credentials::renew(pool.clone(), source, url.to_owned(), secret, options.allow_plaintext);
    }
    Ok(MySqlStore {
        _unused: unused::close_unused(pool.clone()),
        pool,
        options: connect_options,
        server,
        application_time_zone,
        session_time_zone,
        legacy: Arc::default(),
        snapshot_isolation,
        steps: shipped_steps().into(),
        contact: Arc::new(Contact::begin()),
        clock: Arc::new(ClockWatch::begin(clock)),
        presences: Arc::default(),
    })
}

/// How to connect to the server that `url` names.
pub(crate) fn options(url: &str, allow_plaintext: bool) -> Result<MySqlConnectOptions, StoreError> {
    let options = tls::secured(url, allow_plaintext)?;
    check_files(url)?;
    // For the spans of a trace: nobody else hears them at this level.
    Ok(options
        .log_statements(LevelFilter::Debug)
        .log_slow_statements(LevelFilter::Debug, CONNECT_TIMEOUT))
}

impl MySqlStore {
    /// The legacy table, read once: its columns do not change while a process works.
    pub(crate) async fn legacy(&self) -> Result<&VideosTable> {
        self.legacy
            .get_or_try_init(async || {
                VideosTable::read(self, &mut *self.pool.acquire().await?).await
            })
            .await
    }

    pub(crate) const fn options(&self) -> &MySqlConnectOptions {
        &self.options
    }

    /// The server's name for people.
    pub(crate) fn host(&self) -> String {
        server_of(&self.options)
    }

    /// A connection of its own, outside the pool, that may be idle for a long time.
    pub(crate) async fn dedicated_connection(&self) -> Result<MySqlConnection> {
        let mut connection = open(&self.pool.connect_options()).await?;
        let settings = session::settings(IdleTime::Long, self.snapshot_isolation);
        connection.execute(AssertSqlSafe(settings)).await?;
        Ok(connection)
    }
}

/// Opens a session. A node of a cluster may end its first statement in place of one of a session
/// that is gone (1213): another is opened then.
async fn open(options: &MySqlConnectOptions) -> Result<MySqlConnection, StoreError> {
    let opened = async {
        for _ in 1..OPENINGS {
            let mut connection = options.connect().await?;
            match connection.execute("DO 0").await {
                Err(error) if number(&error) == Some(1213) => {}
                done => return done.map(|_| connection),
            }
        }
        options.connect().await
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, opened).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(explain(options, error)),
        Err(_) => Err(StoreError::Transient {
            code: None,
            message: format!(
                "{} did not answer within {} s: check host, port and firewall",
                place(options),
                CONNECT_TIMEOUT.as_secs()
            ),
        }),
    }
}

fn explain(options: &MySqlConnectOptions, error: sqlx::Error) -> StoreError {
    let place = place(options);
    let user = options.get_username();
    match (number(&error), &error) {
        // One that may be renewed is waited for, as everywhere.
        (Some(number), _) if is_refused_password(number) && !credentials::may_be_renewed() => {
            StoreError::Invalid(format!(
                "{place} refuses user `{user}`: check the user and the password in the URL, and that \
             the user may connect from this host"
            ))
        }
        (Some(1044), _) => StoreError::Invalid(format!(
            "{place}: user `{user}` has no right to this database: grant it, or use another user"
        )),
        (Some(1049), _) => StoreError::Invalid(format!(
            "{place}: the server has no such database: check the name after the last / of the URL"
        )),
        // How a handshake ends that does not find what it checks.
        (_, sqlx::Error::Io(io)) if io.kind() == std::io::ErrorKind::InvalidData => {
            tls::refused(options, io)
        }
        (_, sqlx::Error::Io(io)) => StoreError::Transient {
            code: io.raw_os_error().map(|errno| format!("errno {errno}")),
            message: format!(
                "{place} cannot be reached ({io}): check that the server runs, and host and port"
            ),
        },
        (_, sqlx::Error::Tls(why)) => tls::refused(options, why.as_ref()),
        _ => match StoreError::from(Error::from(error)) {
            StoreError::Transient { code, message } => {
                StoreError::Transient { code, message: format!("{place}: {message}") }
            }
            StoreError::Permanent { code, message } => {
                StoreError::Permanent { code, message: format!("{place}: {message}") }
            }
            other => other,
        },
    }
}

/// Where a connection leads, without its password.
pub(crate) fn place(options: &MySqlConnectOptions) -> String {
    format!("{}/{}", server_of(options), options.get_database().unwrap_or_default())
}

/// The server that a connection leads to.
pub(crate) fn server_of(options: &MySqlConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => {
            let (host, port) = (options.get_host(), options.get_port());
            match host.parse::<Ipv6Addr>() {
                Ok(address) => format!("[{address}]:{port}"),
                Err(_) => format!("{host}:{port}"),
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod scratch;

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    #[test]
    fn no_password_is_printed() {
        let options =
            MySqlConnectOptions::from_str("mysql://app:secret@db:3307/videos").expect("a URL");
        assert_eq!(place(&options), "db:3307/videos");
        let ipv6 = MySqlConnectOptions::new().host("::1").port(3306).database("videos");
        assert_eq!(place(&ipv6), "[::1]:3306/videos");
        let error = explain(&options, sqlx::Error::Io(std::io::Error::from_raw_os_error(111)));
        assert!(error.is_transient());
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[tokio::test]
    async fn a_url_without_a_database_is_invalid() {
        for url in ["mysql://app:secret@localhost", "mysql://app:secret@:not a url"] {
            let error = connect(url, ConnectOptions::default()).await.expect_err("not usable");
            assert!(matches!(error, StoreError::Invalid(_)), "{error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
