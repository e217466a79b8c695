//! What every route is given.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderValue;
use reelshift_rollout::{FlagCache, InitialFlags, VideoStatusReader};
use reelshift_store::SharedStore;
use reelshift_store::failures::ErrorGroup;
use reelshift_telemetry::probes::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::failures::Failures;
use crate::access::one_time::{OneTimeLogin, Unused};
use crate::access::proxy::ProxyUsers;
use crate::access::session::Sessions;
use crate::access::token::ConfiguredToken;
use crate::api::{Aged, Applications, Validations};
use crate::clock::Clock;
use crate::events::Hook;
use crate::notifications::{Hub, Settings};
use crate::pages::Made;
use crate::playground::Playground;
use crate::prefix::PathPrefix;
use crate::sampling::Overviews;

/// How handlers hold the application: axum's state.
pub type Shared = Arc<App>;

/// The settings of `serve`.
#[derive(Debug, Default)]
pub struct Options {
    /// Who may do what. Without any, whoever reaches the listener is an operator, and it
    /// must be on loopback.
    pub tokens: Vec<ConfiguredToken>,
    /// Whether the listener is on loopback.
    pub loopback: bool,
    /// Names under which browsers reach this server, besides loopback's own.
    pub hosts: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// The path below which a proxy shows this server.
    pub path_prefix: Option<PathPrefix>,
    /// Whom these proxies log in.
    pub proxy_users: Option<ProxyUsers>,
    /// Signs the sessions of browsers; the same for all replicas.
    pub session_key: Option<String>,
    /// What the pages say this is: `production`, `staging`, …
    pub environment: Option<String>,
    /// Where traces are looked up: the address of a Jaeger.
    pub jaeger: Option<String>,
    /// Origins whose pages may call the API with a token.
    pub allowed_origins: Vec<HeaderValue>,
    /// A login by a link, once.
    pub one_time_login: Option<OneTimeLogin>,
    /// What the demo offers to break.
    pub playground: Option<Arc<dyn Playground>>,
    /// How notifications are delivered.
    pub notifications: Settings,
    /// Who is told what happens to the fleet.
    pub events: Vec<Hook>,
    /// What `/metrics` shows.
    pub registry: Option<Registry>,
}

impl Options {
    /// Whether nobody has to show who they are.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.tokens.is_empty() && self.proxy_users.is_none()
    }
}

/// The application: one for a process, shared by all requests.
#[derive(Debug)]
pub struct App {
    pub store: SharedStore,
    /// The flags as this process sees them, at most about a second old.
    pub flags: Arc<FlagCache>,
    /// What flags are that nobody has set yet.
    pub initial_flags: InitialFlags,
    pub statuses: VideoStatusReader,
    pub options: Options,
    /// The overview that all viewers share.
    pub overviews: Overviews,
    /// The pages' live parts, as they were made last.
    pub(crate) made: Made,
    /// The subscribers to notifications at this replica.
    pub(crate) hub: Arc<Hub>,
    /// The database's clock, and whether the database answers.
    pub clock: Clock,
    /// Errors by cause, as they were counted last.
    pub(crate) error_groups: Aged<Vec<ErrorGroup>>,
    pub(crate) validations: Validations,
    pub(crate) applications: Applications,
    pub(crate) sessions: Sessions,
    pub(crate) one_time_login: Unused,
    pub(crate) failures: Failures,
    /// Cancelled when the server is told to stop: streams end, loops end.
    pub stop: CancellationToken,
    /// What runs beside the requests; the server waits for it when it drains.
    pub tasks: TaskTracker,
}

impl App {
    /// `by` is who stores flags that nobody has set yet, for people.
    #[must_use]
    pub fn new(
        store: SharedStore,
        initial_flags: InitialFlags,
        by: String,
        options: Options,
        stop: CancellationToken,
    ) -> Shared {
        let flags = Arc::new(FlagCache::new(store.clone(), initial_flags, by));
        let statuses = VideoStatusReader::new(store.clone(), Arc::clone(&flags));
        let tasks = TaskTracker::new();
        Arc::new(Self {
            sessions: Sessions::new(options.session_key.as_deref()),
            one_time_login: Unused::new(options.one_time_login.clone()),
            failures: Failures::default(),
            clock: Clock::default(),
            error_groups: Aged::default(),
            validations: Validations::default(),
            applications: Applications::default(),
            hub: Arc::default(),
            store,
            flags,
            initial_flags,
            statuses,
            options,
            overviews: Overviews::default(),
            made: Made::default(),
            stop,
            tasks,
        })
    }
}
