//! The specification's own statements.

/// As it writes them; `-- phase NAME` begins each phase, a line `;;` ends each statement.
const STATEMENTS: &str = include_str!("specification.sql");

/// Each phase with its statements.
pub fn phases() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    STATEMENTS.split("-- phase ").skip(1).map(|phase| {
        let (name, statements) = phase.split_once('\n').unwrap_or((phase, ""));
        let statements = statements.split(";;").map(str::trim).filter(|text| !text.is_empty());
        (name, statements.collect())
    })
}

/// All columns and indexes that `videos` gets, as what follows `ALTER TABLE videos` in one
/// statement: what a general schema-change tool is given.
pub fn whole_alter() -> String {
    let statements = || phases().flat_map(|(_, statements)| statements);
    let columns = statements().filter_map(|text| text.strip_prefix("ALTER TABLE videos "));
    let indexes = statements().filter_map(|text| {
        let (name, columns) = text.strip_prefix("CREATE INDEX ")?.split_once(" ON videos ")?;
        Some(format!("ADD INDEX {name} {}", columns.strip_suffix(" ALGORITHM=INPLACE")?))
    });
    columns.map(str::to_owned).chain(indexes).collect::<Vec<_>>().join(",\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_alter_has_every_column_and_index() {
        let alter = whole_alter();
        assert_eq!(alter.matches("ADD COLUMN ").count(), 19);
        assert_eq!(alter.matches("ADD INDEX ").count(), 8);
        assert!(
            alter.ends_with("ADD INDEX idx_video_project_workflow (project_id, workflow_state)")
        );
        assert!(!alter.contains("ALGORITHM"));
    }
}
