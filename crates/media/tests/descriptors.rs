//! More files than this process may have open. In a file of its own: the limit is that of
//! the whole process.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

use std::fs;
use std::ops::ControlFlow;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use reelshift_media::sha256::Backend;
use reelshift_media::{
    Checkpoint, Engine, EngineOptions, FileHash, MediaError, MediaRoot, Observer,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

struct Recorder(Sender<Result<FileHash, MediaError>>);

impl Observer for Recorder {
    fn progress(&mut self, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn checkpoint(&mut self, _: Checkpoint) {}

    fn done(&mut self, result: Result<FileHash, MediaError>) {
        self.0.send(result).unwrap();
    }
}

#[test]
fn files_beyond_the_limit_of_open_files_wait_for_others() {
    let temp = tempfile::tempdir().unwrap();
    for n in 0..200 {
        fs::write(temp.path().join(n.to_string()), vec![n as u8; 300_000]).unwrap();
    }
    let root = MediaRoot::open(temp.path()).unwrap();
    let threads = 3;
    let options = EngineOptions {
        backend: Backend::fastest(),
        threads,
        most_threads: threads,
        checkpoint_every: Duration::MAX,
        stall_timeout: Duration::MAX,
    };
    let engine = Engine::start(options).unwrap();
    let open = u64::try_from(fs::read_dir("/proc/self/fd").unwrap().count()).unwrap();
    let limit = Rlimit { current: Some(open + 10), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let (tell, told) = channel();
    engine.submit((0..200).map(|n| root.job(&n.to_string(), None, Recorder(tell.clone()))));
    drop(tell);
    for _ in 0..200 {
        let hash = told.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
        assert_eq!(hash.bytes, 300_000);
    }
}
