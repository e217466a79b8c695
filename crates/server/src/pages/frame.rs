//! What is around every page: title, navigation, who looks, how old the figures are.

use reelshift_store::StoreError;

use super::assets;
use super::flash::Flash;
use crate::access::Principal;
use crate::app::Shared;
use crate::sampling::Latest;

/// Figures that are older than this are greyed out, and say so.
pub(crate) const STALE_SECONDS: u64 = 10;

/// The pages that the navigation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Page {
    Overview,
    Runs,
    Failures,
    Workers,
    Controls,
    Activity,
}

impl Page {
    pub(crate) const ALL: [Self; 6] =
        [Self::Overview, Self::Runs, Self::Failures, Self::Workers, Self::Controls, Self::Activity];

    /// For templates, which know no paths.
    #[expect(clippy::unused_self, reason = "templates call methods of values")]
    pub(crate) const fn all(self) -> [Self; 6] {
        Self::ALL
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Runs => "Runs",
            Self::Failures => "Failures",
            Self::Workers => "Workers",
            Self::Controls => "Controls",
            Self::Activity => "Activity",
        }
    }

    /// As its stream is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Runs => "runs",
            Self::Failures => "failures",
            Self::Workers => "workers",
            Self::Controls => "controls",
            Self::Activity => "activity",
        }
    }

    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Runs => "/runs",
            Self::Failures => "/failures",
            Self::Workers => "/workers",
            Self::Controls => "/controls",
            Self::Activity => "/activity",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|page| page.name() == name)
    }
}

/// What is around a page.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub title: String,
    pub page: Page,
    /// The page's own address: where its forms come back to.
    pub here: String,
    pub environment: Option<String>,
    /// Its name; of a file, the whole path.
    pub database: String,
    pub name: String,
    pub role: String,
    pub operates: bool,
    pub csrf: String,
    /// Whether there is somebody to log out.
    pub signed_in: bool,
    /// Whether this is the demo, which has a page of its own.
    pub demo: bool,
    pub flash: Option<Flash>,
    /// Seconds since the figures were read.
    pub age: u64,
    pub paused: bool,
    /// Why there are no newer figures.
    pub trouble: Option<String>,
}

impl Frame {
    /// Around `page`, which is at `here`.
    pub(crate) fn new(app: &Shared, who: &Principal, page: Page, here: &str) -> Self {
        Self {
            title: page.title().to_owned(),
            page,
            here: here.to_owned(),
            environment: app.options.environment.clone(),
            database: app.store.address().namespace,
            name: who.name.clone(),
            role: if who.operates() { "operator" } else { "viewer" }.to_owned(),
            operates: who.operates(),
            csrf: who.csrf.clone(),
            signed_in: who.admission.session.is_some(),
            demo: app.options.playground.is_some(),
            flash: None,
            age: 0,
            paused: false,
            trouble: None,
        }
    }

    /// As the header has room for: of a file, its name.
    pub(crate) fn database_name(&self) -> &str {
        self.database.rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn titled(self, title: impl Into<String>) -> Self {
        Self { title: title.into(), ..self }
    }

    pub(crate) fn showing(self, flash: Option<Flash>) -> Self {
        Self { flash, ..self }
    }

    pub(crate) fn over(self, latest: &Latest) -> Self {
        Self {
            age: latest.age().as_secs(),
            paused: latest.overview.paused(),
            trouble: latest.trouble.clone(),
            ..self
        }
    }

    /// Classes of the whole page.
    pub(crate) fn classes(&self) -> String {
        let paused = if self.paused { "is-paused" } else { "" };
        let stale = if self.is_stale() { "stale" } else { "" };
        format!("{paused} {stale}").trim().to_owned()
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.age > STALE_SECONDS || self.trouble.is_some()
    }

    pub(crate) fn stale_note(&self) -> String {
        let why = self.trouble.as_deref().unwrap_or("nothing newer has come from the database");
        format!("These figures are {} s old: {why}.", self.age)
    }

    #[expect(clippy::unused_self, reason = "templates call methods of values")]
    pub(crate) fn css(&self) -> String {
        assets::address("reelshift.css")
    }

    #[expect(clippy::unused_self, reason = "templates call methods of values")]
    pub(crate) fn js(&self) -> String {
        assets::address("reelshift.js")
    }
}

/// An error of the store, for people, in a form that leaks no statement.
pub(crate) fn said(error: &StoreError) -> String {
    error.to_string()
}
