//! What the tests of notifications need: replicas of the server, subscribers, and a receiver
//! of webhooks. None of it shares code with the product.

mod receiver;
mod replica;
mod subscriber;

pub use receiver::{Posted, Receiver};
pub use replica::Replica;
pub use subscriber::{Received, Subscriber};
