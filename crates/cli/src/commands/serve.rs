//! `serve`: the API, the dashboard and notifications, until told to stop.

mod session_key;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result};
use reelshift_server::{App, ConfiguredToken, Options, PathPrefix, ProxyUsers};
use reelshift_store::schema;
use reelshift_telemetry::tls::{self, TlsAcceptor};
use session_key::MIN_KEY_BYTES;
use tokio::net::TcpListener;

use crate::args::serve::ServeArgs;
use crate::commands::flags;
use crate::config::{ConfiguredServe, events};
use crate::context::{Context, who};
use crate::exit::{Outcome, Refused, Usage};
use crate::files;

/// Connections to the database: requests wait for one, so that the platform's application
/// finds the server free.
const CONNECTIONS: u32 = 16;
/// Where to answer unless told otherwise: whoever is on this machine.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

pub async fn run(context: &Context, args: &ServeArgs) -> Result<Outcome> {
    let file = &context.serve;
    let listen = args.listen.or(file.listen).unwrap_or(LISTEN);
    let options = options(context, args, listen)?;
    let open = options.is_open();
    let sessions_are_kept = options.session_key.is_some();
    if open && !options.loopback {
        return Err(Refused(format!(
            "--listen {listen} can be reached from elsewhere, and no tokens are configured: make one \
             with `reelshift token --name NAME --role operator`, or listen on 127.0.0.1"
        ))
        .into());
    }
    if open && !(options.hosts.is_empty() && options.trusted_proxies.is_empty()) {
        return Err(Refused(
            "--host and --trusted-proxy say that this server is reached through a proxy, from \
             elsewhere, and no tokens are configured: make one with `reelshift token --name NAME \
             --role operator`, or leave both options out"
                .to_owned(),
        )
        .into());
    }
    if options.proxy_users.is_some() && options.trusted_proxies.is_empty() {
        return Err(Refused(
            "--user-header is believed of trusted proxies only, and none is named: add \
             --trusted-proxy ADDRESS"
                .to_owned(),
        )
        .into());
    }
    let tls = tls(args, file)?;
    // Before expand too: the pages then say that the migration has not begun.
    let store = context.store_with(CONNECTIONS).await?;
    store.check_legacy().await?;
    store.check_writable().await?;
    schema::require_known_steps(&*store).await?;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("--listen {listen}: nothing can listen there"))?;
    let address = listener.local_addr()?;
    let app = App::new(store, flags::environment(), who(), options, context.stop.clone());
    let scheme = if tls.is_some() { "https" } else { "http" };
    crate::output::say!("listening on {scheme}://{address}");
    if open {
        crate::output::say!(
            "no tokens are configured: whoever is on this machine may change everything"
        );
    }
    if !open && !sessions_are_kept {
        crate::output::say!(
            "a restart will log all browsers out: to prevent that set REELSHIFT_SESSION_KEY, or \
             keep reelshift.toml in a directory that this user may write"
        );
    }
    reelshift_server::serve(app, listener, tls).await;
    tracing::info!("the server has stopped");
    Ok(Outcome::Done)
}

/// The path of the options, the environment or the file.
fn path_prefix(args: &ServeArgs, file: &ConfiguredServe) -> Result<Option<PathPrefix>, Usage> {
    let of_file = || file.path_prefix.as_deref().map(str::parse).transpose();
    match args.path_prefix.clone() {
        Some(prefix) => Ok(Some(prefix)),
        None => of_file().map_err(|wrong| Usage(format!("serve.path_prefix: {wrong}"))),
    }
}

/// Where links to traces lead, of the options, the environment or the file.
fn jaeger(args: &ServeArgs, file: &ConfiguredServe) -> Result<Option<String>, Usage> {
    let url = args.jaeger.clone().or_else(|| file.jaeger.clone());
    let is_web = |url: &String| url.starts_with("http://") || url.starts_with("https://");
    match url.filter(|url| !url.is_empty()) {
        Some(url) if !is_web(&url) => {
            Err(Usage("--jaeger: give the address of its pages, http://jaeger:16686".to_owned()))
        }
        url => Ok(url),
    }
}

/// The certificate of the options, the environment or the file.
fn tls(args: &ServeArgs, file: &ConfiguredServe) -> Result<Option<TlsAcceptor>, Usage> {
    let certificate = args.tls_certificate.as_ref().or(file.tls_certificate.as_ref());
    let key = args.tls_key.as_ref().or(file.tls_key.as_ref());
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            tls::acceptor(certificate, key).map(Some).map_err(|error| Usage(error.to_string()))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(Usage("a certificate needs its key: add --tls-key FILE".to_owned())),
        (None, Some(_)) => {
            Err(Usage("a key needs its certificate: add --tls-certificate FILE".to_owned()))
        }
    }
}

