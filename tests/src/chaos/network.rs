//! A network namespace, joined to this one by a cable that can be pulled (Linux, root).

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// Why there is no namespace.
const NEEDED: &str = "a network namespace needs Linux, root, and the programs ip and nsenter";

/// How long it lasts if nobody ends it: longer than any test.
const LASTS: &str = "300";

/// A namespace with one address of its own. It is that of a process, so that nothing of it
/// is left when the test is killed.
#[derive(Debug)]
pub struct Namespace {
    process: Child,
    /// The option by which `nsenter` finds it.
    option: String,
    outside: String,
    gateway: Ipv4Addr,
    address: Ipv4Addr,
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
        let process = Command::new("unshare")
            .args(["--net", "sleep", LASTS])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("{NEEDED}: {error}"))?;
        let random = Uuid::new_v4();
        // Two random numbers: tests run beside each other.
        let [a, b, ..] = *random.as_bytes();
        let at = |last| Ipv4Addr::new(10, 128 | a, b, last);
        let namespace = Self {
            option: format!("--net=/proc/{}/ns/net", process.id()),
            outside: format!("rs{}", &random.simple().to_string()[..10]),
            gateway: at(1),
            address: at(2),
            process,
        };
        namespace.is_apart()?;
        let Self { outside, gateway, address, process, .. } = &namespace;
        run(
            "ip",
            &format!("link add {outside} type veth peer name inside netns {}", process.id()),
        )?;
        run("ip", &format!("addr add {gateway}/24 dev {outside}"))?;
        run("ip", &format!("link set {outside} up"))?;
        let inside = &namespace.option;
        run("nsenter", &format!("{inside} ip addr add {address}/24 dev inside"))?;
        run("nsenter", &format!("{inside} ip link set inside up"))?;
        Ok(namespace)
    }

    /// Waits until the process has left ours.
    fn is_apart(&self) -> Result<(), String> {
        let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let ours: Option<PathBuf> = of("self");
        let began = Instant::now();
        while of(&self.process.id().to_string()) == ours {
            if began.elapsed() > Duration::from_secs(20) {
                return Err(format!("{NEEDED}: unshare --net does nothing"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The words that run a program in it.
    #[must_use]
    pub fn words(&self) -> [&str; 2] {
        ["nsenter", &self.option]
    }

    /// The words that run a program in it on a host of this name.
    #[must_use]
    pub fn words_on<'a>(&'a self, renamed: &'a str) -> [&'a str; 7] {
        let [nsenter, option] = self.words();
        [nsenter, option, "unshare", "--uts", "sh", "-c", renamed]
    }

    /// What [`words_on`](Self::words_on) is given for a host of this name.
    #[must_use]
    pub fn renamed(host: &str) -> String {
        format!("hostname {host} && exec \"$0\" \"$@\"")
    }

    /// This machine's address as seen from inside.
    #[must_use]
    pub fn gateway(&self) -> String {
        self.gateway.to_string()
    }

    /// The address of whatever runs inside.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
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
        run("ip", &format!("link set {} {state}", self.outside)).expect("the cable moves");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The namespace goes with its last process, and the pair of links with it.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn run(program: &str, arguments: &str) -> Result<(), String> {
    let output: Output = Command::new(program)
        .args(arguments.split(' '))
        .output()
        .map_err(|error| format!("{NEEDED}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{NEEDED}: {program} {arguments}: {}", said.trim()))
}
