//! What the demo offers beside the dashboard: scenes to be played, whose effect the pages show.

use async_trait::async_trait;

/// Something that can be done to the demo's fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scene {
    /// As the form sends it.
    pub name: &'static str,
    /// What the button says.
    pub title: &'static str,
    /// What happens then, and what the product does about it.
    pub meaning: &'static str,
    /// The page that shows it.
    pub page: &'static str,
}

/// Plays scenes.
#[async_trait]
pub trait Playground: std::fmt::Debug + Send + Sync {
    /// What can be done now.
    fn scenes(&self) -> Vec<Scene>;

    /// Does it; returns what was done.
    ///
    /// # Errors
    /// Why it was not done.
    async fn play(&self, scene: &str) -> Result<String, String>;
}
