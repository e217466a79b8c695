//! The one place that knows which adapter a URL asks for.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use reelshift_store::SharedStore;
use reelshift_store::signals::Replica;

use crate::context::Context;
use crate::exit::Usage;

/// Used without a URL, if it exists.
const DEFAULT_FILE: &str = "reelshift.db";

/// The URL to use: the one given, or the default file's.
pub fn url(given: Option<&str>) -> Result<String> {
    match given {
        Some(url) => Ok(url.to_owned()),
        None if Path::new(DEFAULT_FILE).is_file() => Ok(format!("sqlite://{DEFAULT_FILE}")),
        None => Err(Usage(format!(
            "no database: give --database URL or set DATABASE_URL (there is no ./{DEFAULT_FILE}); \
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
            };
            Ok(Arc::new(reelshift_store_mysql::connect(url, options).await?))
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
