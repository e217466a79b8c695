//! A network namespace, joined to this one by a cable that can be pulled (Linux, root).

use std::process::{Command, Output};

use uuid::Uuid;

/// Why there is no namespace.
const NEEDED: &str = "a network namespace needs Linux, root and the program `ip`";

/// A namespace with one address of its own; removed when this value goes.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    outside: String,
    /// The first three numbers of its network's addresses.
    network: String,
}

impl Namespace {
    /// Makes one; `Err` says why this machine cannot.
    ///
    /// # Errors
    /// Without the rights or the program to do it.
    pub fn make() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err(NEEDED.to_owned());
        }
        let random = Uuid::new_v4();
        let [a, b, ..] = *random.as_bytes();
        let name = format!("rs{}", &random.simple().to_string()[..8]);
        // Two random numbers: tests run beside each other.
        let namespace =
            Self { outside: format!("{name}o"), network: format!("10.{}.{b}", 128 | a), name };
        let (name, outside, network) = (&namespace.name, &namespace.outside, &namespace.network);
        for arguments in [
            format!("netns add {name}"),
            format!("link add {outside} type veth peer name inside netns {name}"),
            format!("addr add {network}.1/24 dev {outside}"),
            format!("-n {name} addr add {network}.2/24 dev inside"),
            format!("-n {name} link set inside up"),
            format!("link set {outside} up"),
        ] {
            let output = ip(&arguments).map_err(|error| format!("{NEEDED}: {error}"))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(format!("{NEEDED}: ip {arguments}: {}", said.trim()));
            }
        }
        Ok(namespace)
    }

    /// The words that run a program in it.
    #[must_use]
    pub fn words(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// This machine's address as seen from inside.
    #[must_use]
    pub fn gateway(&self) -> String {
        format!("{}.1", self.network)
    }

    /// The address of whatever runs inside.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}.2", self.network)
    }

    /// Pulls the cable: what is sent is lost, and nobody is told.
    pub fn cut(&self) {
        self.link("down");
    }

    /// Plugs it in again.
    pub fn heal(&self) {
        self.link("up");
    }

    fn link(&self, state: &str) {
        let output = ip(&format!("link set {} {state}", self.outside)).expect("ip runs");
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The pair of links goes with the namespace, or was never made.
        ip(&format!("netns delete {}", self.name)).ok();
    }
}

fn ip(arguments: &str) -> std::io::Result<Output> {
    Command::new("ip").args(arguments.split(' ')).output()
}
