//! A password that changes while the process works: read from a file, or asked of a command,
//! again and again. Connections that are made from then on use it; those that are open stay.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reelshift_store::StoreError;
use sqlx::MySqlPool;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use tokio::process::Command;
use tokio::sync::Notify;

use crate::connection::options;
use crate::database_url::invalid_url;

/// Between two reads of the file.
const FILE_INTERVAL: Duration = Duration::from_secs(1);
/// Between two runs of the command: what cloud providers issue is valid for 15 minutes.
const COMMAND_INTERVAL: Duration = Duration::from_secs(60);
/// After a refusal the next password is looked for this soon.
const REFUSED_INTERVAL: Duration = Duration::from_secs(1);
/// A command that has not printed anything by then has failed.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether this process can get another password, so that a refusal is not the end. A process
/// works on one database.
static RENEWABLE: AtomicBool = AtomicBool::new(false);
static REFUSED: Notify = Notify::const_new();

/// Where the password comes from, other than from the URL that is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// A file that holds the whole URL, as a secret is mounted.
    UrlFile(PathBuf),
    /// A program and its arguments; it prints the password of the URL's user.
    Command(Vec<String>),
}

impl PasswordSource {
    /// The URL, or the password.
    ///
    /// # Errors
    /// `Invalid`, with no part of what was read or printed.
    pub async fn read(&self) -> Result<String, StoreError> {
        match self {
            Self::UrlFile(path) => tokio::fs::read_to_string(path)
                .await
                .map(|text| text.trim().to_owned())
                .map_err(|error| {
                    invalid_url(&format!("its file {} cannot be read: {error}", path.display()))
                }),
            Self::Command(words) => run(words).await,
        }
    }

    /// How to connect with what was read.
    pub(crate) fn options(
        &self,
        url: &str,
        secret: &str,
        allow_plaintext: bool,
    ) -> Result<MySqlConnectOptions, StoreError> {
        match self {
            Self::UrlFile(_) => options(secret, allow_plaintext),
            Self::Command(_) => {
                let options = options(url, allow_plaintext)?.password(secret);
                // Tokens of cloud providers are sent as they are, within TLS only.
                let encrypted = !matches!(
                    options.get_ssl_mode(),
                    MySqlSslMode::Disabled | MySqlSslMode::Preferred
                );
                Ok(options.enable_cleartext_plugin(encrypted))
            }
        }
    }

    const fn interval(&self) -> Duration {
        match self {
            Self::UrlFile(_) => FILE_INTERVAL,
            Self::Command(_) => COMMAND_INTERVAL,
        }
    }
}

async fn run(words: &[String]) -> Result<String, StoreError> {
    let failed = |why: String| StoreError::Invalid(format!("the password command {why}"));
    let [program, arguments @ ..] = words else { return Err(failed("is empty".to_owned())) };
    let mut command = Command::new(program);
    // What it complains of may hold a secret.
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(COMMAND_TIMEOUT, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(failed(format!("cannot be started: {error}"))),
        Err(_) => {
            return Err(failed(format!(
                "did not end within {} s: run it by hand",
                COMMAND_TIMEOUT.as_secs()
            )));
        }
    };
    if !output.status.success() {
        return Err(failed(format!("failed ({}): run it by hand", output.status)));
    }
    let printed = String::from_utf8(output.stdout)
        .map_err(|_| failed("printed something that is not text".to_owned()))?;
    let password = printed.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(failed("printed nothing".to_owned()));
    }
    Ok(password.to_owned())
}

/// Looks for another password for the rest of the process, as which `pool` connects then.
/// `secret` is what was read before.
pub(crate) fn renew(
    pool: MySqlPool,
    source: PasswordSource,
    url: String,
    mut secret: String,
    allow_plaintext: bool,
) {
    RENEWABLE.store(true, Ordering::Relaxed);
    tokio::spawn(async move {
        let mut failing = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(source.interval()) => {}
                () = REFUSED.notified() => tokio::time::sleep(REFUSED_INTERVAL).await,
            }
            let renewed = source.read().await.and_then(|new| {
                if new != secret {
                    pool.set_connect_options(source.options(&url, &new, allow_plaintext)?);
                    tracing::info!("the database's password was renewed");
                    secret = new;
                }
                Ok(())
            });
            match renewed {
                Err(error) if !failing => {
                    tracing::warn!(%error, "the database's password could not be renewed");
                    failing = true;
                }
                renewed => failing = renewed.is_err(),
            }
        }
    });
}

/// The server refused the password. Whether another may come, which is then looked for.
pub(crate) fn may_be_renewed() -> bool {
    let renewable = RENEWABLE.load(Ordering::Relaxed);
    if renewable {
        REFUSED.notify_one();
    }
    renewable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> PasswordSource {
        PasswordSource::Command(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[tokio::test]
    async fn a_command_prints_the_password() {
        let read = command(&["printf", "p@ss/word\\n"]).read().await;
        assert_eq!(read.expect("a password"), "p@ss/word");
        for (words, says) in [
            (&["false"][..], "failed (exit status: 1)"),
            (&["true"], "printed nothing"),
            (&["/no/such/program"], "cannot be started"),
            (&[], "is empty"),
        ] {
            let error = command(words).read().await.expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[tokio::test]
    async fn a_file_holds_the_url() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("url");
        let source = PasswordSource::UrlFile(path.clone());
        let error = source.read().await.expect_err("there is none").to_string();
        assert!(error.contains("cannot be read"), "{error}");
        std::fs::write(&path, "mysql://u:secret@localhost/v\n").expect("a file");
        let url = source.read().await.expect("it is read");
        assert_eq!(url, "mysql://u:secret@localhost/v");
        let options = source.options("", &url, false).expect("a URL");
        assert_eq!(options.get_database(), Some("v"));
    }
}
