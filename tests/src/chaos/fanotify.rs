//! Files on which whoever reads them hangs or dies, by the permission events of fanotify: the
//! kernel itself makes the reader wait for the test's answer (Linux, root).

use std::path::Path;

use nix::sys::fanotify::{
    EventFFlags, Fanotify, FanotifyResponse, InitFlags, MarkFlags, MaskFlags, Response,
};
use rustix::process::{Pid, Signal, kill_process};

/// Reads of a file that do not return until this is dropped.
#[derive(Debug)]
pub struct HangingReads {
    _group: Fanotify,
}

/// Every read of the file at `path` waits; `None` where this machine does not allow it.
#[must_use]
pub fn hang_reads(path: &Path) -> Option<HangingReads> {
    Some(HangingReads { _group: group(path, MaskFlags::FAN_ACCESS_PERM)? })
}

/// Kills whichever process opens the file at `path` (but not this one), for as long as this
/// process lives; `false` where this machine does not allow it.
#[must_use]
pub fn kill_whoever_opens(path: &Path) -> bool {
    let Some(group) = group(path, MaskFlags::FAN_OPEN_PERM) else { return false };
    std::thread::spawn(move || {
        loop {
            for event in group.read_events().expect("events of the file") {
                let opener =
                    Pid::from_raw(event.pid()).filter(|&pid| pid != rustix::process::getpid());
                if let Some(opener) = opener {
                    kill_process(opener, Signal::KILL).expect("whoever opens it is killed");
                }
                if let Some(file) = event.fd() {
                    let answer = FanotifyResponse::new(file, Response::FAN_ALLOW);
                    group.write_response(answer).expect("an answer");
                }
            }
        }
    });
    true
}

fn group(path: &Path, events: MaskFlags) -> Option<Fanotify> {
    let flags = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC;
    let group = Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC).ok()?;
    group.mark(MarkFlags::FAN_MARK_ADD, events, rustix::fs::CWD, Some(path)).ok()?;
    Some(group)
}
