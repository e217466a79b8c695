//! The arguments of `serve` and `token`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use axum::http::HeaderName;
use clap::{Args, ValueEnum};
use reelshift_server::PathPrefix;

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where to answer; elsewhere than on loopback tokens are needed [default: 127.0.0.1:8080]
    #[arg(long, env = "REELSHIFT_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,

    /// Who may do what: NAME:ROLE:HASH or NAME:ROLE:HASH:EXPIRY as `reelshift token` prints it;
    /// several separated by commas
    #[arg(
        long = "tokens",
        env = "REELSHIFT_TOKENS",
        hide_env_values = true,
        value_name = "TOKENS",
        value_delimiter = ','
    )]
    pub tokens: Vec<String>,

    /// A file of such tokens, a line each, as a secret is mounted
    #[arg(long, env = "REELSHIFT_TOKENS_FILE", value_name = "FILE")]
    pub tokens_file: Option<PathBuf>,

    /// A name under which browsers reach this server, besides loopback's; repeat for more
    #[arg(long = "host", env = "REELSHIFT_HOSTS", value_name = "NAME", value_delimiter = ',')]
    pub hosts: Vec<String>,

    /// A proxy whose X-Forwarded-For is believed; repeat for more
    #[arg(
        long = "trusted-proxy",
        env = "REELSHIFT_TRUSTED_PROXIES",
        value_name = "ADDRESS",
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<IpAddr>,

    /// The header in which such a proxy names the logged-in user; --operator-group names the
    /// groups that may change something
    #[arg(long, env = "REELSHIFT_USER_HEADER", value_name = "NAME", requires = "operator_groups")]
    pub user_header: Option<HeaderName>,

    /// The header in which it names the user's groups, separated by commas
    #[arg(
        long,
        env = "REELSHIFT_GROUPS_HEADER",
        value_name = "NAME",
        default_value = "x-forwarded-groups"
    )]
    pub groups_header: HeaderName,

    /// A group whose users may change something; repeat for more
    #[arg(
        long = "operator-group",
        env = "REELSHIFT_OPERATOR_GROUPS",
        value_name = "GROUP",
        value_delimiter = ',',
        requires = "user_header"
    )]
    pub operator_groups: Vec<String>,

    /// A group whose users may read; repeat for more [default: all whom the proxy has logged in]
    #[arg(
        long = "viewer-group",
        env = "REELSHIFT_VIEWER_GROUPS",
        value_name = "GROUP",
        value_delimiter = ',',
        requires = "user_header"
    )]
    pub viewer_groups: Vec<String>,

    /// The path below which a proxy shows this server: /reelshift
    #[arg(long, env = "REELSHIFT_PATH_PREFIX", value_name = "PATH")]
    pub path_prefix: Option<PathPrefix>,

    /// An origin whose pages may call the API with a token, such as `https://portal.example`;
    /// repeat for more
    #[arg(
        long = "allow-origin",
        env = "REELSHIFT_ALLOWED_ORIGINS",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub allowed_origins: Vec<String>,

    /// Answer over TLS, with the certificates in this PEM file, the server's own first
    #[arg(long, env = "REELSHIFT_TLS_CERTIFICATE", value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,

    /// The private key of that certificate, as PEM
    #[arg(long, env = "REELSHIFT_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Signs the sessions of browsers, the same for all replicas: 32 characters or more
    /// [default: one kept in reelshift.session-key beside the settings file]
    #[arg(long, env = "REELSHIFT_SESSION_KEY", hide_env_values = true, value_name = "KEY")]
    pub session_key: Option<String>,

    /// What the pages say this is: production, staging, …
    #[arg(long, env = "REELSHIFT_ENVIRONMENT", value_name = "NAME")]
    pub environment: Option<String>,

    /// Where traces are looked up: http://jaeger:16686
    #[arg(long, env = "REELSHIFT_JAEGER", value_name = "URL")]
    pub jaeger: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    /// Reads
    Viewer,
    /// Reads and changes
    Operator,
}

#[derive(Debug, Args)]
pub struct TokenArgs {
    /// Whose it is, for the record of what it changes
    #[arg(long, value_name = "NAME")]
    pub name: String,

    /// What may be done with it
    #[arg(long, value_enum, default_value = "viewer")]
    pub role: TokenRole,

    /// When it ends to be valid: 2027-01-31T12:00:00Z [default: never]
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
}
