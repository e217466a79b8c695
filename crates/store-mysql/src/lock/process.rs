//! Which process holds the lock, so that another one of the same machine sees at once that it
//! is dead. Where the system has no `/proc`, and from another machine or container, nothing is
//! known.

use std::fs;

/// A process of this machine: the machine's start, the namespace of its number, its number, its
/// start. No other process ever has the same.
pub(super) fn this() -> Option<String> {
    let number = std::process::id();
    Some(format!("{} {number} {}", namespace()?, start(number)?))
}

/// Whether `process` is known to be dead.
pub(super) fn is_dead(process: &str) -> bool {
    let mut words = process.rsplitn(3, ' ');
    let (Some(began), Some(number), Some(of)) = (words.next(), words.next(), words.next()) else {
        return false;
    };
    let Some(number) = number.parse().ok().filter(|_| namespace().as_deref() == Some(of)) else {
        return false;
    };
    start(number).is_none_or(|now| now != began)
}

fn namespace() -> Option<String> {
    let machine = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let numbers = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", machine.trim(), numbers.display()))
}

/// When the process of that number began, in ticks since the machine's start; `None` where there
/// is none, or where it is a zombie.
fn start(number: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // Behind the name, which may hold anything: the state, and 18 fields on the start.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_here_can_be_known_to_be_dead() {
        let me = this().expect("there is /proc");
        assert!(!is_dead(&me), "{me}");
        let (rest, began) = me.rsplit_once(' ').expect("words");
        assert!(is_dead(&format!("{rest} {began}0")), "its number is another's now");
        let mut child = std::process::Command::new("true").spawn().expect("it starts");
        let number = child.id();
        child.wait().expect("it ends");
        let (namespace, _) = rest.rsplit_once(' ').expect("words");
        assert!(is_dead(&format!("{namespace} {number} 1")));
        for other in [format!("elsewhere {number} 1"), String::new(), "x".to_owned()] {
            assert!(!is_dead(&other), "{other}");
        }
    }
}
