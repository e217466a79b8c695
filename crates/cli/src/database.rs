//! The one place that knows which adapter a URL asks for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use reelshift_store::SharedStore;
use reelshift_store::signals::Replica;
use reelshift_store_mysql::PasswordSource;

use crate::args::Global;
use crate::context::Context;
use crate::exit::Usage;
use crate::files;

/// Used without a URL, if it exists.
const DEFAULT_FILE: &str = "reelshift.db";

/// Which database, and where its password comes from.
#[derive(Default)]
pub struct DatabaseSettings {
    pub url: Option<String>,
    /// The file that the URL is from.
    pub file: Option<PathBuf>,
    pub password_command: Option<String>,
}

impl std::fmt::Debug for DatabaseSettings {
    // By hand: a URL may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseSettings").field("file", &self.file).finish_non_exhaustive()
    }
}

impl DatabaseSettings {
    /// Options and environment, else those of the settings file. A file that holds the URL is
    /// read.
    ///
    /// # Errors
    /// `Usage` when the URL is given twice, or when its file cannot be read.
    pub fn resolve(global: &Global, file: Self) -> Result<Self> {
        let url = global.database.clone().filter(|url| !url.is_empty());
        let path = global.database_file.clone().filter(|path| !path.as_os_str().is_empty());
        let command = global.password_command.clone().filter(|command| !command.is_empty());
        let given =
            if url.is_some() || path.is_some() { (url, path) } else { (file.url, file.file) };
        let password_command = command.or(file.password_command);
        let url = match &given {
            (Some(_), Some(_)) => {
                return Err(Usage(
                    "the database is given as a URL and as a file that holds one: leave DATABASE_URL \
                     (--database) or DATABASE_URL_FILE (--database-file) out"
                        .to_owned(),
                )
                .into());
            }
            (None, Some(path)) => {
                let text = files::open(path).and_then(files::text).map_err(|error| {
                    Usage(format!(
                        "the file of the database's URL, {}, cannot be read: {error}",
                        path.display()
                    ))
                })?;
                let url = text.trim();
                if !url.contains(':') || url.contains(['\n', '\0']) {
                    return Err(Usage(format!(
                        "the file of the database's URL, {}, holds no URL: its whole text must be \
                         mysql://USER:PASSWORD@HOST/DATABASE or sqlite://FILE",
                        path.display()
                    ))
                    .into());
                }
                Some(url.to_owned())
            }
            (url, None) => url.clone(),
        };
        Ok(Self { url, file: given.1, password_command })
    }

    /// Where the password comes from, where it is not the URL's.
    ///
    /// # Errors
    /// `Usage` when the command is no list of words, or when there are two sources.
    pub fn password(&self) -> Result<Option<PasswordSource>> {
        match (&self.file, &self.password_command) {
            (Some(_), Some(_)) => Err(Usage(
                "the database's password comes from the file of its URL and from a command: leave \
                 --database-file or --password-command out"
                    .to_owned(),
            )
            .into()),
            (Some(path), None) => Ok(Some(PasswordSource::UrlFile(path.clone()))),
            (None, Some(command)) => match shell_words::split(command) {
                Ok(words) if !words.is_empty() => Ok(Some(PasswordSource::Command(words))),
                _ => Err(Usage(
                    "--password-command is no program with its arguments: check its quotes"
                        .to_owned(),
                )
                .into()),
            },
            (None, None) => Ok(None),
        }
    }
}

/// The URL to use: the one given, or the default file's.
pub fn url(given: Option<&str>) -> Result<String> {
    match given {
        Some(url) => Ok(url.to_owned()),
        None if Path::new(DEFAULT_FILE).is_file() => Ok(format!("sqlite://{DEFAULT_FILE}")),
        None => Err(Usage(format!(
            "no database: give --database URL, or set DATABASE_URL or DATABASE_URL_FILE (there is no ./{DEFAULT_FILE}); \
             `reelshift demo` makes one to try"
        ))
        .into()),
    }
}

/// Opens the store at `url`, with up to `connections` connections.
pub async fn open(url: &str, connections: u32, context: &Context) -> Result<SharedStore> {
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("mysql" | "mariadb") => {
            let options = reelshift_store_mysql::ConnectOptions {
                max_connections: connections,
                allow_plaintext: context.allow_plaintext,
                application_time_zone: context.application_time_zone.clone(),
                password: context.database.password()?,
            };
            Ok(Arc::new(reelshift_store_mysql::connect(url, options).await?))
        }
        Some("sqlite")
            if context
                .database
                .password()?
                .is_some_and(|source| matches!(source, PasswordSource::Command(_))) =>
        {
            Err(Usage("an SQLite file has no password: leave --password-command out".to_owned())
                .into())
        }
        Some("sqlite") if context.application_time_zone.is_some() => Err(Usage(
            "the times of an SQLite database are in UTC: leave --application-time-zone out"
                .to_owned(),
        )
        .into()),
        Some("sqlite") => {
            let options = reelshift_store_sqlite::ConnectOptions {
                max_connections: connections,
                create: false,
            };
            Ok(Arc::new(reelshift_store_sqlite::connect(url, options).await?))
        }
        // The URL itself is not repeated: it may hold a password.
        _ => Err(Usage(
            "the database URL must begin with mysql:// (MySQL, MariaDB) or sqlite://".to_owned(),
        )
        .into()),
    }
}

/// The replica at `url`; it is not connected to yet.
pub fn replica(url: &str, allow_plaintext: bool) -> Result<Box<dyn Replica>> {
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("mysql" | "mariadb") => Ok(reelshift_store_mysql::replica(url, allow_plaintext)?),
        Some("sqlite") => {
            Err(Usage("an SQLite file has no replicas: leave --replica out".to_owned()).into())
        }
        _ => Err(Usage(
            "a replica's URL must begin with mysql:// (MySQL, MariaDB), as the database's"
                .to_owned(),
        )
        .into()),
    }
}
