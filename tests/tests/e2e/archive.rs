//! What an archive holds comes back exactly, of whatever type and size; where that cannot be,
//! or an archive cannot be trusted, nothing is changed.

use std::path::Path;

use reelshift_tests::chaos::server::Server;
use reelshift_tests::{Legacy, Ran, Reelshift};
use sqlx::Row;

fn reelshift(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> Ran {
    println!("reelshift {arguments:?}");
    Reelshift::new(directory, arguments).database(&legacy.url).run()
}

fn refusal(directory: &Path, legacy: &Legacy, arguments: &[&str]) -> String {
    let ran = reelshift(directory, legacy, arguments).expect(4);
    assert_eq!(ran.stderr.trim_end().lines().count(), 1, "one sentence: {}", ran.stderr);
    ran.stderr
}

/// Videos, expanded and backfilled.
async fn migrated(directory: &Path, legacy: &Legacy, videos: u32) {
    legacy.fill(videos).await;
    reelshift(directory, legacy, &["apply", "expand"]).ok();
    reelshift(directory, legacy, &["enqueue", "backfill"]).ok();
    reelshift(directory, legacy, &["work", "--until-idle"]).ok();
}

async fn back_and_forth(directory: &Path, legacy: &Legacy) {
    reelshift(directory, legacy, &["rollback", "--archive", "kept"]).ok();
    reelshift(directory, legacy, &["apply", "expand"]).ok();
}

/// Columns as a platform may have added them, with values that a conversion would change.
const COLUMNS: [(&str, &[&str]); 35] = [
    ("BLOB", &["x'FF00FE0A'", "x''"]),
    ("BINARY(5)", &["x'0100'", "x'FFFFFFFFFF'"]),
    ("VARBINARY(300)", &["x'00FF'", "REPEAT(x'FF', 300)"]),
    ("BIT(1)", &["b'1'", "b'0'"]),
    ("BIT(64)", &["18446744073709551615", "256"]),
    ("FLOAT", &["0.1e0", "16777217e0", "3.4028234e38", "1.17549435e-38", "-0e0", "1234567.8e0"]),
    ("FLOAT(7,4)", &["123.4567"]),
    ("DOUBLE", &["0.1e0", "1.7976931348623157e308", "5e-324", "-0e0", "123456789.123456789e0"]),
    ("DECIMAL(65,30)", &["-12345678901234567890123456789012345.123456789012345678901234567891"]),
    ("BIGINT UNSIGNED", &["18446744073709551615"]),
    ("BIGINT", &["-9223372036854775808"]),
    ("INT(9) ZEROFILL", &["42"]),
    ("JSON", &[r#"'{"a": [1, -0.5, "\\u00e9", 1e100, 18446744073709551615, null], "é": {}}'"#]),
    ("DATETIME(6)", &["'9999-12-31 23:59:59.999999'", "'0000-00-00 00:00:00'", "'2024-00-07'"]),
    ("TIMESTAMP(6) NULL", &["'2038-01-19 03:14:07.999999'", "'0000-00-00 00:00:00'"]),
    ("DATE", &["'0000-00-00'", "'1000-01-01'"]),
    ("TIME(6)", &["'-838:59:58.999999'", "'00:00:00.000001'"]),
    ("YEAR", &["'0000'", "'2155'"]),
    ("ENUM('a','é','ß') CHARACTER SET latin1", &["'é'", "3", "'none of them'"]),
    ("SET('é','b','c') CHARACTER SET latin1", &["'é,c'", "''"]),
    ("ENUM(x'FF',x'FE41') CHARACTER SET binary", &["x'FF'", "x'FE41'", "'none of them'"]),
    ("ENUM('','x','é')", &["''", "'none of them'", "'é'"]),
    ("ENUM('a','') CHARACTER SET latin1", &["'none of them'", "''"]),
    ("POINT", &["ST_GeomFromText('POINT(1.1 -2.2)', 4326)"]),
    ("GEOMETRY", &["ST_GeomFromText('LINESTRING(0 0, 1.5 1.5)')"]),
    ("VARCHAR(300) CHARACTER SET latin1", &["x'80818D8F909DA0FF00'", "'a\\'\\\\b'"]),
    ("VARCHAR(300) CHARACTER SET gbk", &["x'B0A1A1A1'", "x'A2A1FE50'"]),
    ("VARCHAR(300) CHARACTER SET cp932", &["x'8160815C'", "x'FA54879A'"]),
    ("VARCHAR(300) CHARACTER SET utf16", &["'é😀'", "x'0061FEFF'"]),
    ("CHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", &["'😀'", "''"]),
    ("VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", &["x'6100620A0D1A'", "' a '"]),
    ("LONGTEXT", &["REPEAT('é\\\\\\'\"', 20000)"]),
    ("BOOLEAN", &["TRUE"]),
    ("INT INVISIBLE", &["7"]),
    ("INT GENERATED ALWAYS AS (error_count + 5) VIRTUAL", &[]),
];

/// Of MariaDB alone.
const MARIADB: [(&str, &[&str]); 3] = [
    ("UUID", &["'123e4567-e89b-12d3-a456-426655440000'"]),
    ("INET6", &["'2001:db8::ff00:42:8329'"]),
    ("INET4", &["'192.0.2.33'"]),
];

/// Of MySQL alone, from version 9.
const MYSQL: [(&str, &[&str]); 1] = [("VECTOR(3)", &["STRING_TO_VECTOR('[1, 2.5, -3e-38]')"])];

async fn checksum(legacy: &Legacy, table: &str) -> i64 {
    legacy.rows(&format!("CHECKSUM TABLE {table}")).await[0].get(1)
}

/// Values of the added columns by their bytes, to be shown where the checksums differ.
async fn dump(legacy: &Legacy, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for column in 0..columns {
        let sql = format!(
            "SELECT CAST(LEFT(COALESCE(HEX(c{column}), 'NULL'), 200) AS CHAR) \
             FROM video_processing_status ORDER BY id"
        );
        for row in legacy.rows(&sql).await {
            lines.push(format!("c{column}: {}", row.get::<String, _>(0)));
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_comes_back_on_mariadb() {
    let scratch = tempfile::tempdir().expect("a directory");
    let directory = scratch.path();
    let legacy = Legacy::mariadb().await;
    migrated(directory, &legacy, 8).await;
    let version: String = legacy.rows("SELECT CAST(VERSION() AS CHAR)").await[0].get(0);
    let own: &[(&str, &[&str])] = match &version[..] {
        version if version.contains("MariaDB") => &MARIADB,
        version if version.starts_with("9.") => &MYSQL,
        _ => &[],
    };
    let columns: Vec<_> = COLUMNS.iter().chain(own).collect();
    let added: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(at, (declared, _))| format!("ADD COLUMN c{at} {declared}"))
        .collect();
    let add = format!("ALTER TABLE video_processing_status {}", added.join(", "));
    legacy.execute(&add).await;
    // As an application writes that is not strict; each video another value.
    let mut writes: Vec<String> = [
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'",
        "SET @n = 0",
        "UPDATE video_processing_status SET progress_percentage = 0, \
           processed_frames = (@n := @n + 1), updated_at = '2024-01-01 00:00:00' ORDER BY id",
    ]
    .map(str::to_owned)
    .into();
    for (at, (_, values)) in columns.iter().enumerate() {
        for (n, value) in values.iter().enumerate() {
            writes.push(format!(
                "UPDATE video_processing_status SET c{at} = {value}, updated_at = updated_at \
                 WHERE processed_frames = {}",
                n + 1
            ));
        }
    }
    writes.push("SET SESSION sql_mode = DEFAULT".to_owned());
    legacy.execute(&writes.join("; ")).await;
    let before = checksum(&legacy, "video_processing_status").await;
    let shown = dump(&legacy, columns.len()).await;
    // The platform's own mind about columns of ours.
    let own_type = "ALTER TABLE videos MODIFY backup_location VARBINARY(500), MODIFY video_quality_score FLOAT";
    legacy.execute(own_type).await;
    legacy
        .execute(
            "UPDATE videos SET backup_location = x'FF00FE', video_quality_score = 0.1, \
             frame_quality_analysis = '[\"\\\\u0000\", \"é😀\\\\\\\\\"]', original_filename = x'6100C3A9'",
        )
        .await;
    let videos = checksum(&legacy, "videos").await;

    back_and_forth(directory, &legacy).await;
    let said = refusal(directory, &legacy, &["restore", "kept"]);
    assert!(said.contains("video_processing_status.c0 of type blob"), "{said}");
    legacy.execute(&add).await;
    // Bytes that the column cannot hold are no reason to write others.
    let said = reelshift(directory, &legacy, &["restore", "kept"]).expect(1).stderr;
    assert!(said.contains("backup_location"), "{said}");
    legacy.execute(own_type).await;
    reelshift(directory, &legacy, &["restore", "kept"]).ok();
    assert_eq!(dump(&legacy, columns.len()).await, shown);
    assert_eq!(checksum(&legacy, "video_processing_status").await, before);
    assert_eq!(checksum(&legacy, "videos").await, videos);
    legacy.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_storage_class_comes_back_on_sqlite() {
    let scratch = tempfile::tempdir().expect("a directory");
    let directory = scratch.path();
    let legacy = Legacy::sqlite(directory).await;
    migrated(directory, &legacy, 12).await;
    let types = ["", "TEXT", "INTEGER", "REAL", "NUMERIC", "BLOB"];
    // Each time by a connection of its own: SQLite looks for the column in the schema that
    // the connection has read before.
    let add = async || {
        let legacy = Legacy::existing(&legacy.url).await;
        for (at, declared) in types.iter().enumerate() {
            legacy
                .execute(&format!(
                    "ALTER TABLE video_processing_status ADD COLUMN c{at} {declared}"
                ))
                .await;
        }
        legacy.pool.close().await;
    };
    add().await;
    let values = [
        "42",
        "-9223372036854775808",
        "'abc'",
        "'1.50'",
        "x'00ff'",
        "9e999",
        "-9e999",
        "-0.0",
        "0.1",
        "char(97, 0, 98)",
        "CAST(x'ff41' AS TEXT)",
        "5e-324",
    ];
    for (n, value) in values.iter().enumerate() {
        for at in 0..types.len() {
            legacy
                .execute(&format!(
                    "UPDATE video_processing_status SET c{at} = {value} \
                     WHERE id = (SELECT id FROM video_processing_status ORDER BY id LIMIT 1 OFFSET {n})"
                ))
                .await;
        }
    }
    legacy.execute("UPDATE videos SET ml_model_version = x'00', video_quality_score = 9e999").await;
    let dump = async || {
        let mut lines = Vec::new();
        for (table, columns) in [
            ("video_processing_status", vec!["c0", "c1", "c2", "c3", "c4", "c5"]),
            ("videos", vec!["ml_model_version", "video_quality_score"]),
        ] {
            for column in columns {
                let sql = format!(
                    "SELECT typeof({column}) || ' ' || hex(CAST({column} AS BLOB)) || ' ' || \
                       CASE typeof({column}) WHEN 'real' THEN printf('%!.20g', {column}) ELSE '' END \
                     FROM {table} ORDER BY id"
                );
                for row in legacy.rows(&sql).await {
                    lines.push(format!("{column}: {}", row.get::<String, _>(0)));
                }
            }
        }
        lines
    };
    let before = dump().await;
    back_and_forth(directory, &legacy).await;
    add().await;
    reelshift(directory, &legacy, &["restore", "kept"]).ok();
    assert_eq!(dump().await, before);
}

/// Large notifications on a server that takes packets of `packet` bytes.
async fn large_rows(packet: u32) {
    let scratch = tempfile::tempdir().expect("a directory");
    let directory = scratch.path();
    let server = Server::start().await;
    let set = async |bytes: u32| {
        let legacy = Legacy::existing(&server.url()).await;
        legacy.execute(&format!("SET GLOBAL max_allowed_packet = {bytes}")).await;
    };
    set(packet).await;
    let legacy = Legacy::on(server.url()).await;
    migrated(directory, &legacy, 20).await;
    // 30 MB in rows of 200 KB, and one close to what a packet takes.
    legacy
        .execute(
            "INSERT INTO realtime_notification_queue (id, event_type, event_data, created_at) \
             SELECT CONCAT('n', a.n * 10 + b.n), 'x', CONCAT('\"', REPEAT('é', 100000), '\"'), '2024-01-01' \
             FROM (SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 \
                   UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9 UNION SELECT 10 UNION SELECT 11 \
                   UNION SELECT 12 UNION SELECT 13 UNION SELECT 14) a, \
                  (SELECT 0 n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 \
                   UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9) b",
        )
        .await;
    legacy
        .execute(&format!(
            "INSERT INTO realtime_notification_queue (id, event_type, event_data, created_at) \
             VALUES ('large', 'x', CONCAT('\"', REPEAT('x', {}), '\"'), '2024-01-01')",
            packet - 50_000
        ))
        .await;
    legacy
        .execute("UPDATE videos SET inference_config = CONCAT('\"', REPEAT('x', 200000), '\"')")
        .await;
    let before = checksum(&legacy, "realtime_notification_queue").await;
    let videos = checksum(&legacy, "videos").await;
    back_and_forth(directory, &legacy).await;
    // A server that takes less than the largest row is told before anything is written.
    set(packet - 100 * 1024).await;
    let said = refusal(directory, &legacy, &["restore", "kept"]);
    assert!(said.contains("max_allowed_packet"), "{said}");
    assert_eq!(legacy.number("SELECT COUNT(*) FROM realtime_notification_queue").await, 0);
    set(packet).await;
    reelshift(directory, &legacy, &["restore", "kept"]).ok();
    assert_eq!(checksum(&legacy, "realtime_notification_queue").await, before);
    assert_eq!(checksum(&legacy, "videos").await, videos);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_rows_come_back_through_packets_of_1_mib() {
    large_rows(1024 * 1024).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_rows_come_back_through_packets_of_16_mib() {
    large_rows(16 * 1024 * 1024).await;
}

async fn another_platform(directory: &Path, ours: &Legacy, theirs: &Legacy) {
    migrated(directory, ours, 30).await;
    migrated(directory, theirs, 30).await;
    ours.execute(
        "INSERT INTO realtime_notification_queue (id, event_type, event_data) VALUES ('ours', 'x', '{}')",
    )
    .await;
    reelshift(directory, ours, &["rollback", "--archive", "kept", "--purge", "--yes"]).ok();
    let foreign = async |legacy: &Legacy| {
        legacy.number("SELECT COUNT(*) FROM realtime_notification_queue WHERE id = 'ours'").await
    };
    let said = refusal(directory, theirs, &["restore", "kept"]);
    assert!(said.contains("another platform") && said.contains("--other-platform"), "{said}");
    assert_eq!(foreign(theirs).await, 0);
    // Nothing of reelshift's is left here, and it is the same platform all the same.
    reelshift(directory, ours, &["apply", "expand"]).ok();
    reelshift(directory, ours, &["restore", "kept"]).ok();
    assert_eq!(foreign(ours).await, 1);
    // Until it holds other videos.
    reelshift(directory, ours, &["rollback", "--discard", "--purge", "--yes"]).ok();
    ours.execute("DELETE FROM videos").await;
    ours.fill(30).await;
    reelshift(directory, ours, &["apply", "expand"]).ok();
    assert!(refusal(directory, ours, &["restore", "kept"]).contains("another platform"));
    reelshift(directory, ours, &["restore", "kept", "--other-platform"]).ok();
    assert_eq!(foreign(ours).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_another_platform_is_refused_on_sqlite() {
    let (ours, theirs) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
    let (a, b) = (Legacy::sqlite(ours.path()).await, Legacy::sqlite(theirs.path()).await);
    another_platform(ours.path(), &a, &b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_another_platform_is_refused_on_mariadb() {
    let directory = tempfile::tempdir().expect("a directory");
    let (a, b) = (Legacy::mariadb().await, Legacy::mariadb().await);
    another_platform(directory.path(), &a, &b).await;
    a.drop_database().await;
    b.drop_database().await;
}
