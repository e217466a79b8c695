//! `demo --open`: the fleet and the dashboard stay, a link logs in once, and the demo's page
//! breaks things.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reelshift_tests::http::{Answer, Request, csrf};
use reelshift_tests::{Legacy, Reelshift, until_within, wait};

/// A demo is made, migrated and validated first.
const MADE: Duration = Duration::from_secs(240);

fn log(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The address and the path of the link that was printed.
fn link(log: &str) -> Option<(SocketAddr, String)> {
    let link = log.split("http://").find(|part| part.contains("/login/once/"))?;
    let link = link.split_whitespace().next()?;
    let (address, path) = link.split_once('/')?;
    let code: String =
        path.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_/".contains(*c)).collect();
    Some((address.parse().ok()?, format!("/{code}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_stays_open_and_can_be_broken() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("demo.log");
    let arguments = ["demo", "--open", "--videos", "40", "--size", "1"];
    let mut demo = Reelshift::new(dir.path(), &arguments).start_logging(&path);
    until_within("the link", MADE, async || {
        assert!(demo.try_wait().expect("a child").is_none(), "{}", log(&path));
        link(&log(&path)).is_some()
    })
    .await;
    let (address, once) = link(&log(&path)).expect("a link");
    until_within("the server", MADE, async || {
        Request::get("/readyz").try_send(address).is_some_and(|answer| answer.status == 200)
    })
    .await;
    let refused = Request::get("/api/v1/whoami").send(address);
    assert_eq!(refused.status, 401, "{refused:?}");
    let answer = Request::get(&once).send(address).expect(303);
    assert_eq!(answer.header("location"), Some("/demo"));
    let cookie = answer.header("set-cookie").expect("a cookie").split(';').next().expect("a pair");
    let get = |path: &str| -> Answer { Request::get(path).header("Cookie", cookie).send(address) };
    let page = get("/demo").expect(200).body;
    for scene in ["kill-worker", "add-worker", "break-media", "poison", "overload", "upload"] {
        assert!(page.contains(&format!("value=\"{scene}\"")), "{scene}: {page}");
    }
    let _used = Request::get(&once).send(address).expect(401);

    let csrf = csrf(&page).to_owned();
    let play = |scene: &str| {
        let form = format!("csrf={csrf}&scene={scene}");
        Request::new("POST", "/actions/demo").header("Cookie", cookie).form(&form).send(address)
    };
    let url = format!("sqlite://{}", dir.path().join("reelshift-demo/platform.db").display());
    let legacy = Legacy::existing(&url).await;
    let live = "SELECT COUNT(*) FROM reelshift_workers WHERE state = 'live'";
    until_within("the fleet", MADE, async || legacy.number(live).await == 2).await;
    let _added = play("add-worker").expect(303);
    until_within("a third worker", MADE, async || legacy.number(live).await == 3).await;
    let _killed = play("kill-worker").expect(303);
    let lost = "SELECT COUNT(*) FROM reelshift_workers WHERE state = 'lost'";
    until_within("it is lost", MADE, async || legacy.number(lost).await >= 1).await;
    let aside = "SELECT COUNT(*) FROM reelshift_quarantine q JOIN videos v ON v.id = q.video_id \
                 WHERE v.file_path LIKE 'nowhere/%'";
    let _poisoned = play("poison").expect(303);
    until_within("they are set aside", MADE, async || legacy.number(aside).await == 3).await;
    let all_aside = "SELECT COUNT(*) FROM reelshift_quarantine";
    let before = legacy.number(all_aside).await;
    let _broken = play("break-media").expect(303);
    let doubted =
        "SELECT COUNT(*) FROM processing_error_log WHERE error_type = 'media_root_suspect'";
    until_within("the root is doubted", MADE, async || legacy.number(doubted).await > 0).await;
    until_within("all have left", MADE, async || legacy.number(live).await == 0).await;
    assert!(get("/demo").body.contains("value=\"mend-media\""));
    let _mended = play("mend-media").expect(303);
    let waiting =
        "SELECT COUNT(*) FROM videos WHERE file_path LIKE 'uploads-%' AND file_hash IS NULL";
    until_within("work goes on", MADE, async || legacy.number(waiting).await == 0).await;
    assert_eq!(legacy.number(all_aside).await, before, "nothing was set aside for it");
    assert_eq!(play("no-such-scene").status, 303);

    let told = Command::new("kill").arg(demo.id().to_string()).status();
    assert!(told.expect("kill runs").success());
    assert_eq!(wait(&mut demo, Duration::from_secs(60)), Some(0), "{}", log(&path));
    assert_eq!(legacy.number(live).await, 0, "the fleet has left");
}
