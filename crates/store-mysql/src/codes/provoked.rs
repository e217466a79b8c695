//! Errors provoked on the server that the tests run on: what it really says has the
//! meaning of the table.

use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection};

use super::Meaning::{self, Broken, Constraint, Gone, Locked, Trigger, Unknown, Value};
use super::meaning;

const SCENE: &str = "
    CREATE TABLE videos (id VARCHAR(5) PRIMARY KEY, n INT CHECK (n < 100), small TINYINT, at DATETIME,
        kind ENUM('a', 'b'), must INT NOT NULL, name VARCHAR(9) CHARACTER SET latin1);
    CREATE TABLE child (video VARCHAR(5), FOREIGN KEY (video) REFERENCES videos (id));
    CREATE TABLE orphan (id INT);
    CREATE TABLE guarded (id INT);
    CREATE DEFINER = 'nobody'@'nowhere' TRIGGER orphaned BEFORE INSERT ON orphan FOR EACH ROW SET @a = 1;
    CREATE TRIGGER guard BEFORE INSERT ON guarded FOR EACH ROW
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no', MYSQL_ERRNO = 1213;
    INSERT INTO videos (id, must) VALUES ('a', 1), ('b', 1);
    INSERT INTO child VALUES ('a')";

const PROVOKED: [(&str, Meaning); 17] = [
    ("INSERT INTO videos (id, must) VALUES ('too long', 1)", Value),
    ("INSERT INTO videos (id, must, small) VALUES ('c', 1, 1000)", Value),
    ("INSERT INTO videos (id, must) VALUES ('c', 'x')", Value),
    ("INSERT INTO videos (id, must, at) VALUES ('c', 1, 'lately')", Value),
    ("INSERT INTO videos (id, must, kind) VALUES ('c', 1, 'z')", Value),
    ("INSERT INTO videos (id, must, name) VALUES ('c', 1, _utf8mb4 0xF09F8EAC)", Value),
    ("INSERT INTO videos (id, must) VALUES ('a', 1)", Constraint),
    ("INSERT INTO videos (id, must) VALUES ('c', NULL)", Constraint),
    ("INSERT INTO videos (id) VALUES ('c')", Constraint),
    ("INSERT INTO videos (id, must, n) VALUES ('c', 1, 100)", Constraint),
    ("INSERT INTO child VALUES ('z')", Constraint),
    ("DELETE FROM videos WHERE id = 'a'", Constraint),
    ("INSERT INTO guarded VALUES (1)", Trigger),
    ("INSERT INTO orphan VALUES (1)", Broken),
    ("SELECT * FROM reelshift_batches", Gone),
    ("SELECT v.file_hash FROM videos v", Gone),
    ("SELECT * FROM theirs", Unknown),
];

async fn says(connection: &mut MySqlConnection, sql: &str) -> (Meaning, String) {
    let failed = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    let error = failed.map(drop).expect_err(sql);
    let number = crate::error::number(&error).expect("an error of the server");
    let database = error.as_database_error().expect("an error of the server");
    let means = meaning(number, &database.code().unwrap_or_default(), database.message());
    (means, format!("{number} {error}"))
}

async fn run(connection: &mut MySqlConnection, sql: &str) {
    for sql in sql.split(";\n") {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut *connection).await.expect(sql);
    }
}

#[tokio::test]
async fn what_the_server_says_has_its_meaning() {
    let server = std::env::var("REELSHIFT_TEST_MYSQL_URL")
        .expect("run `cargo xtask test`, which starts a server");
    let database = format!("codes_{}", uuid::Uuid::new_v4().simple());
    let mut connection = MySqlConnection::connect(&server).await.expect("the server answers");
    run(&mut connection, &format!("CREATE DATABASE {database} CHARACTER SET utf8mb4")).await;
    run(&mut connection, &format!("USE {database};\nSET sql_mode = 'STRICT_TRANS_TABLES'")).await;
    run(&mut connection, SCENE).await;
    for (sql, means) in PROVOKED {
        let (said, error) = says(&mut connection, sql).await;
        assert_eq!(said, means, "{sql}: {error}");
    }

    // Two transactions, each at the other's row.
    let mut other = MySqlConnection::connect(&server).await.expect("the server answers");
    run(&mut other, &format!("USE {database};\nSET innodb_lock_wait_timeout = 1")).await;
    for connection in [&mut connection, &mut other] {
        run(connection, "BEGIN").await;
    }
    run(&mut connection, "UPDATE videos SET n = 1 WHERE id = 'a'").await;
    run(&mut other, "UPDATE videos SET n = 1 WHERE id = 'b'").await;
    let (timeout, error) = says(&mut other, "UPDATE videos SET n = 1 WHERE id = 'a'").await;
    assert_eq!(timeout, Locked, "{error}");
    let waits = async {
        let sql = "UPDATE videos SET n = 1 WHERE id = 'b'";
        sqlx::raw_sql(sql).execute(&mut connection).await.map(drop)
    };
    let crosses = async {
        let sql = "UPDATE videos SET n = 1 WHERE id = 'a'";
        sqlx::raw_sql(sql).execute(&mut other).await.map(drop)
    };
    let (one, two) = tokio::join!(waits, crosses);
    let victim = one.err().or(two.err()).expect("one of the two is the victim");
    let number = crate::error::number(&victim).expect("an error of the server");
    assert!(matches!(number, 1213 | 1205), "{victim}");
    for connection in [&mut connection, &mut other] {
        run(connection, "ROLLBACK").await;
    }
    run(&mut connection, &format!("DROP DATABASE {database}")).await;
}
