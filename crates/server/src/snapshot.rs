//! What all viewers look at, read once for all of them.

use crate::app::Shared;

/// Starts what works beside the requests, among `app.tasks`, until `app.stop`.
pub(crate) fn start(_app: &Shared) {}
