//! Feature flags and the video status reader, by the binary: 0 %, 100 %, emergency, and
//! that a process that was there before sees a change within two seconds.

use std::io::{BufRead, BufReader};
use std::path::Path;

use reelshift_tests::{Legacy, Ran, Reelshift, Video};
use serde_json::{Value, json};
use sqlx::Row;

fn run(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Ran {
    Reelshift::new(directory, arguments).database(&legacy.url).run()
}

fn document(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = ["--json"].into_iter().chain(arguments.iter().copied()).collect();
    run(directory, legacy, &arguments).expect(0).json()
}

fn one_sentence(ran: &Ran, code: i32, says: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    for word in says {
        assert!(ran.stderr.contains(word), "`{word}` is not in: {}", ran.stderr);
    }
    let errors = ran.stderr.lines().filter(|line| line.starts_with("error:")).count();
    assert_eq!(errors, 1, "{}", ran.stderr);
}

const VIDEO: &str = "test-video-id";

/// Both dialects, each with one expanded video whose status row says how far it is.
async fn migrated(directory: &Path) -> Vec<Legacy> {
    let text = |value: &str| Some(value.to_owned());
    let databases = vec![Legacy::sqlite(directory).await, Legacy::mariadb().await];
    for legacy in &databases {
        let video = Video {
            id: VIDEO.to_owned(),
            filename: text("a.mp4"),
            file_path: None,
            file_size: Some(1),
            status: text("uploaded"),
            processing_status: text("processing"),
            ground_truth: Some(false),
        };
        legacy.insert(&[video]).await;
        run(directory, legacy, &["apply", "expand"]).ok();
        run(directory, legacy, &["enqueue", "backfill"]).ok();
        run(directory, legacy, &["work", "--until-idle", "--concurrency", "1"]).ok();
        legacy
            .execute(
                "UPDATE video_processing_status SET current_stage = 'inference', \
                 progress_percentage = 41.3, processed_frames = 413, total_frames = 1000, \
                 error_count = 1, last_error_message = 'gone', \
                 estimated_completion_time = '2024-05-07 09:00:00'",
            )
            .await;
        legacy.execute("UPDATE videos SET updated_at = '2024-05-07 01:02:03'").await;
        legacy
            .execute(&format!(
                "INSERT INTO processing_error_log (id, video_id, processing_stage, error_type, \
                 error_message, recovery_strategy, correlation_id) \
                 VALUES ('e1', '{VIDEO}', 'hash', 'file_missing', 'gone', 'quarantine', 'trace-1')"
            ))
            .await;
    }
    databases
}

fn enhanced() -> Value {
    json!({
        "id": VIDEO, "filename": "a.mp4", "workflow_state": "processing",
        "current_stage": "inference", "progress_percentage": 41.3, "processed_frames": 413,
        "total_frames": 1000, "error_count": 1, "last_error": "gone",
        "estimated_completion": "2024-05-07T09:00:00", "updated_at": "2024-05-07T01:02:03",
        "enhanced_processing": true,
    })
}

fn legacy_shape() -> Value {
    json!({
        "id": VIDEO, "filename": "a.mp4", "status": "uploaded",
        "processing_status": "processing", "ground_truth_generated": false,
        "updated_at": "2024-05-07T01:02:03", "enhanced_processing": false,
    })
}

#[tokio::test]
async fn flags_choose_the_reader() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in migrated(dir.path()).await {
        let video = || document(dir.path(), &legacy, &["video", VIDEO]);
        let flags = |arguments: &[&str]| {
            let arguments: Vec<&str> =
                ["flags"].into_iter().chain(arguments.iter().copied()).collect();
            document(dir.path(), &legacy, &arguments)
        };
        assert_eq!(video(), legacy_shape(), "off at first");
        flags(&["rollout", "enhanced_video_processing", "0"]);
        assert_eq!(video(), legacy_shape(), "0 % is off");
        flags(&["rollout", "enhanced_video_processing", "100"]);
        assert_eq!(video(), enhanced(), "100 %");
        // The bucket of this video is 97: CRC-32 of its id, modulo 100.
        flags(&["rollout", "enhanced_video_processing", "97"]);
        assert_eq!(video(), legacy_shape(), "not among the first 97");
        flags(&["rollout", "enhanced_video_processing", "98"]);
        assert_eq!(video(), enhanced(), "among the first 98");
        flags(&["disable", "enhanced_video_processing"]);
        assert_eq!(video(), legacy_shape(), "disabled");

        flags(&["enable", "enhanced_video_processing"]);
        flags(&["enable", "realtime_notifications"]);
        flags(&["enable", "advanced_error_handling"]);
        let mut detailed = enhanced();
        detailed["error_details"] = json!({
            "processing_stage": "hash", "error_type": "file_missing",
            "recovery_strategy": "quarantine", "recovery_successful": null,
            "correlation_id": "trace-1",
        });
        assert_eq!(video(), detailed);

        let emergency = flags(&["emergency-disable"]);
        let off: Vec<_> = emergency["changes"].as_array().expect("changes").iter().collect();
        assert_eq!(off.len(), 3, "{emergency}");
        assert_eq!(video(), legacy_shape(), "after an emergency");
        let listed = flags(&["list", "--changes", "3"]);
        let enabled: Vec<_> = listed["flags"]
            .as_array()
            .expect("flags")
            .iter()
            .map(|flag| (flag["name"].as_str(), flag["enabled"].as_bool()))
            .collect();
        assert_eq!(
            enabled,
            [
                (Some("enhanced_video_processing"), Some(false)),
                (Some("realtime_notifications"), Some(false)),
                (Some("advanced_error_handling"), Some(false)),
                (Some("performance_monitoring"), Some(true)),
            ]
        );
        for change in listed["changes"].as_array().expect("changes") {
            assert_eq!(change["action"], "emergency_disable");
            assert_eq!(change["previous"]["enabled"], true);
            assert!(change["changed_by"].as_str().is_some_and(|who| who.contains('@')), "{change}");
        }
        legacy.drop_database().await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_in_one_sentence() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::sqlite(dir.path()).await;
    one_sentence(&run(dir.path(), &legacy, &["flags", "list"]), 4, &["apply expand"]);
    run(dir.path(), &legacy, &["apply", "expand"]).ok();
    one_sentence(&run(dir.path(), &legacy, &["video", "nobody"]), 1, &["no video `nobody`"]);
    let four = [
        "enhanced_video_processing",
        "realtime_notifications",
        "advanced_error_handling",
        "performance_monitoring",
    ];
    one_sentence(&run(dir.path(), &legacy, &["flags", "enable", "turbo"]), 2, &four);
    for percent in ["101", "-1", "half"] {
        let arguments = ["flags", "rollout", "realtime_notifications", percent];
        one_sentence(&run(dir.path(), &legacy, &arguments), 2, &[percent]);
    }
    let changes =
        "SELECT COUNT(*) FROM reelshift_audit WHERE subject = 'flag' AND action <> 'initial'";
    assert_eq!(legacy.number(changes).await, 0);
}

#[tokio::test]
async fn the_environment_gives_the_initial_values_only() {
    let dir = tempfile::tempdir().expect("a directory");
    for legacy in [Legacy::sqlite(dir.path()).await, Legacy::mariadb().await] {
        let with = |value: &str, arguments: &[&str]| {
            Reelshift::new(dir.path(), arguments)
                .database(&legacy.url)
                .env("ENABLE_ENHANCED_PROCESSING", value)
                .env("ENABLE_PERFORMANCE_MONITORING", "off")
                .run()
        };
        with("TRUE", &["apply", "expand"]).ok();
        with("false", &["apply", "expand"]).ok();
        with("false", &["flags", "list"]).ok();
        let rows = legacy
            .rows("SELECT name, CASE WHEN enabled THEN 1 ELSE 0 END FROM reelshift_flags ORDER BY name")
            .await;
        let enabled: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let expected = [
            ("advanced_error_handling", 0),
            ("enhanced_video_processing", 1),
            ("performance_monitoring", 0),
            ("realtime_notifications", 0),
        ];
        assert_eq!(enabled, expected.map(|(name, enabled)| (name.to_owned(), enabled)));
        legacy.drop_database().await;
    }
}

#[tokio::test]
async fn a_running_process_sees_a_change() {
    let dir = tempfile::tempdir().expect("a directory");
    let legacy = Legacy::mariadb().await;
    run(dir.path(), &legacy, &["apply", "expand"]).ok();
    let watch = ["--json", "status", "--watch", "--interval", "1"];
    let mut watching = Reelshift::new(dir.path(), &watch).database(&legacy.url).start_reading();
    let mut lines = BufReader::new(watching.stdout.take().expect("its output")).lines();
    let mut monitored = || {
        let line = lines.next().expect("it goes on").expect("it is read");
        let snapshot: Value = serde_json::from_str(&line).expect("a line is a document");
        snapshot["load"]["active_connections"].as_u64().is_some_and(|count| count > 0)
    };
    assert!(monitored(), "performance_monitoring is on at first");
    for (change, is_on) in [("disable", false), ("enable", true)] {
        run(dir.path(), &legacy, &["flags", change, "performance_monitoring"]).ok();
        while monitored() != is_on {}
    }
    watching.kill().expect("it ends");
    watching.wait().expect("it is gone");
    legacy.drop_database().await;
}
