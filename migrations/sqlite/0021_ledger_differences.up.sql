-- creates: table reelshift_differences
CREATE TABLE reelshift_differences (
    -- The run of validation that found it.
    run_id TEXT NOT NULL,
    table_name TEXT NOT NULL,
    row_key TEXT NOT NULL,
    check_name TEXT NOT NULL,
    column_name TEXT NOT NULL,
    expected TEXT NULL,
    found TEXT NULL,
    PRIMARY KEY (run_id, table_name, row_key, check_name, column_name)
) WITHOUT ROWID;
