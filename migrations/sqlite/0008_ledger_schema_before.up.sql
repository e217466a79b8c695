-- creates: table reelshift_schema_before
CREATE TABLE reelshift_schema_before (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    definition TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