/// Options, environment and file, the first that says something.
fn options(context: &Context, args: &ServeArgs, listen: SocketAddr) -> Result<Options> {
    let file = &context.serve;
    let tokens = tokens(args, file)?;
    let either = |given: &[String], file: &[String]| {
        let given: Vec<_> = given.iter().filter(|one| !one.is_empty()).cloned().collect();
        if given.is_empty() { file.to_vec() } else { given }
    };
    Ok(Options {
        session_key: if tokens.is_empty() && args.user_header.is_none() {
            None
        } else {
            session_key(args, file)?
        },
        proxy_users: args.user_header.clone().map(|user_header| ProxyUsers {
            user_header,
            groups_header: args.groups_header.clone(),
            operator_groups: args.operator_groups.clone(),
            viewer_groups: args.viewer_groups.clone(),
        }),
        tokens,
        loopback: listen.ip().is_loopback(),
        hosts: either(&args.hosts, &file.hosts)
            .into_iter()
            .map(|name| match url::Host::parse(&name) {
                Ok(_) => Ok(name),
                Err(_) => Err(Usage(format!(
                    "--host {name:?} is no name of a host: give it alone, as reelshift.example, \
                     without scheme, port and path"
                ))),
            })
            .collect::<Result<_, _>>()?,
        trusted_proxies: if args.trusted_proxies.is_empty() {
            file.trusted_proxies.clone()
        } else {
            args.trusted_proxies.clone()
        },
        path_prefix: path_prefix(args, file)?,
        allowed_origins: either(&args.allowed_origins, &file.allowed_origins)
            .iter()
            .map(|origin| reelshift_server::origin(origin).map_err(Usage))
            .collect::<Result<_, _>>()?,
        environment: args.environment.clone().or_else(|| file.environment.clone()),
        jaeger: jaeger(args, file)?,
        registry: context.process.registry.clone(),
        notifications: context.notifications.settings(context.allow_plaintext)?,
        events: events::hooks(&context.events, context.allow_plaintext)?,
        one_time_login: None,
        playground: None,
    })
}

/// The key that signs sessions: of the environment, or kept beside the file.
fn session_key(args: &ServeArgs, file: &ConfiguredServe) -> Result<Option<String>> {
    match args.session_key.as_deref().map(str::trim).filter(|key| !key.is_empty()) {
        Some(key) if key.len() < MIN_KEY_BYTES => Err(Usage(format!(
            "REELSHIFT_SESSION_KEY is too short: give {MIN_KEY_BYTES} random characters or more"
        ))
        .into()),
        Some(key) => Ok(Some(key.to_owned())),
        None => file.directory.as_deref().map_or(Ok(None), session_key::kept_in),
    }
}

/// The tokens of the environment, of a mounted file and of the settings together.
fn tokens(args: &ServeArgs, file: &ConfiguredServe) -> Result<Vec<ConfiguredToken>, Usage> {
    let mut tokens: Vec<ConfiguredToken> = Vec::new();
    let given = || args.tokens.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
    // A secret that did not arrive must not open the server to everybody.
    if !args.tokens.is_empty() && given().next().is_none() {
        return Err(Usage(
            "REELSHIFT_TOKENS is set and names no token: give NAME:ROLE:HASH as `reelshift token` \
             prints it, or unset it"
                .to_owned(),
        ));
    }
    for text in given() {
        // The text is not repeated: somebody may have put a token where its hash belongs.
        let token = text.parse().map_err(|error| {
            Usage(format!("token {} of REELSHIFT_TOKENS: {error}", tokens.len() + 1))
        })?;
        tokens.push(token);
    }
    if let Some(path) = &args.tokens_file {
        tokens.extend(tokens_of_file(path)?);
    }
    for token in &file.tokens {
        let (name, expires) = (&token.name, token.expires.as_deref());
        let token = ConfiguredToken::of(name, &token.role, &token.hash, expires)
            .map_err(|error| Usage(format!("the token of {name}: {error}")))?;
        tokens.push(token);
    }
    for (index, token) in tokens.iter().enumerate() {
        if tokens[..index].iter().any(|other| other.name == token.name) {
            return Err(Usage(format!(
                "two tokens have the name {}: the record could not tell them apart",
                token.name
            )));
        }
    }
    Ok(tokens)
}

/// The tokens of a mounted secret, a line each.
fn tokens_of_file(path: &Path) -> Result<Vec<ConfiguredToken>, Usage> {
    let text = files::open(path).and_then(files::text).map_err(|error| {
        Usage(format!("--tokens-file {} cannot be read: {error}", path.display()))
    })?;
    let lines = text.lines().map(str::trim).enumerate();
    let tokens = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let tokens = tokens
        .map(|(index, line)| {
            line.parse().map_err(|error| {
                Usage(format!("--tokens-file {}, line {}: {error}", path.display(), index + 1))
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if tokens.is_empty() {
        return Err(Usage(format!("--tokens-file {} names no token", path.display())));
    }
    Ok(tokens)
}
