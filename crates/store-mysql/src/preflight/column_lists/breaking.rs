//! Which statements fail, or do something else, once `videos` has more columns.

use super::tokens::{Token, tokens};

const VIDEOS: &str = "VIDEOS";

/// Between a verb and its table.
const MODIFIERS: [&str; 6] =
    ["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "CONCURRENT", "IGNORE", "INTO"];

/// Between SELECT and its columns.
const SELECT_MODIFIERS: [&str; 9] = [
    "ALL",
    "DISTINCT",
    "DISTINCTROW",
    "HIGH_PRIORITY",
    "STRAIGHT_JOIN",
    "SQL_NO_CACHE",
    "SQL_CACHE",
    "SQL_BIG_RESULT",
    "SQL_CALC_FOUND_ROWS",
];

const SET_OPERATIONS: [&str; 4] = ["UNION", "EXCEPT", "INTERSECT", "MINUS"];

/// Why `text` breaks; `None` where nothing in it does. `here` says whether a table without a
/// database's name is one of `database`.
pub(super) fn why(text: &str, database: &str, here: bool) -> Option<&'static str> {
    let tokens = tokens(text);
    let mut scan =
        Scan { tokens: &tokens, database: database.to_uppercase(), here, named: Vec::new() };
    scan.name_expressions();
    (0..tokens.len()).find_map(|at| scan.at(at))
}

struct Scan<'a> {
    tokens: &'a [Token],
    database: String,
    here: bool,
    /// The common table expressions that yield every column of `videos`.
    named: Vec<String>,
}

