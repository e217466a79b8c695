//! What the user of this session may do, from `SHOW GRANTS`.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

use super::CheckContext;
use crate::error::Result;
use crate::server::Product;

/// Rights on one database, upper case; `ALL PRIVILEGES` is kept as that word.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Grants {
    /// Those of this session, by its active roles too.
    session: BTreeSet<String>,
    /// Those that a trigger or view of this account has as well. MariaDB gives these no
    /// roles, MySQL the account's default roles.
    definer: BTreeSet<String>,
}

impl Grants {
    /// The rights that hold on the database of this session, those of active roles too.
    pub(super) async fn read(context: &mut CheckContext<'_>) -> Result<Self> {
        let database: String =
            sqlx::query_scalar("SELECT DATABASE()").fetch_one(&mut *context.connection).await?;
        let product = context.store.server.product;
        Ok(Self::parse(&lines(context.connection, product).await?, &database))
    }

    /// From the lines of `SHOW GRANTS`: what is granted globally and on the database. A
    /// right on one of its tables is none on the tables that are to be made.
    pub(super) fn parse(lines: &[String], database: &str) -> Self {
        let mut grants = Self::default();
        for line in lines {
            let Some((what, on)) =
                line.strip_prefix("GRANT ").and_then(|rest| rest.split_once(" ON "))
            else {
                // A role that was granted; what it grants has lines of its own.
                continue;
            };
            let (on, to) = on.split_once(" TO ").unwrap_or((on, ""));
            if applies(on, database) {
                let rights: BTreeSet<String> = split(what).map(str::to_uppercase).collect();
                // A role of MariaDB has no host.
                if to.contains('@') || to.starts_with("PUBLIC") {
                    grants.definer.extend(rights.clone());
                }
                grants.session.extend(rights);
            }
        }
        grants
    }

    pub(super) fn has(&self, right: &str) -> bool {
        holds(&self.session, right)
    }

    /// Those of `rights` that are not granted.
    pub(super) fn missing<'a>(&self, rights: &[&'a str]) -> Vec<&'a str> {
        rights.iter().copied().filter(|right| !self.has(right)).collect()
    }

    /// Those of `rights` that a trigger of this account would lack.
    pub(super) fn missing_as_definer<'a>(&self, rights: &[&'a str]) -> Vec<&'a str> {
        rights.iter().copied().filter(|right| !holds(&self.definer, right)).collect()
    }
}

fn holds(rights: &BTreeSet<String>, right: &str) -> bool {
    [right, "ALL PRIVILEGES", "ALL"].iter().any(|right| rights.contains(*right))
}

async fn lines(connection: &mut MySqlConnection, product: Product) -> Result<Vec<String>> {
    let sql = match product {
        // With what the active roles grant.
        Product::MariaDb => "SHOW GRANTS".to_owned(),
        Product::MySql => {
            let roles: String = sqlx::query_scalar("SELECT CAST(CURRENT_ROLE() AS CHAR)")
                .fetch_one(&mut *connection)
                .await?;
            match roles.as_str() {
                "NONE" => "SHOW GRANTS".to_owned(),
                roles => format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}"),
            }
        }
    };
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
    Ok(rows.iter().map(|row| row.try_get_unchecked(0)).collect::<sqlx::Result<_>>()?)
}

/// Whether `ON` names everything, or the database.
fn applies(on: &str, database: &str) -> bool {
    let on = on.trim().replace('`', "");
    match on.split_once('.') {
        Some(("*", "*")) => true,
        Some((pattern, "*")) => like(pattern.as_bytes(), database.as_bytes()),
        _ => false,
    }
}

/// SQL's LIKE, by which a grant may name databases.
fn like(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'%', rest @ ..] => (0..=text.len()).any(|skipped| like(rest, &text[skipped..])),
        [b'\\', literal, rest @ ..] => text.first() == Some(literal) && like(rest, &text[1..]),
        [b'_', rest @ ..] => !text.is_empty() && like(rest, &text[1..]),
        [literal, rest @ ..] => text.first() == Some(literal) && like(rest, &text[1..]),
    }
}

/// Splits at the commas outside of parentheses: `SELECT (a, b), INSERT`. A right on single
/// columns is no right on the table, and keeps its parenthesis here.
fn split(rights: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    rights
        .split(move |c: char| {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            c == ',' && depth == 0
        })
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str]) -> Grants {
        Grants::parse(&lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>(), "plat_form")
    }

    #[test]
    fn rights_of_every_level_count() {
        let grants = parse(&[
            "GRANT PROCESS, SUPER ON *.* TO `app`@`%` IDENTIFIED BY PASSWORD '*1'",
            r"GRANT SELECT, ALTER ON `plat\_form`.* TO `app`@`%`",
            "GRANT TRIGGER ON `plat_form`.* TO `app`@`%`",
            "GRANT INDEX ON `plat_form`.`videos` TO `app`@`%`",
            "GRANT CREATE ON `other`.* TO `app`@`%`",
            "GRANT DROP ON `plat_form`.`users` TO `app`@`%`",
            "GRANT UPDATE (fps, status), DELETE ON `plat_form`.`videos` TO `app`@`%`",
            "GRANT `role` TO `app`@`%`",
        ]);
        let wanted = ["PROCESS", "SELECT", "ALTER", "TRIGGER", "INDEX", "CREATE", "DROP", "UPDATE"];
        assert_eq!(grants.missing(&wanted), ["INDEX", "CREATE", "DROP", "UPDATE"]);
    }

    #[test]
    fn what_a_role_grants_no_trigger_has() {
        let grants = parse(&[
            "GRANT `migrating` TO `app`@`%`",
            "GRANT SELECT ON `plat_form`.* TO `app`@`%`",
            "GRANT ALL PRIVILEGES ON `plat_form`.* TO `migrating`",
            "GRANT INSERT ON *.* TO PUBLIC",
        ]);
        let wanted = ["SELECT", "INSERT", "TRIGGER"];
        assert_eq!(grants.missing(&wanted), [""; 0]);
        assert_eq!(grants.missing_as_definer(&wanted), ["TRIGGER"]);
    }

    #[test]
    fn all_privileges_are_all() {
        let grants =
            parse(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"]);
        assert_eq!(grants.missing(&["ALTER", "SUPER"]), [""; 0]);
        let grants = parse(&["GRANT ALL PRIVILEGES ON `plat%`.* TO `app`@`%`"]);
        assert!(grants.has("ALTER"));
    }

    #[test]
    fn an_escaped_wildcard_is_itself() {
        assert!(like(br"plat\_form", b"plat_form") && !like(br"plat\_form", b"platXform"));
        assert!(like(b"%form", b"platform") && like(b"p_a%", b"plat") && !like(b"p", b"plat"));
    }
}
