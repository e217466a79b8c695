//! The request that a process is answering: its id is in every line that is logged meanwhile.

use std::sync::Arc;

tokio::task_local! {
    static ID: Arc<str>;
}

/// Does `work` for the request with this id.
pub async fn with_id<T>(id: Arc<str>, work: impl Future<Output = T>) -> T {
    ID.scope(id, work).await
}

/// The id of the request that is being answered.
#[must_use]
pub fn id() -> Option<Arc<str>> {
    ID.try_with(Arc::clone).ok()
}

/// `work` for the same request, wherever it is done.
pub fn carried<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let id = id();
    async move {
        match id {
            Some(id) => with_id(id, work).await,
            None => work.await,
        }
    }
}
