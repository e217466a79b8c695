//! The arguments of `serve` and `token`.

use std::net::SocketAddr;

use clap::Args;

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where to answer; elsewhere than on loopback tokens are needed
    #[arg(
        long,
        env = "REELSHIFT_LISTEN",
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS:PORT"
    )]
    pub listen: SocketAddr,
}
