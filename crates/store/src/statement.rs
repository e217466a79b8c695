//! What a statement failed with, said where the driver's error becomes one of ours: the
//! driver's own log of statements does not have it. Whoever traces statements listens.

/// Says that the statement that has just ended failed with `code`: the server's error
/// number, or what became of the connection. Never a message, which may hold values.
pub fn failed(code: &str) {
    tracing::trace!(target: "reelshift_store::statement", code, "a statement failed");
}

/// The code of a connection that broke under a statement.
pub const CONNECTION_LOST: &str = "connection_lost";