impl Scan<'_> {
    fn at(&self, at: usize) -> Option<&'static str> {
        let token = &self.tokens[at];
        if token.is_any(&["INSERT", "REPLACE"]) {
            self.insert(at + 1)
        } else if token.is("LOAD") && self.is(at + 1, "DATA") {
            self.load(at + 2)
        } else if self.yields_all(at) && (!token.is("TABLE") || self.begins_query(at)) {
            self.takes_fixed_columns(at)
        } else {
            None
        }
    }

    /// Whether the TABLE at `at` is a query, and not the object of ALTER and the like.
    fn begins_query(&self, at: usize) -> bool {
        let Some(before) = at.checked_sub(1).and_then(|before| self.get(before)) else {
            return true;
        };
        before.is_sign('(')
            || before.is_sign(';')
            || before.is_any(&SET_OPERATIONS)
            || before.is_any(&["ALL", "DISTINCT", "FOR"])
    }

    fn get(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at)
    }

    fn is(&self, at: usize, word: &str) -> bool {
        self.get(at).is_some_and(|token| token.is(word))
    }

    fn is_sign(&self, at: usize, sign: char) -> bool {
        self.get(at).is_some_and(|token| token.is_sign(sign))
    }

    /// Finds the common table expressions; a later one may read an earlier one.
    fn name_expressions(&mut self) {
        for at in 2..self.tokens.len() {
            if !(self.is(at - 1, "AS") && self.is_sign(at, '(') && self.yields_all(at + 1)) {
                continue;
            }
            let name = self.list_before(at - 1).unwrap_or(at - 1).checked_sub(1);
            if let Some(Token::Word(name)) = name.and_then(|name| self.get(name)) {
                self.named.push(name.clone());
            }
        }
    }

    /// Where the parenthesis opens that closes just before `at`, if one does.
    fn list_before(&self, at: usize) -> Option<usize> {
        if !self.is_sign(at.checked_sub(1)?, ')') {
            return None;
        }
        (0..at).rev().find(|&open| self.is_sign(open, '(') && self.behind(open) == at)
    }

    /// Whether a query block begins at `at` that yields every column of `videos`.
    fn yields_all(&self, at: usize) -> bool {
        self.is(at, "SELECT") && self.selects_all(at)
            || self.is(at, "TABLE") && self.table(at + 1).is_some_and(|(_, is)| is)
    }

    /// The place behind the common table expressions at `at`, where the query itself begins.
    fn behind_with(&self, mut at: usize) -> usize {
        if !self.is(at, "WITH") {
            return at;
        }
        at += if self.is(at + 1, "RECURSIVE") { 2 } else { 1 };
        loop {
            // A name, perhaps its columns, AS and the query.
            at += 1;
            if self.is_sign(at, '(') {
                at = self.behind(at);
            }
            at = self.behind(at + 1);
            if !self.is_sign(at, ',') {
                return at;
            }
            at += 1;
        }
    }

    /// The place behind a table's name, and whether that is `videos`.
    fn table(&self, at: usize) -> Option<(usize, bool)> {
        let Token::Word(first) = self.get(at)? else { return None };
        if !self.is_sign(at + 1, '.') {
            let is_videos = self.here && first == VIDEOS || self.named.contains(first);
            return Some((at + 1, is_videos));
        }
        let Token::Word(second) = self.get(at + 2)? else { return None };
        Some((at + 3, *first == self.database && second == VIDEOS))
    }

    /// The place behind the parenthesis that closes the one at `at`.
    fn behind(&self, at: usize) -> usize {
        let mut depth = 0_u32;
        for (index, token) in self.tokens.iter().enumerate().skip(at) {
            if token.is_sign('(') {
                depth += 1;
            } else if token.is_sign(')') {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index + 1;
                }
            }
        }
        self.tokens.len()
    }

    fn behind_partition(&self, at: usize) -> usize {
        if self.is(at, "PARTITION") && self.is_sign(at + 1, '(') { self.behind(at + 1) } else { at }
    }

    fn insert(&self, mut at: usize) -> Option<&'static str> {
        while self.get(at).is_some_and(|token| token.is_any(&MODIFIERS)) {
            at += 1;
        }
        let (next, is_videos) = self.table(at)?;
        at = self.behind_partition(next);
        let begins_query = |at: usize| {
            self.get(at).is_some_and(|token| token.is_any(&["SELECT", "WITH", "TABLE"]))
        };
        let mut has_columns = false;
        if self.is_sign(at, '(') && !begins_query(at + 1) && !self.is_sign(at + 1, '(') {
            // An empty list stands for all columns.
            has_columns = !self.is_sign(at + 1, ')');
            at = self.behind(at);
        }
        if is_videos && !has_columns {
            let values = self.get(at).is_some_and(|token| token.is_any(&["VALUES", "VALUE"]));
            let only_defaults = self.is_sign(at + 1, '(') && self.is_sign(at + 2, ')');
            if values && !only_defaults || begins_query(at) || self.is_sign(at, '(') {
                return Some("inserts into videos without a column list");
            }
        }
        // An alias of the new row may stand before ON DUPLICATE KEY.
        while self.is_sign(at, '(') {
            at += 1;
        }
        self.yields_all(self.behind_with(at))
            .then_some("inserts all columns of videos into a table that does not get the new ones")
    }

    fn load(&self, at: usize) -> Option<&'static str> {
        let into =
            (at..self.tokens.len()).find(|&at| self.is(at, "INTO") && self.is(at + 1, "TABLE"))?;
        let (next, is_videos) = self.table(into + 2)?;
        let mut at = self.behind_partition(next);
        while let Some(token) = self.get(at).filter(|token| !token.is_sign(';') && !token.is("SET"))
        {
            if token.is_sign('(') {
                return None;
            }
            at += 1;
        }
        is_videos.then_some("loads a file into videos without a column list")
    }

    /// Where the query block that begins with the SELECT at `at` ends: at the parenthesis
    /// around it, at a set operation or with the statement.
    fn end(&self, at: usize) -> usize {
        let mut at = at + 1;
        while let Some(token) = self.get(at) {
            if token.is_sign('(') {
                at = self.behind(at);
                continue;
            }
            if token.is_sign(')') || token.is_sign(';') || token.is_any(&SET_OPERATIONS) {
                break;
            }
            at += 1;
        }
        at
    }

    /// Whether the query block at `at` selects every column of `videos`, by `*` or
    /// `videos.*`, itself or through a derived table.
    fn selects_all(&self, at: usize) -> bool {
        let end = self.end(at);
        let mut from = at + 1;
        while from < end && !self.is(from, "FROM") {
            from = if self.is_sign(from, '(') { self.behind(from) } else { from + 1 };
        }
        let mut names = Vec::new();
        let mut derived = false;
        let mut place = from;
        while place < end {
            let begins =
                self.is(place, "FROM") || self.is(place, "JOIN") || self.is_sign(place, ',');
            if self.get(place).is_some_and(|token| {
                token.is_any(&["WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "PROCEDURE", "FOR"])
            }) {
                break;
            }
            if begins && let Some((next, true)) = self.table(place + 1) {
                if let Some(Token::Word(name)) = self.get(next - 1) {
                    names.push(name.clone());
                }
                let alias = if self.is(next, "AS") { next + 1 } else { next };
                if let Some(Token::Word(alias)) = self.get(alias) {
                    names.push(alias.clone());
                }
            }
            derived |= begins && self.is_sign(place + 1, '(') && self.yields_all(place + 2);
            place = if self.is_sign(place, '(') { self.behind(place) } else { place + 1 };
        }
        let mut star = at + 1;
        while star < from {
            if self.is_sign(star, '(') {
                star = self.behind(star);
                continue;
            }
            if self.is_sign(star, '*') {
                let before = self.get(star - 1);
                let qualifier = self.get(star.saturating_sub(2));
                let all = match (before, qualifier) {
                    (Some(Token::Sign('.')), Some(Token::Word(name))) => names.contains(name),
                    (Some(Token::Sign(',')), _) => !names.is_empty() || derived,
                    (Some(token), _) if token.is("SELECT") || token.is_any(&SELECT_MODIFIERS) => {
                        !names.is_empty() || derived
                    }
                    _ => false,
                };
                if all {
                    return true;
                }
            }
            star += 1;
        }
        false
    }

    /// Why the columns that the query block at `at` yields must stay as many as they are.
    fn takes_fixed_columns(&self, at: usize) -> Option<&'static str> {
        let end = self.end(at);
        let mut place = at;
        while place < end {
            if self.is(place, "INTO")
                && self.get(place + 1).is_some_and(|token| !token.is_any(&["OUTFILE", "DUMPFILE"]))
            {
                return Some("selects all columns of videos into variables");
            }
            place = if self.is_sign(place, '(') { self.behind(place) } else { place + 1 };
        }
        let before = |back: usize| at.checked_sub(back).and_then(|at| self.get(at));
        let is_before = |back: usize, word: &str| before(back).is_some_and(|token| token.is(word));
        let sign_before = |back: usize, sign| before(back).is_some_and(|token| token.is_sign(sign));
        // A cursor may have parameters.
        if is_before(1, "FOR") && (is_before(2, "CURSOR") || sign_before(2, ')')) {
            return Some("fetches all columns of videos into variables");
        }
        // MariaDB's FOR row IN (…) takes whatever there is.
        let compares = is_before(2, "IN") && !is_before(4, "FOR") || sign_before(2, '=');
        if sign_before(1, '(') && compares {
            return Some("compares a row with all columns of videos");
        }
        // A common table expression or a view; what a table made of a query gets is its own.
        let named_before = || {
            let before = self.list_before(at - 2)?.checked_sub(2).and_then(|at| self.get(at))?;
            Some(before.is_any(&["WITH", "RECURSIVE", "VIEW"]) || before.is_sign(','))
        };
        let listed_before =
            sign_before(1, '(') && is_before(2, "AS") && named_before().unwrap_or(false);
        let derived = sign_before(1, '(') && (is_before(2, "FROM") || is_before(2, "JOIN"));
        let alias = if self.is(end + 1, "AS") { end + 2 } else { end + 1 };
        let listed_behind = derived && self.is_sign(end, ')') && self.is_sign(alias + 1, '(');
        if listed_before || listed_behind {
            return Some("gives each column of videos a name of its own");
        }
        let mut others = Vec::new();
        if self.get(end).is_some_and(|token| token.is_any(&SET_OPERATIONS)) {
            others.push(end + 1);
        }
        let united = before(1).filter(|token| token.is_any(&["ALL", "DISTINCT"])).map_or(1, |_| 2);
        if before(united).is_some_and(|token| token.is_any(&SET_OPERATIONS)) {
            let first = (0..at).rev().find(|&at| self.is(at, "SELECT"))?;
            others.push(first);
        }
        let differs = others.into_iter().any(|mut other| {
            while self
                .get(other)
                .is_some_and(|token| token.is_any(&["ALL", "DISTINCT"]) || token.is_sign('('))
            {
                other += 1;
            }
            !self.yields_all(other)
        });
        differs.then_some("unites all columns of videos with those of another table")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_break_are_known() {
        for breaks in [
            "INSERT INTO videos VALUES (1, 2)",
            "insert ignore into `platform`.`videos` values ( ... )",
            "INSERT /*+ hint */ INTO\n  videos -- all of them\n VALUE (1)",
            "INSERT INTO videos PARTITION (p0, p1) VALUES (1)",
            "INSERT LOW_PRIORITY INTO videos SELECT * FROM staging",
            "INSERT INTO videos WITH s AS (SELECT 1) SELECT * FROM s",
            "INSERT INTO videos TABLE staging",
            "REPLACE videos SELECT * FROM old",
            "REPLACE DELAYED INTO Videos VALUES (?)",
            "INSERT INTO `videos` (SELECT 1)",
            "INSERT INTO videos VALUES (...) /* , ... */ ON DUPLICATE KEY UPDATE status = ?",
            "BEGIN INSERT INTO log (a) VALUES (1); INSERT INTO videos VALUES (1); END",
            "IF x THEN REPLACE INTO videos VALUES (1); END IF",
            "LOAD DATA INFILE '/x' INTO TABLE videos",
            "LOAD DATA LOCAL INFILE ? REPLACE INTO TABLE `platform` . `videos` FIELDS TERMINATED BY ?",
            "LOAD DATA CONCURRENT INFILE 'f(' INTO TABLE videos PARTITION (p0) IGNORE 1 LINES",
            "LOAD DATA INFILE 'x' INTO TABLE videos SET status = (SELECT 1)",
            "INSERT INTO archive SELECT * FROM videos",
            "INSERT INTO archive (a, b) SELECT v.* FROM videos AS v WHERE id = ?",
            "INSERT INTO archive (SELECT DISTINCT * FROM videos)",
            "INSERT INTO archive SELECT 1, videos.* FROM videos JOIN t ON t.id = videos.id",
            "INSERT INTO archive SELECT * FROM (SELECT * FROM videos) x",
            "INSERT INTO archive TABLE videos",
            "INSERT INTO videos () VALUES ROW(1, 2)",
            "INSERT INTO videos () SELECT * FROM old",
            "INSERT INTO archive () SELECT * FROM videos",
            "INSERT INTO archive WITH c AS (SELECT * FROM videos) SELECT * FROM c",
            "INSERT INTO archive WITH RECURSIVE a AS (SELECT 1), c AS (SELECT v.* FROM videos v) \
             SELECT c.* FROM a JOIN c",
            "WITH c AS (SELECT * FROM videos), d AS (SELECT * FROM c) SELECT * FROM d INTO @a, @b",
            "WITH c (a, b) AS (SELECT * FROM videos) SELECT a FROM c",
            "SELECT x.a FROM (SELECT * FROM videos) AS x (a, b)",
            "SELECT x.a FROM t JOIN (SELECT * FROM videos) x (a, b)",
            "CREATE VIEW v (a, b) AS (SELECT * FROM videos)",
            "DECLARE c CURSOR FOR TABLE videos",
            "SELECT * FROM archive UNION TABLE videos",
            "SELECT 1 FROM t WHERE (a, b) IN (TABLE videos)",
            "SELECT * FROM videos UNION ALL SELECT * FROM archive",
            "(SELECT * FROM archive) UNION SELECT * FROM videos",
            "SELECT * FROM videos EXCEPT SELECT a, b FROM archive",
            "SELECT * INTO @a, @b FROM videos LIMIT 1",
            "SELECT * FROM videos WHERE id = 'x' INTO a, b",
            "DECLARE c CURSOR FOR SELECT * FROM videos",
            "SELECT 1 FROM t WHERE (a, b) IN (SELECT * FROM videos)",
            "EXPLAIN FORMAT=JSON INSERT INTO videos VALUES (1)",
            "/*!50000 INSERT INTO videos VALUES (1) */",
        ] {
            assert!(why(breaks, "platform", true).is_some(), "{breaks}");
        }
    }

    #[test]
    fn statements_that_go_on_are_left_alone() {
        for fine in [
            "INSERT INTO videos (id, filename) VALUES (1, 2)",
            "INSERT INTO `videos` ( `id` ) SELECT 1",
            "INSERT INTO videos PARTITION (p0) (id) VALUES (1)",
            "INSERT INTO videos SET id = 1",
            "INSERT INTO videos () VALUES ()",
            "INSERT INTO videos_old VALUES (1)",
            "INSERT INTO other.videos VALUES (1)",
            "INSERT INTO log VALUES ((SELECT COUNT(*) FROM videos))",
            "INSERT INTO log (a) SELECT t.* FROM videos v JOIN t ON t.id = v.id",
            "INSERT INTO archive SELECT id, file_size * 2 FROM videos",
            "INSERT INTO log VALUES ('INSERT INTO videos VALUES (1)')",
            "INSERT INTO log VALUES (1) -- INSERT INTO videos VALUES (1)",
            "SELECT REPLACE(filename, 'a', 'b') FROM videos",
            "LOAD DATA INFILE 'x' INTO TABLE videos (id, filename)",
            "LOAD DATA INFILE 'x' INTO TABLE videos FIELDS TERMINATED BY ',' (id, @x) SET filename = @x",
            "LOAD DATA INFILE 'x' INTO TABLE staging",
            "LOAD XML INFILE 'x' INTO TABLE videos",
            "SELECT * FROM videos",
            "SELECT COUNT(*) FROM videos",
            "SELECT * FROM videos UNION ALL SELECT * FROM videos WHERE id > 1",
            "SELECT id FROM videos UNION SELECT id FROM archive",
            "SELECT * FROM archive UNION SELECT id, filename FROM videos",
            "SELECT * INTO OUTFILE '/x' FROM videos",
            "FOR row IN (SELECT * FROM videos) DO SELECT 1; END FOR",
            "SELECT 1 FROM t WHERE EXISTS (SELECT * FROM videos)",
            "SELECT COUNT(*) INTO n FROM videos",
            "CREATE TABLE copy AS SELECT * FROM videos",
            "TRUNCATE TABLE videos",
            "LOCK TABLE videos WRITE",
            "ALTER TABLE videos REORGANIZE PARTITION p INTO (PARTITION q VALUES LESS THAN (1))",
            "BEGIN START TRANSACTION WITH CONSISTENT SNAPSHOT; \
             CREATE TEMPORARY TABLE t (PRIMARY KEY (id)) AS (SELECT * FROM videos); END",
            "SELECT 1 FROM t WHERE EXISTS (SELECT * FROM videos) AND (a, b) = (1, 2)",
            "CREATE TABLE copy (n INT) AS (SELECT * FROM videos)",
            "INSERT INTO archive () VALUES ()",
            "INSERT INTO archive WITH c AS (SELECT * FROM videos) SELECT c.id FROM c",
            "WITH c AS (SELECT id FROM videos) SELECT * FROM c INTO @a",
            "WITH c AS (SELECT * FROM videos) SELECT * FROM c",
        ] {
            assert_eq!(why(fine, "platform", true), None, "{fine}");
        }
    }

    #[test]
    fn another_default_database_needs_the_name() {
        assert_eq!(why("INSERT INTO videos VALUES (1)", "platform", false), None);
        assert!(why("INSERT INTO platform.videos VALUES (1)", "platform", false).is_some());
    }
}
